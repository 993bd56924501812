"""The fake provider's OpenAI API."""
