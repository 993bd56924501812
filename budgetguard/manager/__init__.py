"""`BudgetManager`, the budgets of one project: users', under LiteLLM's names, and all that can be asked and changed."""

from .manager import BudgetManager

__all__ = ["BudgetManager"]
