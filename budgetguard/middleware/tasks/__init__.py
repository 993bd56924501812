"""What task queues share: what travels with a task, and the scope that it runs in."""
