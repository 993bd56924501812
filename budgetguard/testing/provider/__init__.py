"""A provider to test against: OpenAI's HTTP API on loopback, that keeps its own bill."""
