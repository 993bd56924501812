"""Google's Gemini API, at Google and on Vertex AI."""
