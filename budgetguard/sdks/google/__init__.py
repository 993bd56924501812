"""Google's own SDK, google-genai: `hooks` are what is patched, `calls` reads one call."""
