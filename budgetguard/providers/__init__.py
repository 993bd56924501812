"""Providers by name: where "groq/llama-3.3-70b" is asked for, and with whose key. A table, and what reads it."""
