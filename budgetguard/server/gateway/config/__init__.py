"""What an operator decides: upstreams, models and defaults, read from a file and checked whole."""
