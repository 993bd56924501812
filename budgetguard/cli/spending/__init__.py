"""What was spent: `spend`."""
