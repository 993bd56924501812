"""Where prices come from: the list, what is shipped beside it, and what is declared in a file or in code."""
