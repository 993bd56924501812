"""What models cost, and who answers them: `prices ...`, `providers`."""
