"""The endpoints of LiteLLM's admin API: a file for each kind of record."""
