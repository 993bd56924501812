"""Accounts in every unit: what is held and charged of each, and the places of calls in flight."""
