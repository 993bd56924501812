"""Where budgets live: one file a store, opened by URL."""
