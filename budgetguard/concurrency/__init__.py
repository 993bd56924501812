"""Threads, tasks, signals: locks, the line of those who wait, the thread that ends what must not be waited for."""
