"""
What Google bills as input: texts, pictures and files, gathered from a request's contents.

Texts are gathered whole, to be counted elsewhere. Whatever this module does not know is taken as its compact JSON. How
long a sound or a film is, its bytes do not say, and what a URI or a cache stands for is not here at all: their bound is
the model's context.
"""

from __future__ import annotations

import binascii
from collections.abc import Mapping
from typing import Any, NamedTuple

from ..common.bodies import compact, fields, items, plain
from ..common.files import file, points
from .names import field
from .usage import billed_searches

PART_TOKENS = 16
CONTENT_TOKENS = 8
TOOL_TOKENS = 16

_PLAIN = frozenset({"text", "thought", "thoughtSignature", "thought_signature"})
_SIGNED = ("thoughtSignature", "thought_signature")
_INLINE = frozenset({"inlineData", "inline_data"})
_STORED = frozenset({"fileData", "file_data"})
_CALLED = frozenset({"functionCall", "function_call", "executableCode", "executable_code"})
_ANSWERED = ("functionResponse", "function_response")
_HEARD = ("audio", "video")

QUERIES = 10
"""The assumed most queries of a reply by a model that is billed for each. How many it makes is the server's choice."""

_DECLARED = ("functionDeclarations", "function_declarations")
_CLIENTS = frozenset({*_DECLARED, "computerUse", "computer_use"})
"""Tools that the caller runs."""

_SEARCHING = ("search", "maps")


class Contents:
    """Gathers the input of one request."""

    __slots__ = ("heard", "images", "overhead", "texts", "unknown")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.overhead = 0
        self.images = 0
        self.unknown = False
        """Whether something is billed whose size the request does not show."""
        self.heard: set[str] = set()
        """Which of audio and video is in it, or may be."""

    def contents(self, contents: object) -> None:
        """Take the turns of a conversation, or one of them, or a text."""
        for content in items(contents):
            self.overhead += CONTENT_TOKENS
            said = content if type(content) is dict else plain(content)
            if isinstance(said, str):
                self.texts.append(said)
            elif not isinstance(said, Mapping):
                continue
            elif "parts" in said:
                self.parts(said["parts"])
            else:  # a part by itself
                self.part(said)

    def parts(self, parts: object) -> None:
        """Take the parts of a turn."""
        for part in items(parts):
            said = part if type(part) is dict else plain(part)
            if isinstance(said, str):
                self.texts.append(said)
            elif isinstance(said, Mapping):
                self.part(said)

    def part(self, part: Mapping[str, Any]) -> None:
        """Take one part."""
        text = part.get("text")
        if type(text) is str:
            self.texts.append(text)
            if len(part) == 1:
                return
        for name, value in part.items():
            if name in _SIGNED:
                self.json(value, 0)
            elif name in _PLAIN or value is None:
                continue
            elif name in _INLINE:
                self._inline(fields(value))
            elif name in _STORED:
                self._stored(fields(value))
            elif name in _ANSWERED:
                self._answered(fields(value))
            else:
                self.json(value)
                if name not in _CALLED and points(value):
                    self.unknown = True

    def json(self, value: Any, overhead: int = PART_TOKENS) -> None:
        """Take a value as compact JSON."""
        try:
            self.texts.append(value if isinstance(value, str) else compact(value))
        except (TypeError, ValueError, RecursionError):
            self.unknown = True
        self.overhead += overhead

    def _answered(self, answer: Mapping[str, Any]) -> None:
        """What a function returned, which may have pictures and files beside it."""
        self.parts(answer.get("parts"))
        self.json({name: value for name, value in answer.items() if name != "parts"})

    def _inline(self, blob: Mapping[str, Any]) -> None:
        kind, data = str(field(blob, "mimeType") or "").lower(), blob.get("data")
        self.overhead += PART_TOKENS
        if kind.startswith("image/"):
            self.images += 1
        elif kind.startswith(_HEARD):
            self._sound(kind)
        else:
            self._file(data if isinstance(data, str) else "")

    def _stored(self, stored: Mapping[str, Any]) -> None:
        """A file that is elsewhere, of whatever kind."""
        self._sound(str(field(stored, "mimeType") or "audio video").lower())

    def _sound(self, kind: str) -> None:
        self.unknown = True
        self.heard.update(name for name in _HEARD if name in kind)

    def _file(self, data: str) -> None:
        try:
            written, pages = file(data)
        except (binascii.Error, ValueError):
            written, pages = None, 0
        self.images += pages
        if written is None:
            self.unknown = True
        else:
            self.texts.append(written)


# --- tools


class Offered(NamedTuple):
    """What the tools of a request come to."""

    hosted: bool = False
    """Whether the server runs some."""
    searches: int = 0
    """The most searches that are billed."""


def offered(tools: object, model: str, seen: Contents) -> Offered:
    """Take the definitions of tools, and see what the server may do with them."""
    hosted, searches = False, 0
    for tool in map(fields, map(plain, items(tools))):
        for name, value in tool.items():
            if name in _DECLARED:
                for declared in items(value):
                    seen.json(declared, TOOL_TOKENS)
                continue
            seen.json({name: value}, TOOL_TOKENS)
            if name in _CLIENTS or value is None:
                continue
            hosted = True
            if any(word in name.lower() for word in _SEARCHING) and "file" not in name.lower():
                searches += billed_searches(model, QUERIES)
    return Offered(hosted, searches)


def tool_config(body: Mapping[str, Any], seen: Contents) -> None:
    """Take what says how tools are to be used."""
    config = field(body, "toolConfig")
    if config is not None:
        seen.json(config)
