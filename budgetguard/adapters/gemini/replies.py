"""
Google's replies, read as what was used.

A reply is plain JSON or an SDK object. Nothing here raises: what is not understood is "usage unknown", and unknown is
not free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...calls import Answer, Heard, read
from ..common import written
from ..common.bodies import compact
from ..common.numbers import number
from .names import constant, listed, plain_model, said
from .usage import SEARCHES, billed_searches, queries_of, tier_of, token_usage, unsaid

_CALLED = ("functionCall", "executableCode", "codeExecutionResult")


def generated(reply: Any) -> Answer:
    """The reply of `generateContent`."""
    usage = said(reply, "usageMetadata")
    counts = token_usage(usage) if usage is not None else None
    candidates = listed(reply, "candidates")
    answer = answer_of(reply, usage, counts, sum(map(queries_of, candidates)))
    if counts is None:
        if said(reply, "promptFeedback") is not None and not candidates:  # read, and refused
            return answer._replace(usage={"output_tokens": 0}, lacks=("input_tokens",))
        return answer._replace(free=bool(read(reply, "error")))
    if counts.get("output_tokens") and counts.get("input_tokens"):
        return answer
    heard = written.heard_of(text for candidate in candidates for text in texts_of(candidate))
    wrote = heard.pieces > 0 or bool(counts.get("output_tokens"))
    return answer._replace(lacks=unsaid(counts, wrote), heard=heard)


def answer_of(reply: Any, usage: Any, counts: dict[str, int] | None, queries: int) -> Answer:
    """What a reply says beside its text, or the items of a stream put together."""
    model, name = plain_model(said(reply, "modelVersion")), said(reply, "responseId")
    if counts is not None and (searches := billed_searches(model, queries)):
        counts[SEARCHES] = searches
    return Answer(
        model=model,
        usage=counts,
        tier=tier_of(reply, usage),
        id=name if isinstance(name, str) and name else None,
        cut=any(constant(said(candidate, "finishReason")) == "MAX_TOKENS" for candidate in listed(reply, "candidates")),
        heard=Heard(),
    )


def texts_of(candidate: Any) -> Iterator[str]:
    """What a candidate wrote."""
    for part in listed(read(candidate, "content"), "parts"):
        text = read(part, "text")
        if isinstance(text, str):
            yield text
        for name in _CALLED:
            called = said(part, name)
            if called is not None:
                yield _shown(called)


def _shown(value: Any) -> str:
    try:
        return compact(value)
    except (TypeError, ValueError, RecursionError):
        return str(value)


# --- everything else


def embedded(reply: Any) -> Answer:
    """Embeddings: the Gemini API says what it counted in some versions, Vertex AI always. Else it is counted here."""
    counts = token_usage(said(reply, "usageMetadata")) if said(reply, "usageMetadata") is not None else None
    if counts is not None and "input_tokens" in counts:
        return Answer(usage={**counts, "output_tokens": 0})
    counted = _counted(listed(reply, "predictions") or listed(reply, "embeddings"))
    if counted is not None:
        return Answer(usage={"input_tokens": counted, "output_tokens": 0})
    return Answer(usage={"output_tokens": 0}, lacks=("input_tokens",), free=bool(read(reply, "error")))


def _counted(entries: Sequence[Any]) -> int | None:
    """The sum of what Vertex AI says of each text; `None` if it does not of one."""
    sizes = [number(said(read(read(entry, "embeddings") or entry, "statistics"), "tokenCount")) for entry in entries]
    known = [size for size in sizes if size is not None and size >= 0]
    return sum(known) if known and len(known) == len(sizes) else None


def drawn(reply: Any) -> Answer:
    """Pictures, of which those that a filter took back are not billed: fewer than were asked for, or none."""
    predictions = listed(reply, "predictions")
    pictures = sum(1 for entry in predictions if said(entry, "bytesBase64Encoded") or said(entry, "gcsUri"))
    return Answer(free=not pictures and read(reply, "predictions") is not None)


def begun(reply: Any) -> Answer:
    """Work that goes on: what it costs was known from the request."""
    return Answer(free=bool(read(reply, "error")) and not read(reply, "name"))


def cached(reply: Any) -> Answer:
    """A cache that was made: how many tokens it holds, which are billed as input once."""
    total = number(said(said(reply, "usageMetadata"), "totalTokenCount"))
    if total is None or total < 0:
        return Answer(usage={"output_tokens": 0}, lacks=("input_tokens",))
    return Answer(usage={"input_tokens": total, "output_tokens": 0})
