"""Where a program leaves the context of a scope: for a thread, and for another process."""
