"""
Anthropic's batches: requests that stand in the body, how their batch stands, and its results.

How a batch stands never says what it used. Its results do, line by line, each answer with a usage of its own; they are
kept for 29 days (platform.claude.com, "Batch processing", read 2026-11-28). Only answers are billed: a request that
was wrong, canceled or expired is free.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...calls import UNKNOWN_HOST, Answer, Call, Host, Share, Usage, read
from ..common.bodies import fields, items, text
from ..common.numbers import number_of
from .replies import message
from .requests import messages

TIER = "batch"

_RUNS_MS = 2 * 24 * 3_600_000
"""A batch ends after a day at the latest, and is waited for as long once more: for somebody to read its results."""

_FREE = ("errored", "canceled", "expired")

_LONG = 200_000
"""Input tokens above which some models have other prices."""


def create(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`messages.batches.create`. Whom it is for, its requests say, if all say the same."""
    asked = [fields(fields(entry).get("params")) for entry in items(fields(body).get("requests"))]
    users = {text(fields(params.get("metadata")), "user_id") for params in asked}
    return Call(
        model="",
        tier=TIER,
        user=users.pop() if len(users) == 1 else None,
        background=True,
        runs_ms=_RUNS_MS,
        file="",
        requests=(messages(params, (), host) for params in asked) if asked else None,
    )


def batch(reply: Any) -> Answer:
    """How a batch stands. It is over for us where none of its requests was answered: else its results say the rest."""
    name, counts = read(reply, "id"), read(reply, "request_counts")
    ended = read(reply, "processing_status") == "ended"
    free = sum(number_of(counts, state) for state in _FREE)
    answered = number_of(counts, "succeeded")
    over = ended and free > 0 and not answered  # a host may leave all of its counts at 0
    return Answer(id=name if isinstance(name, str) and name else None, final=over, free=over)


def batch_list(reply: Any) -> Sequence[Any]:
    """The batches in a page of them."""
    return items(read(reply, "data"))


class ResultsListener:
    """The results of one batch, a line each. They are added up: there may be a hundred thousand."""

    __slots__ = ("_answered", "_sums", "done")

    def __init__(self) -> None:
        self.done = False
        self._answered = 0
        self._sums: dict[tuple[str | None, str | None, bool], tuple[int, dict[str, int]]] = {}

    def hear(self, item: Any) -> bool:
        """Take in a line."""
        result = read(item, "result")
        if read(result, "type") == "succeeded":
            self._answered += 1
            answer = message(read(result, "message"))
            if answer.usage is not None and not answer.lacks:
                self._add(answer.model, answer.region, answer.usage, 1)
                for model, usage in answer.also:
                    self._add(model, answer.region, usage, 0)
        return False

    def end(self) -> Answer:
        """What all of them used."""
        shares = tuple(self._shares())
        whole: dict[str, int] = {}
        for share in shares:
            _sum(whole, share.usage)
        whole.pop("requests", None)
        return Answer(
            usage=whole if shares else None,
            free=not self._answered,
            requests=self._answered,
            shares=shares,
        )

    def _add(self, model: str | None, region: str | None, usage: Usage, answers: int) -> None:
        asked = usage.get("input_tokens", 0)
        longest, total = self._sums.setdefault((model, region, asked > _LONG), (0, {"requests": 0}))
        _sum(total, {**usage, "requests": answers})
        self._sums[model, region, asked > _LONG] = max(longest, asked), total

    def _shares(self) -> Iterator[Share]:
        for (model, region, _), (longest, usage) in self._sums.items():
            yield Share(model, usage, longest, region)


def _sum(total: dict[str, int], more: Usage) -> None:
    for kind, count in more.items():
        total[kind] = total.get(kind, 0) + count
