"""
The fake provider's Ollama API: chats, completions and embeddings, whole or as lines of JSON.

Pure functions from a request and a plan to a reply, in the shapes of Ollama's API. As there, an answer is streamed
unless the request says otherwise, and its last line has the counts.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..plan import NDJSON, BadRequestError, Event, FakeReply, Plan, Request, UsageWords
from ..words import FakeText, input_tokens, whole, write

WORDS = UsageWords(("prompt_eval_count",), ("eval_count",))

_MADE = "2026-11-29T12:00:00.000000Z"


def owns(endpoint: str) -> bool:
    """Whether a path below the root is one of this API."""
    return endpoint.startswith("/api/")


def reply(request: Request, plan: Plan, key: str) -> FakeReply | None:
    """The answer to a request."""
    name = request.endpoint.removeprefix("/api/")
    if request.method != "POST" or name not in {"chat", "generate", "embed", "embeddings"}:
        return None
    if not request.body.get("model"):
        raise BadRequestError("model is required")
    return embed(request, plan) if name.startswith("embed") else answer(request, plan, chat=name == "chat")


def error(status: int, text: str) -> dict[str, Any]:
    """What an error status says; also, as a line, what breaks a stream off."""
    return {"error": text}


def answer(request: Request, plan: Plan, *, chat: bool) -> FakeReply:
    """POST /api/chat and /api/generate."""
    body = request.body
    messages = body.get("messages") or []
    cap = (body.get("options") or {}).get("num_predict")
    tool = _tool(body, plan) if chat else None
    made = write(plan, cap=whole(cap, "num_predict") if cap is not None and cap > 0 else None, tool=tool)
    asked = input_tokens(*messages, body.get("prompt"), body.get("system"), messages=len(messages) or 1)
    usage = dict(plan.usage or {"prompt_eval_count": asked, "eval_count": made.tokens})
    model = plan.model or str(body["model"])
    frame = {"model": model, "created_at": _MADE}
    last = {**frame, "done": True, "done_reason": "length" if made.cut else "stop", "total_duration": 1_000_000}
    last |= {} if plan.omit_usage else usage
    billed = FakeReply(model=model, usage=usage, words=WORDS, framing=NDJSON)
    if body.get("stream") is not False:
        return replace(billed, events=list(_lines(frame, last, made, chat=chat)))
    return replace(billed, body={**last, **_said(made, made.text, chat=chat)})


def embed(request: Request, plan: Plan) -> FakeReply:
    """POST /api/embed and, the older one, /api/embeddings."""
    body = request.body
    given = body.get("input") if "input" in body else body.get("prompt")
    texts = given if isinstance(given, list) else [given]
    usage = dict(plan.usage or {"prompt_eval_count": sum(input_tokens(text) for text in texts)})
    vector = [round(1 / (k + 2), 6) for k in range(8)]
    model = str(body["model"])
    said: dict[str, Any] = {"model": model, "embeddings": [vector for _ in texts], **usage}
    if request.endpoint == "/api/embeddings":
        said = {"embedding": vector}
    return FakeReply(body=said, model=model, usage=usage, words=WORDS)


def _lines(frame: Mapping[str, Any], last: Mapping[str, Any], made: FakeText, *, chat: bool) -> Iterator[Event]:
    for piece in () if made.tool else made.pieces:
        yield Event({**frame, **_said(None, piece, chat=chat), "done": False}, output_tokens=1)
    if made.tool:
        yield Event({**frame, **_said(made, "", chat=chat), "done": False}, output_tokens=made.tokens)
    yield Event({**last, **_said(None, "", chat=chat)})


def _said(made: FakeText | None, text: str, *, chat: bool) -> dict[str, Any]:
    if not chat:
        return {"response": text}
    if made is None or not made.tool:
        return {"message": {"role": "assistant", "content": text}}
    call = {"function": {"name": made.tool, "arguments": json.loads(made.text) if not made.cut else {}}}
    return {"message": {"role": "assistant", "content": "", "tool_calls": [call]}}


def _tool(body: Mapping[str, Any], plan: Plan) -> Mapping[str, Any] | None:
    """The tool that the answer calls: the first one, until a tool has answered."""
    offered = body.get("tools") or []
    answered = any(message.get("role") == "tool" for message in body.get("messages") or [])
    return offered[0]["function"] if offered and plan.tools and not answered else None
