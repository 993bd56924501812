"""`gateway`: calls of models for programs in any language."""
