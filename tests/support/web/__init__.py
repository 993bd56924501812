"""Web applications that call a model, and the servers that serve them, on loopback."""
