"""What a process shares with its children, so that a limit holds for all of them together."""
