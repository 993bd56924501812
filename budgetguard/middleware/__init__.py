"""Frameworks: a scope for each request, task and notebook. Nothing of a framework is imported until its module is."""
