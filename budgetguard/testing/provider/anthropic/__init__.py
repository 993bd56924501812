"""
The fake provider's Anthropic API: messages, plain and streamed, and their count of tokens.

Pure functions from a request and a plan to a reply, in the shapes of Anthropic's API. As there, a usage's
`input_tokens` leave out what was read from a cache or written to one, and `output_tokens` have thinking inside.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from ..plan import BadRequestError, Event, FakeReply, Plan, Request
from ..words import FakeText, input_tokens, whole, write

ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
"""Kinds of errors by their status; every other is an "api_error"."""


def owns(endpoint: str) -> bool:
    """Whether a path below the root is one of this API."""
    return endpoint == "/messages" or endpoint.startswith("/messages/")


def reply(request: Request, plan: Plan, key: str) -> FakeReply | None:
    """The answer to a request that is no batch's."""
    if request.method == "POST" and request.endpoint == "/messages":
        return message(request, plan, key)
    if request.method == "POST" and request.endpoint == "/messages/count_tokens":
        return count_tokens(request)
    return None


def message(request: Request, plan: Plan, key: str) -> FakeReply:
    """POST /messages."""
    body = request.body
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        raise BadRequestError("messages: Field required")
    if body.get("max_tokens") is None:
        raise BadRequestError("max_tokens: Field required")
    model = plan.model or body.get("model")
    if not model:
        raise BadRequestError("model: Field required")
    answer = write(plan, cap=whole(body["max_tokens"], "max_tokens", least=0), tool=_tool(body, plan))
    usage = _usage(body, plan, answer)
    said: dict[str, Any] = {
        "id": f"msg_{key}",
        "type": "message",
        "role": "assistant",
        "model": str(model),
        "content": _content(answer, key),
        "stop_reason": "max_tokens" if answer.cut else "tool_use" if answer.tool else "end_turn",
        "stop_sequence": None,
        "usage": usage,
    }
    if plan.omit_usage:
        said["usage"] = {}
    events = list(_events(said, answer)) if body.get("stream") else None
    return FakeReply(body=said, events=events, model=str(model), usage=usage)


def count_tokens(request: Request) -> FakeReply:
    """POST /messages/count_tokens, which is free."""
    return FakeReply(body={"input_tokens": _input_tokens(request.body)}, billed=False)


def error(status: int, text: str) -> dict[str, Any]:
    """What an error status says; also, as an event, what breaks a stream off."""
    return {"type": "error", "error": {"type": ERRORS.get(status, "api_error"), "message": text}, "request_id": "req_1"}


def _content(answer: FakeText, key: str) -> list[dict[str, Any]]:
    thought = [{"type": "thinking", "thinking": "", "signature": "c2lnbmVk"}] if answer.reasoning else []
    if answer.tool:
        called = json.loads(answer.text) if not answer.cut else {}
        return [*thought, {"type": "tool_use", "id": f"toolu_{key}", "name": answer.tool, "input": called}]
    return [*thought, {"type": "text", "text": answer.text}]


def _events(said: dict[str, Any], answer: FakeText) -> Iterator[Event]:
    def event(kind: str, tokens: int = 0, **fields: Any) -> Event:
        return Event({"type": kind, **fields}, kind, tokens)

    first = {**said["usage"], "output_tokens": min(1, answer.tokens)} if said["usage"] else {}
    first.pop("output_tokens_details", None)
    yield event("message_start", message={**said, "content": [], "stop_reason": None, "usage": first})
    yield event("ping")
    for index, block in enumerate(said["content"]):
        kind = block["type"]
        empty: dict[str, dict[str, Any]] = {
            "thinking": {"thinking": "", "signature": ""},
            "text": {"text": ""},
            "tool_use": {"input": {}},
        }
        hidden = answer.reasoning if kind == "thinking" else 0
        yield event("content_block_start", hidden, index=index, content_block={**block, **empty[kind]})
        if kind == "thinking":
            delta = {"type": "signature_delta", "signature": block["signature"]}
            yield event("content_block_delta", index=index, delta=delta)
        for piece in answer.pieces if kind != "thinking" else ():
            text = {"type": "text_delta", "text": piece}
            delta = text if kind == "text" else {"type": "input_json_delta", "partial_json": piece}
            yield event("content_block_delta", 1, index=index, delta=delta)
        yield event("content_block_stop", index=index)
    names = ("output_tokens", "output_tokens_details", "cache_read_input_tokens", "cache_creation_input_tokens")
    last = {name: said["usage"][name] for name in ("input_tokens", *names) if name in said["usage"]}
    yield event("message_delta", delta={"stop_reason": said["stop_reason"], "stop_sequence": None}, usage=last)
    yield event("message_stop")


def _usage(body: Mapping[str, Any], plan: Plan, answer: FakeText) -> dict[str, Any]:
    if plan.usage is not None:
        return dict(plan.usage)
    asked = _input_tokens(body)
    read = min(plan.cached, asked)
    wrote = min(plan.cache_written, asked - read)
    hour = '"ttl": "1h"' in json.dumps(body)
    kept = {"ephemeral_5m_input_tokens": 0 if hour else wrote, "ephemeral_1h_input_tokens": wrote if hour else 0}
    return {
        "input_tokens": asked - read - wrote,
        "cache_read_input_tokens": read,
        "cache_creation_input_tokens": wrote,
        "cache_creation": kept,
        "output_tokens": answer.tokens,
        "output_tokens_details": {"thinking_tokens": answer.reasoning},
        "service_tier": plan.service_tier or "standard",
    }


def _input_tokens(body: Mapping[str, Any]) -> int:
    messages = body.get("messages") or []
    tools = [json.dumps(tool, separators=(",", ":")) for tool in body.get("tools") or []]
    return input_tokens(body.get("system"), *messages, *tools, messages=len(messages))


def _tool(body: Mapping[str, Any], plan: Plan) -> Mapping[str, Any] | None:
    """The tool that the answer calls: the one asked for, or the first one until a tool has answered."""
    offered = [tool for tool in body.get("tools") or () if "input_schema" in tool]
    choice = body.get("tool_choice") or {"type": "auto"}
    if choice.get("type") == "tool":
        offered = [tool for tool in offered if tool["name"] == choice.get("name")]
    elif choice.get("type") == "none" or '"tool_result"' in json.dumps(body["messages"]) or not plan.tools:
        offered = []
    return {"name": offered[0]["name"], "parameters": offered[0]["input_schema"]} if offered else None
