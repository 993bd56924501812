"""What providers say that they bill: their usage and cost APIs, read as plain rows."""
