"""Who asks: the key that a request brings, and what is known of it."""
