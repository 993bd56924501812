"""Lists of prices that somebody publishes: the installed one, a newer one that is kept in a file, LiteLLM's map."""
