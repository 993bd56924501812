"""Who may spend what: `users`, `budgets`, `budget ...`, `changes`, `alerts`."""
