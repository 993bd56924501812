"""What the SDKs' requests and replies say of their cost: one table of endpoints a provider."""
