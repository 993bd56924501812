"""Budgets and spend as people and dashboards want them: amounts in dollars, times in ISO 8601."""
