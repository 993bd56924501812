"""The ledger in the memory of one process: the executable specification of a store."""
