"""
What Anthropic bills as input: texts, pictures and documents, gathered from a request.

Texts are gathered whole, to be counted elsewhere. Whatever this module does not know is taken as its compact JSON: more
than what is billed, never less. Bounds that rest on an assumption, not on a count:

* Claude's tokenizer is not public: `prices/tokens.py` says what is allowed a byte and a text.
* A picture has a table by model, too. A PDF is billed as its text and a picture a page; how much text a page has,
  its bytes do not say: its bound is the model's context, and a picture for each page that can be found.
* Tools: 313 to 804 tokens tell the model that it has any, 245 to 1,700 describe one of Anthropic's own
  (platform.claude.com, "Pricing", tool use; read 2026-11-28), a toolset of several tools some more.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..common.bodies import compact, fields, is_json, items, plain, text
from ..common.files import file, points

BLOCK_TOKENS = 16
MESSAGE_TOKENS = 8
TOOL_TOKENS = 16
TOOLS_TOKENS = 1_000
OWN_TOOL_TOKENS = 4_000
"""A tool whose definition is the server's own."""

_ROLES = frozenset({"user", "assistant", "system"})
_MARKS = frozenset({"type", "cache_control"})
_SAID = frozenset(
    {
        "compaction",
        "fallback",
        "mcp_tool_listing",
        "mcp_tool_use",
        "redacted_thinking",
        "search_result",
        "server_tool_use",
        "thinking",
        "tool_addition",
        "tool_reference",
        "tool_removal",
        "tool_use",
        "web_search_result",
    }
)
"""Blocks that are text, whatever addresses they name: all that is billed of them is there."""


class Prompt:
    """Gathers the input of one request."""

    __slots__ = ("hour", "images", "overhead", "texts", "unknown")

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.overhead = 0
        self.images = 0
        self.unknown = False
        """Whether something is billed that the request only points at."""
        self.hour = False
        """Whether any of it is to be kept in a cache for an hour."""

    def messages(self, messages: object) -> None:
        """Take the messages."""
        for message in items(messages):
            self.overhead += MESSAGE_TOKENS
            said = message if type(message) is dict else plain(message)
            if not isinstance(said, Mapping):
                self._text(said)
                continue
            for name, value in said.items():
                if name == "content":
                    self.content(value)
                elif name != "role" or value not in _ROLES:
                    self._text(value)

    def content(self, content: object) -> None:
        """Take a text, or a list of blocks."""
        if type(content) is str:
            self.texts.append(content)
            return
        for block in items(content):
            if type(block) is str:
                self.texts.append(block)
                continue
            said = block if type(block) is dict else plain(block)
            if isinstance(said, Mapping):
                self._block(said)
            else:
                self._text(said)

    def tools(self, tools: object) -> None:
        """Take the definitions of tools."""
        offered = items(tools)
        self.overhead += TOOLS_TOKENS if offered else 0
        for tool in offered:
            self.json(tool, TOOL_TOKENS)
            said = fields(plain(tool))
            self.mark(said)
            if "input_schema" not in said:
                self.overhead += OWN_TOOL_TOKENS

    def json(self, value: Any, overhead: int = BLOCK_TOKENS) -> None:
        """Take a value as compact JSON."""
        try:
            self.texts.append(compact(value))
        except (TypeError, ValueError, RecursionError):
            self.unknown = True
        self.overhead += overhead

    def mark(self, block: Mapping[str, Any]) -> None:
        """See for how long a block, a tool or the request itself is to be kept in the cache."""
        if "cache_control" in block and text(fields(block["cache_control"]), "ttl") == "1h":
            self.hour = True

    def _block(self, block: Mapping[str, Any]) -> None:
        kind = block.get("type")
        self.mark(block)
        if kind == "text":
            for name, value in block.items():
                if name not in _MARKS:
                    self._text(value)
            return
        self.overhead += BLOCK_TOKENS
        if kind == "image":
            self.images += 1
        elif kind == "document":
            self._document(block)
        elif kind == "container_upload":
            self.unknown = True
        elif isinstance(kind, str) and kind.endswith("_result") and "content" in block:
            self.content(block["content"])
            self.json({name: value for name, value in block.items() if name != "content"})
        else:
            self.json(block)
            if kind not in _SAID and points(block):
                self.unknown = True

    def _document(self, block: Mapping[str, Any]) -> None:
        """A document: its own text, blocks that stand for it, or a file."""
        source = fields(block.get("source"))
        kind, data = text(source, "type"), source.get("data")
        if kind == "text":
            self._text(data)
        elif kind == "content":
            self.content(source.get("content"))
        else:
            self._file(data if kind == "base64" and isinstance(data, str) else "")
        for name in ("title", "context"):
            self._text(block.get(name))

    def _file(self, data: str) -> None:
        written, pages = file(data)
        self.images += pages
        if written is None:
            self.unknown = True
        else:
            self.texts.append(written)

    def _text(self, value: object) -> None:
        """Take a text; anything else that JSON can hold as compact JSON."""
        if type(value) is str:
            self.texts.append(value)
        elif value is not None and is_json(value):
            self.json(value)
