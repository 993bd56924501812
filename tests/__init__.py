"""What is claimed, checked."""
