"""
The fake provider's batches of Anthropic's: requests in the body, looks at how they stand, results line by line.

A look finds a batch ended (after `Plan.polls` that find it in progress), and its answers billed at half price each. One
that is canceled before is not billed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ....money import Nano
from ..plan import BadRequestError, Bill, FakeReply, Plan, Request
from . import ERRORS, message

_STATES = ("processing", "succeeded", "errored", "canceled", "expired")


@dataclass(slots=True)
class _MessageBatch:
    """One batch: how it stands, and each answer or error by the name of its request."""

    said: dict[str, Any]
    plan: Plan
    answers: Mapping[str, FakeReply | BadRequestError]
    looks: int = 0


class FakeMessageBatches:
    """The batches of one provider. `cost` is its price for a reply, `book` takes a bill. Whoever calls holds a lock."""

    def __init__(self, cost: Callable[[FakeReply], Nano], book: Callable[[Bill], None]) -> None:
        self._cost = cost
        self._book = book
        self._batches: dict[str, _MessageBatch] = {}

    def reply(self, request: Request, plan: Plan, key: str) -> FakeReply | None:
        """The answer to a request for one of these; `None` if it is for something else."""
        match = re.fullmatch(r"/messages/batches(?:/([^/]+))?(/cancel|/results)?", request.endpoint)
        if match is None:
            return None
        name, what = match.groups()
        if name is None:
            made = self._create(request, plan, key) if request.method == "POST" else self._list()
        elif name not in self._batches:
            raise BadRequestError(f"No batch {name!r}.", status=404)
        elif what == "/results":
            return self._results(self._batches[name])
        else:
            made = self._cancel(self._batches[name]) if what else self._look(self._batches[name])
        return FakeReply(body=made, billed=False)

    def _create(self, request: Request, plan: Plan, key: str) -> dict[str, Any]:
        asked = request.body.get("requests")
        if not asked:
            raise BadRequestError("requests: Field required")
        answers: dict[str, FakeReply | BadRequestError] = {}
        for number, each in enumerate(asked):
            one = Request("POST", "/v1/messages", "/messages", each["params"], {})
            try:
                answers[each["custom_id"]] = message(one, plan, f"{key}-{number}")
            except BadRequestError as error:
                answers[each["custom_id"]] = error
        name = f"msgbatch_{key}"
        said = {
            "id": name,
            "type": "message_batch",
            "processing_status": "in_progress",
            "request_counts": {**dict.fromkeys(_STATES, 0), "processing": len(answers)},
            "created_at": "2026-01-01T00:00:00Z",
            "expires_at": "2026-01-02T00:00:00Z",
            "ended_at": None,
            "results_url": None,
        }
        url = f"http://{request.headers.get('host', 'localhost')}/v1/messages/batches/{name}/results"
        self._batches[name] = _MessageBatch({**said, "_url": url}, plan, answers)
        return said

    def _list(self) -> dict[str, Any]:
        found = [self._look(batch) for batch in reversed(self._batches.values())]
        return {"data": found, "has_more": False, "first_id": None, "last_id": None}

    def _cancel(self, batch: _MessageBatch) -> dict[str, Any]:
        if batch.said["processing_status"] == "in_progress":
            batch.said["processing_status"] = "canceling"
        return _shown(batch)

    def _look(self, batch: _MessageBatch) -> dict[str, Any]:
        """How a batch stands; each look brings it on."""
        said = batch.said
        if said["processing_status"] == "canceling":
            self._end(batch, canceled=len(batch.answers))
        elif said["processing_status"] == "in_progress":
            batch.looks += 1
            if batch.looks > batch.plan.polls:
                done = [reply for reply in batch.answers.values() if isinstance(reply, FakeReply)]
                self._end(batch, succeeded=len(done), errored=len(batch.answers) - len(done))
                amount = -(-sum(self._cost(reply) for reply in done) // 2)
                asked, made = sum(reply.input_tokens for reply in done), sum(reply.output_tokens for reply in done)
                usage = {"input_tokens": asked, "output_tokens": made}
                self._book(Bill(said["id"], "/messages/batches", "", asked, made, usage, amount))
        return _shown(batch)

    def _end(self, batch: _MessageBatch, **counts: int) -> None:
        batch.said |= {
            "processing_status": "ended",
            "ended_at": "2026-01-01T01:00:00Z",
            "results_url": batch.said["_url"],
        }
        batch.said["request_counts"] = {**dict.fromkeys(_STATES, 0), **counts}

    def _results(self, batch: _MessageBatch) -> FakeReply:
        if batch.said["processing_status"] != "ended":
            raise BadRequestError("The batch has not ended.", status=404)
        canceled = batch.said["request_counts"]["canceled"]
        lines = []
        for name, reply in batch.answers.items():
            result: dict[str, Any] = {"type": "canceled"}
            if isinstance(reply, BadRequestError):
                error = {"type": ERRORS[400], "message": str(reply)}
                result = {"type": "errored", "error": {"type": "error", "error": error}}
            elif not canceled:
                usage = reply.body["usage"] and {**reply.body["usage"], "service_tier": "batch"}
                result = {"type": "succeeded", "message": {**reply.body, "usage": usage}}
            lines.append(json.dumps({"custom_id": name, "result": result}).encode() + b"\n")
        return FakeReply(body=b"".join(lines), content_type="application/x-jsonl", billed=False)


def _shown(batch: _MessageBatch) -> dict[str, Any]:
    return {name: value for name, value in batch.said.items() if name != "_url"}
