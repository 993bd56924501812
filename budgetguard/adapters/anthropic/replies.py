"""
Anthropic's replies, read as what was used.

A reply is plain JSON or an SDK object. Nothing here raises: what is not understood is "usage unknown", and unknown is
not free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...calls import Answer, Heard, Usage, read
from ..common import written
from ..common.bodies import text
from ..common.numbers import fields, stated_cost
from .usage import answering, beside, token_usage, unsaid

_READ = ("content", "error", "id", "model", "stop_reason", "type", "usage")

_SURCHARGED = "us"


def message(reply: Any) -> Answer:
    """A message."""
    said = fields(reply, _READ)
    usage = fields(said.get("usage"))
    counts = token_usage(usage)
    answer = answer_of(said, usage, counts)
    if counts is None:
        return answer._replace(free=answer.cost is None and is_error(said))
    if counts.get("output_tokens") and "input_tokens" in counts:
        return answer
    heard = written.heard_of(_texts(said.get("content")))
    lacks: Sequence[str] = () if answer.cost else unsaid(counts, heard.pieces > 0)
    return answer._replace(lacks=lacks, heard=heard)


def answer_of(
    said: Mapping[str, Any], usage: Mapping[str, Any], counts: Usage | None, heard: Heard | None = None
) -> Answer:
    """What a whole message says beside its text, or the events of a stream put together."""
    model = text(said, "model")
    also: tuple[tuple[str, Usage], ...] = ()
    if usage.get("iterations"):
        model = answering(usage, model)
        also = beside(usage, model)
    cost, fee = stated_cost(usage)
    geo = text(usage, "inference_geo")
    return Answer(
        model=model,
        usage=counts,
        tier="fast" if usage.get("speed") == "fast" else text(usage, "service_tier"),
        region=None if geo is None else _SURCHARGED if geo == _SURCHARGED else "",
        cost=cost,
        id=text(said, "id"),
        cut=said.get("stop_reason") == "max_tokens",
        also=also,
        fee=fee,
        heard=heard or Heard(),
    )


def is_error(said: Any) -> bool:
    """Whether a reply, or an event, is an error that came with status 200."""
    return read(said, "type") == "error" or bool(read(said, "error"))


def _texts(content: Any) -> Iterator[str]:
    for block in content if isinstance(content, list | tuple) else ():
        for name in ("text", "thinking"):
            yield _text(read(block, name))
        called = read(block, "input")
        if called is not None:
            yield str(called)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
