"""Budgets: rules, their periods, and the accounts that a call touches."""

from .rules import Budget as Budget
