"""
Converse's replies and streams, read as what was used.

A reply names no model: the one that was asked for has answered, but for a prompt router, which says whom it asked.
Nothing here raises: what is not understood is "usage unknown", and unknown is not free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...calls import Answer, read
from ..common import written
from ..common.bodies import text
from ..common.numbers import fields
from .converse import latency
from .models import name_of
from .usage import TEXT_TOTALS, converse_usage, unsaid

_SEARCH = "nova_grounding"

_STOPPED = "guardrail_intervened"
"""Where the text is the guardrail's own, and the model may not have been asked at all."""


def converse(reply: Any) -> Answer:
    """A reply of Converse."""
    said = fields(reply)
    content = fields(fields(said.get("output")).get("message")).get("content")
    blocks = [fields(block) for block in content] if isinstance(content, list | tuple) else []
    searches = sum(read(block.get("toolUse"), "name") == _SEARCH for block in blocks if "toolUse" in block)
    return answer_of(said, written.heard_of(_texts(blocks)), searches)


def answer_of(said: Mapping[str, Any], heard: Any, searches: int = 0) -> Answer:
    """What a whole reply says beside its text, or the events of a stream put together."""
    counts = converse_usage(said.get("usage"))
    if counts is not None and searches:
        counts["web_searches"] = searches
    asked = text(fields(fields(said.get("trace")).get("promptRouter")), "invokedModelId")
    return Answer(
        model=name_of(asked) if asked is not None else None,
        usage=counts,
        tier=text(fields(said.get("serviceTier")), "type") or latency(said),
        cut=said.get("stopReason") == "max_tokens",
        lacks=() if counts is None else unsaid(counts, heard.pieces > 0 and said.get("stopReason") != _STOPPED),
        heard=heard,
    )


class ConverseListener:
    """A stream of Converse: `metadata` is the last event, and has the whole usage."""

    __slots__ = ("_failed", "_said", "_searches", "_written", "done")

    def __init__(self) -> None:
        self.done = False
        self._written = written.Written()
        self._said: dict[str, Any] = {}
        self._searches = 0
        self._failed = False

    def hear(self, item: Any) -> bool:
        """Take in an event; none of them is there for usage alone."""
        for kind, event in fields(item).items():
            if kind == "contentBlockDelta":
                for piece in _pieces(fields(fields(event).get("delta"))):
                    self._written.add(piece, 0)
            elif kind == "contentBlockStart":
                self._searches += read(read(read(event, "start"), "toolUse"), "name") == _SEARCH
            elif kind == "messageStop":
                self._said["stopReason"] = read(event, "stopReason")
            elif kind == "metadata":
                self._said.update(fields(event))
                self.done = self._said.get("usage") is not None
            elif kind == "error" or kind.endswith("Exception"):
                self._failed = True
        return False

    def end(self) -> Answer:
        """What the events said together; before the last word of usage, what is to be counted."""
        heard = self._written.heard()
        answer = answer_of(self._said, heard, self._searches)
        if answer.usage is not None:
            return answer
        if self._failed and not (heard.pieces or self._said):
            return answer._replace(free=True)
        return answer._replace(usage={}, lacks=TEXT_TOTALS)


def _texts(blocks: list[Mapping[str, Any]]) -> Iterator[str]:
    for block in blocks:
        yield from _pieces(block)


def _pieces(said: Mapping[str, Any]) -> Iterator[str]:
    """The texts in a block, or in a delta of one."""
    thought = fields(said.get("reasoningContent"))
    for value in (said.get("text"), thought.get("text"), read(thought.get("reasoningText"), "text")):
        if isinstance(value, str) and value:
            yield value
    called = read(said.get("toolUse"), "input")
    if called is not None and called != "":
        yield called if isinstance(called, str) else str(called)
