"""
The fake provider's files, uploads and batches: what is uploaded, what is made of it, what it was billed.

A batch is validated when it is made. A look then finds it complete (after `Plan.polls` that find it in progress), and
billed at half price. One that is cancelled before is not billed.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from ....money import Nano
from ..plan import BadRequestError, Bill, FakeReply, Plan, Request
from .replies import ENDPOINTS

_WINDOW_S = 24 * 3600


@dataclass(slots=True)
class _Batch:
    """One batch: how it stands, and the answers that will be in its output."""

    said: dict[str, Any]
    plan: Plan
    answers: list[tuple[str, FakeReply | BadRequestError]] = field(default_factory=list)
    looks: int = 0


class FakeBatches:
    """
    The files and batches of one provider. `cost` is its price for a reply, `book` takes a bill.

    Whoever calls holds a lock.
    """

    def __init__(self, cost: Callable[[FakeReply], Nano], book: Callable[[Bill], None]) -> None:
        self._cost = cost
        self._book = book
        self._files: dict[str, tuple[dict[str, Any], bytes]] = {}
        self._uploads: dict[str, dict[str, Any]] = {}
        self._parts: dict[str, bytes] = {}
        self._batches: dict[str, _Batch] = {}

    def reply(self, request: Request, plan: Plan, key: str) -> FakeReply | None:
        """The answer to a request for one of these; `None` if it is for something else."""
        for method, pattern, answer in (
            ("POST", r"/files", self._upload),
            ("GET", r"/files/([^/]+)", self._file),
            ("DELETE", r"/files/([^/]+)", self._delete),
            ("GET", r"/files/([^/]+)/content", self._content),
            ("POST", r"/uploads", self._begin),
            ("POST", r"/uploads/([^/]+)/parts", self._part),
            ("POST", r"/uploads/([^/]+)/complete", self._complete),
            ("POST", r"/batches", self._create),
            ("GET", r"/batches", self._list),
            ("GET", r"/batches/([^/]+)", self._retrieve),
            ("POST", r"/batches/([^/]+)/cancel", self._cancel),
        ):
            match = re.fullmatch(pattern, request.endpoint)
            if match is not None and method == request.method:
                made = answer(request, plan, match[1] if match.groups() else key)
                return made if isinstance(made, FakeReply) else FakeReply(body=made, billed=False)
        return None

    # -- files -------------------------------------------------------------------------------------------------------

    def _keep(self, name: str, content: bytes, purpose: Any, title: Any = "batch.jsonl") -> dict[str, Any]:
        said = {"id": name, "object": "file", "bytes": len(content), "created_at": int(time.time())}
        said |= {"filename": title, "purpose": purpose, "status": "processed"}
        self._files[name] = (said, content)
        return said

    def _upload(self, request: Request, _plan: Plan, key: str) -> dict[str, Any]:
        content = request.body.get("file")
        if not isinstance(content, bytes):
            raise BadRequestError("Missing required parameter: 'file'.")
        return self._keep(f"file-{key}", content, request.body.get("purpose"))

    def _found(self, name: str) -> tuple[dict[str, Any], bytes]:
        if name not in self._files:
            raise BadRequestError(f"No such File object: {name}", status=404)
        return self._files[name]

    def _file(self, _request: Request, _plan: Plan, name: str) -> dict[str, Any]:
        return self._found(name)[0]

    def _content(self, _request: Request, _plan: Plan, name: str) -> FakeReply:
        return FakeReply(body=self._found(name)[1], content_type="application/octet-stream", billed=False)

    def _delete(self, _request: Request, _plan: Plan, name: str) -> dict[str, Any]:
        self._found(name)
        del self._files[name]
        return {"id": name, "object": "file", "deleted": True}

    # -- uploads in parts --------------------------------------------------------------------------------------------

    def _begin(self, request: Request, _plan: Plan, key: str) -> dict[str, Any]:
        now = int(time.time())
        name = f"upload_{key}"
        said = {"id": name, "object": "upload", "created_at": now, "expires_at": now + 3600}
        wanted = {name: request.body.get(name) for name in ("bytes", "filename", "purpose")}
        made = self._uploads[name] = {**said, **wanted, "status": "pending", "file": None}
        return made

    def _part(self, request: Request, _plan: Plan, name: str) -> dict[str, Any]:
        part = f"part_{len(self._parts)}"
        self._parts[part] = request.body["data"]
        return {"id": part, "object": "upload.part", "created_at": int(time.time()), "upload_id": name}

    def _complete(self, request: Request, _plan: Plan, name: str) -> dict[str, Any]:
        upload = self._uploads[name]
        content = b"".join(self._parts[part] for part in request.body["part_ids"])
        file = self._keep(f"file-{name}", content, upload["purpose"], upload["filename"])
        upload |= {"status": "completed", "file": file}
        return upload

    # -- batches -----------------------------------------------------------------------------------------------------

    def _create(self, request: Request, plan: Plan, key: str) -> dict[str, Any]:
        body, now = request.body, int(time.time())
        _, content = self._found(str(body.get("input_file_id")))
        said = {
            "id": f"batch_{key}",
            "object": "batch",
            "endpoint": body.get("endpoint"),
            "errors": None,
            "input_file_id": body["input_file_id"],
            "completion_window": body.get("completion_window"),
            "status": "validating",
            "output_file_id": None,
            "error_file_id": None,
            "created_at": now,
            "in_progress_at": None,
            "expires_at": now + _WINDOW_S,
            "request_counts": {"total": 0, "completed": 0, "failed": 0},
            "metadata": body.get("metadata"),
            "model": None,
            "usage": None,
        }
        batch = self._batches[said["id"]] = _Batch(said, plan)
        try:
            batch.answers = list(_answers(content, str(body.get("endpoint")), plan, key))
        except BadRequestError as error:
            batch.answers = []
            errors = [{"code": "invalid_request", "line": None, "message": str(error), "param": None}]
            said["errors"] = {"object": "list", "data": errors}
        return dict(said)

    def _batch(self, name: str) -> _Batch:
        if name not in self._batches:
            raise BadRequestError(f"No batch found with id '{name}'.", status=404)
        return self._batches[name]

    def _retrieve(self, _request: Request, _plan: Plan, name: str) -> dict[str, Any]:
        return self._look(self._batch(name))

    def _list(self, _request: Request, _plan: Plan, _key: str) -> dict[str, Any]:
        found = [self._look(batch) for batch in reversed(self._batches.values())]
        return {"object": "list", "data": found, "has_more": False}

    def _cancel(self, _request: Request, _plan: Plan, name: str) -> dict[str, Any]:
        said = self._batch(name).said
        if said["status"] not in {"validating", "in_progress"}:
            raise BadRequestError(f"Cannot cancel a batch with status '{said['status']}'.", status=409)
        said["status"] = "cancelling"
        return dict(said)

    def _look(self, batch: _Batch) -> dict[str, Any]:
        """How a batch stands; each look brings it on."""
        said, now = batch.said, int(time.time())
        if said["errors"] is not None:
            said |= {"status": "failed", "failed_at": now}
        elif said["status"] == "cancelling":
            said |= {"status": "cancelled", "cancelled_at": now}
        elif said["status"] in {"validating", "in_progress"}:
            batch.looks += 1
            total = len(batch.answers)
            said |= {"status": "in_progress", "in_progress_at": said["in_progress_at"] or now}
            said["request_counts"] = {"total": total, "completed": 0, "failed": 0}
            if batch.looks > batch.plan.polls:
                self._finish(batch)
        return dict(said)

    def _finish(self, batch: _Batch) -> None:
        """Complete a batch: write its output, and bill it."""
        said = batch.said
        done = [(name, reply) for name, reply in batch.answers if isinstance(reply, FakeReply)]
        lines = [{"custom_id": name, "response": {"status_code": 200, "body": reply.body}} for name, reply in done]
        output = self._keep(f"file-output-{said['id']}", _lines(lines), "batch_output")
        failed = len(batch.answers) - len(done)
        usage = _usage([reply for _, reply in done])
        models = {reply.model for _, reply in done}
        said |= {"status": "completed", "completed_at": int(time.time()), "output_file_id": output["id"]}
        said["request_counts"] = {"total": len(batch.answers), "completed": len(done), "failed": failed}
        said["model"] = next(iter(models)) if len(models) == 1 else None
        said["usage"] = None if batch.plan.omit_usage else usage
        amount = -(-sum(self._cost(reply) for _, reply in done) // 2)
        asked, made = usage["input_tokens"], usage["output_tokens"]
        self._book(Bill(said["id"], "/batches", said["model"] or "", asked, made, usage, amount))


def _answers(content: bytes, endpoint: str, plan: Plan, key: str) -> Iterator[tuple[str, FakeReply | BadRequestError]]:
    """The answer to each line; raises `BadRequestError` for a file that is refused as a whole."""
    numbered = [(number, raw) for number, raw in enumerate(content.splitlines(), 1) if raw.strip()]
    if not numbered:
        raise BadRequestError("The input file is empty.")
    for number, raw in numbered:
        try:
            asked = json.loads(raw)
            name, path, body = asked["custom_id"], asked["url"], asked["body"]
        except (ValueError, KeyError, TypeError):
            raise BadRequestError(f"Line {number} is no request.") from None
        answer = ENDPOINTS.get(("POST", path.removeprefix("/v1")))
        if path != endpoint or answer is None:
            raise BadRequestError(f"Line {number}: the URL is not the endpoint of the batch.")
        try:
            yield name, answer(Request("POST", path, path.removeprefix("/v1"), body, {}), plan, f"{key}-{number}")
        except BadRequestError as error:
            yield name, error


def _usage(replies: list[FakeReply]) -> dict[str, Any]:
    asked, made = sum(reply.input_tokens for reply in replies), sum(reply.output_tokens for reply in replies)
    cached = sum(_detail(reply.usage, ("prompt", "input"), "cached_tokens") for reply in replies)
    reasoning = sum(_detail(reply.usage, ("completion", "output"), "reasoning_tokens") for reply in replies)
    return {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": made,
        "output_tokens_details": {"reasoning_tokens": reasoning},
        "total_tokens": asked + made,
    }


def _detail(usage: Mapping[str, Any], sides: tuple[str, str], name: str) -> int:
    found = next((usage[f"{side}_tokens_details"] for side in sides if f"{side}_tokens_details" in usage), None)
    return int((found or {}).get(name) or 0)


def _lines(items: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)
