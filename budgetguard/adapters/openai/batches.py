"""
OpenAI's batches: a file of requests that is uploaded, a batch that is made of it, its usage when it has ended.

A line of the file is a request of its own, which the reader of its own operation reads. What a batch is billed is in
`usage` (openai 2.0, of batches since September 2025), summed over all requests, or not said at all.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from ...calls import UNKNOWN_HOST, Answer, Call, Host, read
from ..common.bodies import fields, text
from ..common.numbers import number_of, stated_cost
from .requests import user
from .usage import token_usage

TIER = "batch"
"""The service tier in which every request of a batch is billed, whatever it asks for."""

_HOUR_MS = 3_600_000
_WINDOW = re.compile(r"([0-9]{1,3})([hd])")
_HOURS = {"h": 1, "d": 24}
LATE_MS = 24 * _HOUR_MS
"""How long after its completion window a batch is waited for: it may end late, and be looked at on the next day."""

_OVER = frozenset({"completed", "expired", "cancelled", "failed"})


class BatchLine(NamedTuple):
    """One request of a batch file."""

    path: str
    """As it names its operation: "/v1/chat/completions"; "" if it does not."""
    body: Mapping[str, Any]


def line(raw: bytes) -> BatchLine | None:
    """One line of a batch file; `None` for what is no request, which the provider refuses with the whole file."""
    try:
        data = json.loads(raw.removeprefix(b"\xef\xbb\xbf"))
    except (ValueError, RecursionError):
        return None
    body = data.get("body") if isinstance(data, dict) else None
    if not isinstance(body, dict):
        return None
    # Some hosts name the operation in the batch only; it is nearly always this one.
    return BatchLine(text(data, "url") or ("/v1/chat/completions" if "messages" in body else ""), body)


def is_batch_file(body: Mapping[str, Any]) -> bool:
    """Whether an upload is meant to be the input of a batch."""
    return text(fields(body), "purpose") == "batch"


def create(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`batches.create`: what it costs is in the file that it names."""
    body = fields(body)
    window = _WINDOW.fullmatch(text(body, "completion_window") or "24h")
    hours = int(window[1]) * _HOURS[window[2]] if window else 24
    return Call(
        model="",
        tier=TIER,
        user=user(body),
        background=True,
        runs_ms=hours * _HOUR_MS + LATE_MS,
        file=text(body, "input_file_id") or "",
    )


def batch(reply: Any) -> Answer:
    """
    How a batch stands.

    One that failed was refused as a whole, and is free unless it has a usage; so is one that was cancelled before any
    request was begun, or ended without one that was answered.
    """
    status, usage = _text(reply, "status"), read(reply, "usage")
    counts = token_usage(usage)
    if counts is not None and not (any(counts.values()) and {"input_tokens", "output_tokens"} <= counts.keys()):
        counts = None  # a placeholder, or half of it
    cost, fee = stated_cost(usage)
    answered = _answered(reply, status)
    return Answer(
        model=_text(reply, "model"),
        usage=counts,
        tier=TIER,
        cost=cost,
        fee=fee,
        id=_text(reply, "id"),
        final=status in _OVER,
        free=counts is None and status in _OVER and (answered == 0 or (status == "failed" and not answered)),
        requests=answered,
    )


def batch_list(reply: Any) -> Sequence[Any]:
    """The batches in a page of them."""
    found = read(reply, "data")
    return found if isinstance(found, list | tuple) else ()


def part_ids(body: Mapping[str, Any]) -> Sequence[str]:
    """The parts that a file is put together of, in their order."""
    found = fields(body).get("part_ids")
    return [part for part in found if isinstance(part, str)] if isinstance(found, list | tuple) else ()


def file(reply: Any) -> Answer:
    """The id of a file, of an upload or a part, or of the file that an upload became."""
    made = read(reply, "file")
    return Answer(id=_text(reply if made is None else made, "id"), free=True)


def _answered(reply: Any, status: str | None) -> int | None:
    """How many requests were answered; `None` if that is not said, as by a host that leaves its counts at 0."""
    counts = read(reply, "request_counts")
    if number_of(counts, "total"):
        return number_of(counts, "completed")
    begun = status not in {"cancelled", "expired"} or read(reply, "in_progress_at") is not None
    return None if counts is None or begun else 0


def _text(item: Any, name: str) -> str | None:
    value = read(item, name)
    return value if isinstance(value, str) and value else None
