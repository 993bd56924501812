"""Calls whose HTTP request is built by the time they are seen: `calls`, and `requests`, by which they read it."""
