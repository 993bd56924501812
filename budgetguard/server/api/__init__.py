"""The server's endpoints: tables of them, and what all have in common."""
