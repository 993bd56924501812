"""
What is known to cost nothing in OpenAI's API, beside the table of operations: keeping files, settings and
conversations, and ending what runs.

A POST that is neither here nor in the table may cost something, and nobody counts it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final

_ROOTS: Final = frozenset(
    {
        "agents",
        "assistants",
        "batches",
        "chatkit",
        "containers",
        "content_provenance_checks",
        "conversations",
        "evals",
        "files",
        "fine_tuning",
        "live",
        "models",
        "moderations",
        "organization",
        "projects",
        "realtime",
        "responses",
        "skills",
        "threads",
        "uploads",
        "vaults",
        "vector_stores",
        "webhook_endpoints",
    }
)
"""Below these, what costs anything is in the table (openai 3.57, `resources/`)."""

_BESIDE: Final = ("/audio/voice_consents", "/videos/characters", "/chat/completions/")


@lru_cache(maxsize=2_048)
def may_cost(method: str, path: str) -> bool:
    """Whether an operation that is not in the table may cost something all the same."""
    path = path.partition("?")[0].partition("#")[0]
    if method.upper() != "POST" or any(name in path for name in _BESIDE):
        return False
    return _ROOTS.isdisjoint(path.split("/"))
