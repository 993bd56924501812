"""
The listener to a stream of Google's.

Every item is a reply of its own, with a usage that is cumulative, of what came so far: it is the whole one where the
model says why it stopped. What comes later completes it. A listener never raises: an item that it does not know says
nothing.
"""

from __future__ import annotations

from typing import Any

from ...calls import Answer, read
from ..common import written
from ..common.numbers import fields, merged, number
from .names import listed, said
from .replies import answer_of, texts_of
from .usage import TEXT_TOTALS, queries_of, token_usage, unsaid

_SAID = ("modelVersion", "responseId", "serviceTier", "promptFeedback")


class GenerateListener:
    """A stream of `streamGenerateContent`."""

    __slots__ = ("_failed", "_finished", "_queries", "_said", "_stopped", "_usage", "_written", "done")

    def __init__(self) -> None:
        self.done = False
        """Never before the end: another candidate, or a later usage, may still come."""
        self._written = written.Written()
        self._said: dict[str, Any] = {}
        self._usage: dict[str, Any] = {}
        self._stopped: dict[int, Any] = {}
        """Why each candidate stopped that did."""
        self._queries: dict[int, int] = {}
        """The most queries of each candidate so far."""
        self._finished = False
        """Whether a usage came with, or after, the reason why the model stopped."""
        self._failed = False

    def hear(self, item: Any) -> bool:
        """Take in an item; none of them is there for usage alone."""
        for name in _SAID:
            value = said(item, name)
            if value is not None:
                self._said[name] = value
        self._failed = self._failed or bool(read(item, "error"))
        for candidate in listed(item, "candidates"):
            self._hear(candidate)
        usage = said(item, "usageMetadata")
        if usage is not None:
            self._usage = merged(self._usage, fields(usage))
            if number(said(usage, "candidatesTokenCount")):
                self._written.forget()
            self._finished = self._finished or self._over()
        return False

    def _hear(self, candidate: Any) -> None:
        index = read(candidate, "index")
        which = index if type(index) is int else 0
        piece = "".join(texts_of(candidate))
        if piece:
            self._written.add(piece, which)
            self._finished = False
        self._queries[which] = max(self._queries.get(which, 0), queries_of(candidate))
        if said(candidate, "finishReason"):
            self._stopped[which] = {"finishReason": said(candidate, "finishReason")}

    def _over(self) -> bool:
        """Whether every candidate so far has stopped, or there is none."""
        return self._queries.keys() <= self._stopped.keys() and bool(self._stopped or "promptFeedback" in self._said)

    def end(self) -> Answer:
        """What the items said together; before the last word of usage, what is to be counted."""
        counts = token_usage(self._usage) if self._usage else None
        running = counts is not None and "output_tokens" in counts and bool(counts["output_tokens"])
        heard = self._written.heard(running=running)
        reply = {**self._said, "candidates": list(self._stopped.values())}
        answer = answer_of(reply, self._usage, counts, sum(self._queries.values()))._replace(heard=heard)
        if self._failed and not (counts or heard.pieces):
            return answer._replace(free=True)
        if counts is None:
            if "promptFeedback" in self._said and not self._queries:
                return answer._replace(usage={"output_tokens": 0}, lacks=("input_tokens",))
            return answer._replace(usage={}, lacks=TEXT_TOTALS)
        if self._finished:
            return answer._replace(lacks=unsaid(counts, running or heard.pieces > 0))
        if "input_tokens" not in counts:
            return answer._replace(lacks=TEXT_TOTALS)
        return answer._replace(lacks=("output_tokens",), exact=True)
