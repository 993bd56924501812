"""
Messages of a socket: which of them say anything is seen in their bytes, before any JSON is parsed.

Nearly all are pieces of sound, and long.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ..bodies import fields

_EDGE = 80


class Marks:
    """Words, one of which is in every message that matters, and in few others."""

    __slots__ = ("_bytes", "_text")

    def __init__(self, *words: str) -> None:
        self._text = tuple(f'"{word}' for word in words)
        self._bytes = tuple(word.encode() for word in self._text)

    def are_in(self, message: str | bytes) -> bool:
        """Whether one of them is in a message."""
        if isinstance(message, str):
            return any(word in message for word in self._text)
        return any(word in message for word in self._bytes)

    def frame(self, message: str | bytes) -> bool:
        """Whether one of them is near the beginning or the end of a message, where it is no part of a text."""
        return self.are_in(message[:_EDGE]) or self.are_in(message[-_EDGE:])


def parsed(message: str | bytes) -> Mapping[str, Any]:
    """The JSON object that a message is, or nothing."""
    try:
        return fields(json.loads(message))
    except (ValueError, RecursionError):
        return {}


def sound_bytes(base64: object) -> int:
    """The most bytes of sound that a field with it has."""
    return len(base64) * 3 // 4 if isinstance(base64, str | bytes) else 0
