"""
The key that a request brings: in the header of whichever API its client speaks.

Who pays comes from it alone, so two keys that differ are nobody's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import unquote_to_bytes

from ...problems import Refused

_BEARER = b"authorization"
_LITELLM = b"x-litellm-api-key"
_NAMES = frozenset({_BEARER, b"x-api-key", b"x-goog-api-key", b"api-key", _LITELLM})
"""OpenAI's and most others', Anthropic's, Gemini's, Azure's, LiteLLM's own, which may have "Bearer" before it."""


def given_key(scope: Mapping[str, Any], *, by_query: bool) -> bytes | None:
    """
    The key of a request; `None` without one. Raises `Refused` (401) for several that differ.

    With `by_query`, one may stand in the query string as Gemini's `?key=`.
    """
    found: bytes | None = None
    for name, value in scope["headers"]:
        if name in _NAMES:
            bare = name != _BEARER and not (name == _LITELLM and b" " in value.strip())
            found = _one_of(found, bytes(value).strip() if bare else _bearer(value))
    if by_query and b"key=" in scope["query_string"]:
        for pair in scope["query_string"].split(b"&"):
            name, _, value = pair.partition(b"=")
            if name == b"key":
                found = _one_of(found, unquote_to_bytes(value.replace(b"+", b" ")).strip())
    return found


def _bearer(value: bytes) -> bytes:
    kind, _, key = bytes(value).partition(b" ")
    return key.strip() if kind.lower() == b"bearer" else b""


def _one_of(found: bytes | None, other: bytes) -> bytes | None:
    if found and other and found != other:
        raise unauthorized("this request brings two keys that differ: send one")
    return other or found


def unauthorized(told: str) -> Refused:
    """The answer to a request of nobody."""
    return Refused(
        401, told, "authentication_error", code="invalid_api_key", headers=((b"www-authenticate", b"Bearer"),)
    )
