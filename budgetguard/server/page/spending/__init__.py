"""The views of money: the overview, budgets, one subject, the explorer, the statement, and the forms that steer."""
