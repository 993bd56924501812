"""A provider to test against over WebSockets: OpenAI's Realtime, Responses and Live, and Gemini's Live, with a bill."""
