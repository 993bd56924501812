"""The books compared with what the provider says that it bills."""
