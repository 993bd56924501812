"""
The listener to a stream of Anthropic's.

`message_start` has the exact input, `message_delta` the whole usage, cumulative, and `message_stop` is the last word.
Items are SDK objects, or mappings from raw events. A listener never raises: an item it does not know says nothing.
"""

from __future__ import annotations

from typing import Any

from ...calls import Answer, read
from ..common import written
from ..common.numbers import fields as all_fields
from ..common.written import LONG, PIECES
from .replies import answer_of, is_error
from .usage import TEXT_TOTALS, completed, token_usage, unsaid

_DELTAS = ("text", "thinking", "partial_json")
_SEARCH = "web_search"


class MessageListener:
    """A stream of one message."""

    __slots__ = ("_ended", "_failed", "_hosted", "_said", "_searches", "_texts", "_usage", "_written", "done")

    def __init__(self) -> None:
        self.done = False
        self._written = written.Written()
        self._texts = self._written.texts
        self._said: dict[str, Any] = {}
        """What the events said so far, as one message without its text."""
        self._usage: dict[str, Any] = {}
        self._ended = False
        """Whether a usage came after what was written."""
        self._failed = False
        self._hosted = False
        """Whether the server ran a tool: the model then read more than the start says."""
        self._searches = 0

    def hear(self, item: Any) -> bool:
        """Take in an event; none of them is there for usage alone."""
        try:
            fields = item if isinstance(item, dict) else item.__dict__
            delta = fields.get("delta")
            text = (delta if isinstance(delta, dict) else delta.__dict__).get("text") if delta is not None else None
        except AttributeError:
            return False
        if type(text) is str and not fields.get("index"):
            texts = self._texts
            texts.append(text)
            if len(text) > LONG or len(texts) > PIECES:
                self._written.fold()
            self._ended = False
        else:
            self._event(fields.get("type"), item, delta)
        return False

    def _event(self, kind: Any, item: Any, delta: Any) -> None:
        """Take in what is not just text of the first block."""
        if kind == "content_block_delta":
            piece = "".join(text for name in _DELTAS if isinstance(text := read(delta, name), str))
            if piece:
                self._written.add(piece, read(item, "index"))
                self._ended = False
        elif kind == "message_start":
            said = all_fields(read(item, "message"))
            self._said = {name: said.get(name) for name in ("id", "model")}
            self._usage = completed(self._usage, said.get("usage"))
        elif kind == "message_delta":
            self._said["stop_reason"] = read(delta, "stop_reason") or self._said.get("stop_reason")
            usage = read(item, "usage")
            self._usage = completed(self._usage, usage)
            self._ended = self._ended or read(usage, "output_tokens") is not None
        elif kind == "message_stop":
            self.done = self._ended
        elif kind == "content_block_start":
            self._block(read(item, "content_block"))
        elif kind is None or kind == "error":
            self._failed = self._failed or is_error(item)

    def _block(self, block: Any) -> None:
        if read(block, "type") == "server_tool_use":
            self._hosted = True
            self._searches += read(block, "name") == _SEARCH

    def end(self) -> Answer:
        """What the events said together; before the last word of usage, what is to be counted."""
        heard = self._written.heard()
        counts = token_usage(self._usage)
        answer = answer_of(self._said, self._usage, counts, heard)
        if self._failed and not (self._said or heard.pieces):
            return answer._replace(free=True)
        if answer.cost is not None and self._ended:
            return answer
        if self._ended and counts is not None:
            return answer._replace(lacks=unsaid(counts, heard.pieces > 0))
        counts = {} if counts is None else counts
        if self._searches:
            counts["web_searches"] = max(counts.get("web_searches", 0), self._searches)
        if self._hosted:  # the model read everything once more after each use of a tool
            counts = {kind: count for kind, count in counts.items() if kind in {"output_tokens", "web_searches"}}
        if "input_tokens" not in counts:
            return answer._replace(usage=counts, lacks=TEXT_TOTALS, cost=None)
        return answer._replace(usage=counts, lacks=("output_tokens",), exact=True, cost=None)
