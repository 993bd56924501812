"""One call: what it asks for, its charge, its attempts at upstreams, its answer."""
