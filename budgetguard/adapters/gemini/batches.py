"""
Google's batches: requests that stand in the body or in an uploaded file, and how their batch stands.

A batch whose requests stood in its body shows its answers as it ends, each with a usage of its own; of one from a file
it is known how many were answered. Only answers are billed, at half price
(ai.google.dev/gemini-api/docs/batch-api, read 2026-11-29).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...calls import UNKNOWN_HOST, Answer, Call, Host, Share, read
from ..common.bodies import fields, items, text
from ..common.numbers import number
from .names import constant, field, listed, part_of, plain_model, said
from .replies import generated
from .requests import generate

TIER = "batch"

_RUNS_MS = 2 * 24 * 3_600_000
"""A batch ends after two days at the latest."""

_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
_LONG = 200_000
"""Input tokens above which some models have other prices."""


def create(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`batches.create`: the model stands in the path, and each request is one for its content."""
    given = part_of(part_of(fields(body), "batch"), "inputConfig")
    model = text(fields(body), "model") or ""
    asked = [part_of(fields(each), "request") for each in items(part_of(given, "requests").get("requests"))]
    name = field(given, "fileName")
    return Call(
        model="",
        tier=TIER,
        background=True,
        runs_ms=_RUNS_MS,
        file=name if isinstance(name, str) else "",
        requests=(generate({**each, "model": model}, (), host) for each in asked) if asked else None,
    )


def batch(reply: Any) -> Answer:
    """How a batch stands, and what it used if that shows."""
    metadata = said(reply, "metadata")
    name = plain_model(read(reply, "name"))
    state = constant(said(metadata, "state"))
    if not (read(reply, "done") is True or state.endswith(_ENDED)):
        return Answer(id=name, final=False)
    answers = [generated(said(each, "response")) for each in _responses(reply, metadata)]
    answered = [answer for answer in answers if answer.usage is not None and not answer.lacks]
    stats = number(said(said(metadata, "batchStats"), "successfulRequestCount"))
    count = len(answers) or stats
    free = not count and (stats == 0 or not state.endswith("SUCCEEDED"))
    shares = _shares(answered)
    whole: dict[str, int] = {}
    for share in shares:
        _sum(whole, share.usage)
    whole.pop("requests", None)
    return Answer(id=name, usage=whole if shares else None, free=free, requests=count, shares=shares)


def batch_list(reply: Any) -> Sequence[Any]:
    """The batches in a page of them."""
    return listed(reply, "operations")


def _responses(reply: Any, metadata: Any) -> Sequence[Any]:
    """The answers in a batch that has ended; what went wrong has none."""
    for place in (said(reply, "response"), said(metadata, "output")):
        found = listed(said(place, "inlinedResponses"), "inlinedResponses")
        if found:
            return [each for each in found if said(each, "response") is not None]
    return ()


def _shares(answers: Sequence[Answer]) -> tuple[Share, ...]:
    """What they used, put together where the prices are the same."""
    sums: dict[tuple[str | None, bool], tuple[int, dict[str, int]]] = {}
    for answer in answers:
        usage = answer.usage or {}
        asked = usage.get("input_tokens", 0)
        longest, total = sums.setdefault((answer.model, asked > _LONG), (0, {}))
        _sum(total, {**usage, "requests": 1})
        sums[answer.model, asked > _LONG] = max(longest, asked), total
    return tuple(Share(model, usage, longest) for (model, _), (longest, usage) in sums.items())


def _sum(total: dict[str, int], more: Mapping[str, int]) -> None:
    for kind, count in more.items():
        total[kind] = total.get(kind, 0) + count
