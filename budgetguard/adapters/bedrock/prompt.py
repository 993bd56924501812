"""
What a request of Converse can be billed as input: texts, pictures and documents, gathered from its blocks.

Texts are gathered whole, to be counted elsewhere. Whatever this module does not know is taken as its compact JSON: more
than what is billed, never less. A file has the bound of its text where it is plain text; a PDF, a film, a sound, and
what lies in S3 do not show theirs: that is the model's context, and a picture for each page that can be found.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from typing import Any

from ..common.bodies import compact, fields, items, text
from ..common.files import file, points

BLOCK_TOKENS = 16
MESSAGE_TOKENS = 8
TOOL_TOKENS = 16
TOOLS_TOKENS = 1_000
"""Allowed for what tells a model that it has tools: 313 to 804 with Claude (see Anthropic's prompt)."""

_ASKED_BY_REFERENCE = frozenset({"video", "audio"})


class Blocks:
    """Gathers the input of one request."""

    __slots__ = ("hour", "images", "overhead", "texts", "unknown")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.overhead = 0
        self.images = 0
        self.unknown = False
        """Whether something is billed that the request only points at, or whose size says nothing."""
        self.hour = False
        """Whether any of it is to be kept in a cache for an hour."""

    def messages(self, messages: object) -> None:
        """Take the messages."""
        for message in items(messages):
            self.overhead += MESSAGE_TOKENS
            self.content(fields(message).get("content"))

    def content(self, content: object) -> None:
        """Take a list of blocks; `system` is one, too."""
        for block in items(content):
            if isinstance(block, str):
                self.texts.append(block)
            elif isinstance(block, Mapping):
                for name, value in block.items():
                    self._block(name, value)

    def tools(self, config: Mapping[str, Any]) -> None:
        """Take the definitions of tools."""
        offered = items(config.get("tools"))
        self.overhead += TOOLS_TOKENS if offered else 0
        for tool in offered:
            self.overhead += TOOL_TOKENS
            for name, value in fields(tool).items():
                if name == "cachePoint":
                    self._mark(value)
                else:
                    self.json(value)
        if "toolChoice" in config:
            self.json(config["toolChoice"])

    def json(self, value: Any) -> None:
        """Take a value as compact JSON."""
        if isinstance(value, str):
            self.texts.append(value)
            return
        try:
            self.texts.append(compact(value))
        except (TypeError, ValueError, RecursionError):
            self.unknown = True
        self.unknown = self.unknown or _holds_bytes(value)

    def _block(self, kind: str, value: Any) -> None:
        if kind == "text" and isinstance(value, str):
            self.texts.append(value)
        elif kind == "cachePoint":
            self._mark(value)
        elif kind == "image":
            self.images += 1
        elif kind == "document":
            self._document(fields(value))
        elif kind == "toolResult":
            self.overhead += BLOCK_TOKENS
            self.content(fields(value).get("content"))
        elif kind in {"guardContent", "reasoningText"}:
            self.content([value])
        elif kind == "reasoningContent":
            self._reasoning(fields(value))
        elif kind in _ASKED_BY_REFERENCE:
            self.unknown = True
        else:
            self.overhead += BLOCK_TOKENS
            self.json(value)
            if kind not in {"toolUse", "json", "searchResult", "citationsContent", "qualifiers"} and points(value):
                self.unknown = True

    def _document(self, document: Mapping[str, Any]) -> None:
        """A document: its own text, blocks that stand for it, or a file, as bytes or as base64."""
        self.overhead += BLOCK_TOKENS
        source = fields(document.get("source"))
        data = source.get("bytes")
        for name in ("name", "context"):
            self.json(text(document, name) or "")
        if "text" in source:
            self.json(source["text"])
        elif "content" in source:
            self.content(source["content"])
        else:
            if isinstance(data, bytes | bytearray):
                data = b64encode(data).decode("ascii")
            written, pages = file(data if isinstance(data, str) else "")
            self.images += pages
            if written is None:
                self.unknown = True
            else:
                self.texts.append(written)

    def _reasoning(self, block: Mapping[str, Any]) -> None:
        """What the model thought before, to be read again: shown, or packed."""
        said, packed = fields(block.get("reasoningText")), block.get("redactedContent")
        for value in said.values():
            self.json(value)
        if packed is not None:
            self.overhead += 2 * len(packed) if isinstance(packed, bytes | bytearray | str) else 0

    def _mark(self, point: Any) -> None:
        """See for how long what stands before a cache point is to be kept."""
        self.hour = self.hour or text(fields(point), "ttl") == "1h"


def _holds_bytes(value: Any, depth: int = 0) -> bool:
    """Whether a part of a kind that is not known holds bytes, which no JSON shows."""
    if isinstance(value, bytes | bytearray) or depth > 8:
        return True
    if isinstance(value, Mapping):
        return any(_holds_bytes(inner, depth + 1) for inner in value.values())
    return isinstance(value, list | tuple) and any(_holds_bytes(inner, depth + 1) for inner in value)
