"""How a loop looks: one file for each place where that is."""
