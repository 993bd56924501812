"""What a call can cost, before it is sent, and what it did cost, after."""
