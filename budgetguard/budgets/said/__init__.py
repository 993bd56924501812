"""What is written of budgets: whether it can be used, and which word of ours is meant."""
