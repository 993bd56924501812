"""The answer of a call on its way to the client: what is heard of it, and how a stream is handed on."""
