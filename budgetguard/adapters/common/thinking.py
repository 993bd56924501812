"""Which models think where a request says nothing of it, wherever they are asked."""

from __future__ import annotations

from functools import lru_cache

_ONLY_ASKED = ("claude-2", "claude-3", "claude-instant", "opus-4", "sonnet-4", "haiku-4")
"""
Claude's models that think only where a request says so; later ones do by themselves (platform.claude.com, "Thinking"
and "What's new in Claude Opus 5", read 2026-11-28).
"""


@lru_cache(maxsize=1024)
def thinks_unasked(model: str) -> bool:
    """Whether a Claude thinks where a request says nothing of it, as its name says; one that is not known may."""
    return not any(name in model.lower() for name in _ONLY_ASKED)
