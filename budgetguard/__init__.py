"""Hard budgets for LLM calls."""
