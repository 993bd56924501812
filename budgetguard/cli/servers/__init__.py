"""What other programs ask: `serve`, `ui`, and the keys and limits of those who may."""
