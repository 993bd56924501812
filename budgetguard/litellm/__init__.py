"""LiteLLM's interface: its records of users, its hosted server, the answers it takes."""
