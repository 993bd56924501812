"""LiteLLM's hosted server, as far as its clients know it: two endpoints, and its daily job."""
