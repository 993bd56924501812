"""The ledger in PostgreSQL: for many machines."""
