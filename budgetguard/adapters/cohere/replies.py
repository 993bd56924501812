"""
Cohere's replies, read as what is billed: whole ones, and the events or lines of a stream.

`billed_units` are the bill. `tokens` beside them have what Cohere adds to a prompt, which it does not charge for: they
count where nothing else is said.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ...calls import Answer, read
from ..common.numbers import fields, number, number_of
from ..common.written import Written, heard_of, output

TEXT_TOTALS = ("input_tokens", "output_tokens")

_CUT = "MAX_TOKENS"


def answer(reply: Any) -> Answer:
    """A chat's answer, of either version, or a completion's."""
    heard = heard_of(_texts(reply))
    counts = _counts(reply)
    free = counts is None and not heard.pieces and _failed(reply)
    lacks = _unsaid(counts, wrote=heard.pieces > 0) if counts is not None else ()
    name = read(reply, "id") or read(reply, "generation_id")
    return Answer(
        usage=counts,
        id=name if isinstance(name, str) else None,
        free=free,
        cut=read(reply, "finish_reason") == _CUT,
        lacks=lacks,
        heard=heard,
    )


def embedding(reply: Any) -> Answer:
    """Embeddings: texts and pictures in tokens."""
    units = _billed(reply)
    sent, pictures = number_of(units, "input_tokens"), number_of(units, "image_tokens")
    if not sent + pictures:
        return Answer(usage={"output_tokens": 0}, lacks=("input_tokens",))
    usage = {"input_tokens": sent + pictures, "output_tokens": 0}
    return Answer(usage={**usage, "input_image_tokens": pictures} if pictures else usage)


def searches(reply: Any) -> Answer:
    """A search among documents: in units, or since version 5 of its models in tokens."""
    billed = _billed(reply)
    units, sent = number_of(billed, "search_units"), number_of(billed, "input_tokens")
    if units:
        return Answer(usage={"rerank_searches": units})
    return Answer(usage={"input_tokens": sent} if sent else None)


class EventsListener:
    """A stream of either version: its last event has the usage."""

    __slots__ = ("_counts", "_cut", "_failed", "_written", "done")

    def __init__(self) -> None:
        self.done = False
        self._written = Written()
        self._counts: dict[str, int] | None = None
        self._cut = False
        self._failed = False

    def hear(self, item: Any) -> bool:
        """Take in an event; none of them is there for usage alone."""
        kind = read(item, "type") or read(item, "event_type")
        if kind in ("message-end", "stream-end"):  # no set: it may be of any type
            last = read(item, "delta") or read(item, "response") or item
            self._counts = _counts(last)
            self._cut = _CUT in (read(last, "finish_reason"), read(item, "finish_reason"))
            self._failed = "ERROR" in str(read(last, "finish_reason") or read(item, "finish_reason"))
            self.done = self._counts is not None
        elif _failed(item):
            self._failed = True
        else:
            for text in filter(None, _texts(read(item, "delta") if read(item, "delta") is not None else item)):
                self._written.add(text)
        return False

    def end(self) -> Answer:
        """What the last event said, or what is to be counted."""
        heard, counts = self._written.heard(), self._counts
        if counts is None:
            free = self._failed and not heard.pieces
            return Answer(usage=None if free else {}, free=free, lacks=() if free else TEXT_TOTALS, heard=heard)
        return Answer(usage=counts, cut=self._cut, lacks=_unsaid(counts, wrote=heard.pieces > 0), heard=heard)


def _billed(reply: Any) -> Mapping[str, Any]:
    """The units that are billed."""
    for place in (read(reply, "usage"), read(reply, "meta")):
        units = fields(read(place, "billed_units"))
        if units:
            return units
    return {}


def _counts(reply: Any) -> dict[str, int] | None:
    units = _billed(reply) or fields(read(read(reply, "usage") or read(reply, "meta"), "tokens"))
    sent, made = number(units.get("input_tokens")) or 0, number(units.get("output_tokens"))
    if made is not None and made < 0:
        made = None  # less than nothing is no bill
    if sent <= 0 and not made:
        return None
    counts = {"input_tokens": sent} if sent > 0 else {}
    return counts if made is None else {**counts, "output_tokens": made}


def _unsaid(counts: Mapping[str, int], *, wrote: bool) -> tuple[str, ...]:
    return tuple(kind for kind in TEXT_TOTALS if kind not in counts or (wrote and not counts[kind]))


def _failed(said: Any) -> bool:
    return read(said, "error") is not None or (read(said, "message") is not None and not fields(read(said, "message")))


def _texts(said: Any) -> Iterator[str]:
    """What the model wrote: in a whole reply, a delta, or a line of the first version."""
    message = read(said, "message")
    for place in (said, message):
        for name in ("text", "tool_plan"):
            text = read(place, name) if place is not None else None
            if isinstance(text, str):
                yield text
    content, calls = read(message, "content"), read(message, "tool_calls") or read(said, "tool_calls")
    yield from output([{"content": content if isinstance(content, list) else [content] if content else []}])
    for call in calls if isinstance(calls, list) else [calls] if calls is not None else ():
        yield from output([read(call, "function") or call])
    several = read(said, "generations")
    for each in several if isinstance(several, list) else ():
        yield from _texts(each)
