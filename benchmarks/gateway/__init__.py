"""What the gateway costs, beside direct calls, nginx, a bare proxy and LiteLLM Proxy."""
