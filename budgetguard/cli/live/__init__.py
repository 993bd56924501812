"""What goes on: the log of calls and refusals, the live table, the line for a prompt."""
