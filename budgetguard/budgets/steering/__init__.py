"""What people change of budgets that run, and what is known of who did, when and why."""
