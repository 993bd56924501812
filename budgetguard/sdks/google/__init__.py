"""Google's own SDK, google-genai: `hooks` are what is patched, `calls` reads one call."""

from __future__ import annotations

from typing import Final

MODULES: Final = ("google.genai._api_client",)
"""What `hooks` patches: the seam is imported with the first of them."""
