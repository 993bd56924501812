"""The ledger in Redis or Valkey: for the processes of many machines."""
