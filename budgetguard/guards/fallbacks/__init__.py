"""Another model in the place of one that does not fit: `fallback` is what one call knows of it, `near` when it is."""
