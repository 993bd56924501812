"""What web frameworks share: how a request's scope is made and kept, and a refusal as a response."""
