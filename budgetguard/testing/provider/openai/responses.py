"""
The fake provider's Responses API: answers, typed stream events, background responses.

A background response is queued; a retrieve then finds it complete (after
`Plan.polls` that find it in progress), and bills it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from itertools import count
from typing import Any

from ..plan import BadRequestError, Event, FakeReply, Plan, Request
from ..words import FakeText, conversation, input_tokens, whole, write


def respond(request: Request, plan: Plan, key: str) -> FakeReply:
    """POST /responses."""
    body = request.body
    given = body.get("input", "")
    items = [given] if isinstance(given, str) else list(given)
    model = plan.model or body.get("model") or request.deployment
    if not model:
        raise BadRequestError("Missing required parameter: 'model'.")
    cap = whole(body.get("max_output_tokens"), "max_output_tokens", least=16)
    answer = write(plan, cap=cap, schema=_schema(body), tool=_tool(body, items, plan))
    tools = body.get("tools") or []
    asked = input_tokens(body.get("instructions"), *items, *tools, messages=len(conversation(given)))
    usage = _usage(plan, asked, answer)
    reply = _response(body, plan, key, model=str(model), answer=answer, usage=usage)
    events = list(_events(reply, answer)) if body.get("stream") else None
    return FakeReply(body=reply, events=events, model=str(model), usage=usage)


def count_input(request: Request, _plan: Plan, _key: str) -> FakeReply:
    """POST /responses/input_tokens, which is free."""
    given = request.body.get("input") or ""
    items = [given] if isinstance(given, str) else list(given)
    tools = request.body.get("tools") or []
    tokens = input_tokens(request.body.get("instructions"), *items, *tools, messages=len(conversation(given)))
    return FakeReply(body={"object": "response.input_tokens", "input_tokens": tokens}, billed=False)


def pending(response: Mapping[str, Any], status: str) -> dict[str, Any]:
    """A response that is not complete: "queued", "in_progress" or "cancelled"."""
    return {**response, "status": status, "output": [], "usage": None, "incomplete_details": None}


def replay(response: Mapping[str, Any]) -> list[Event]:
    """The stream of a response that is already there (GET /responses/{id}?stream=true)."""
    opening = {**response, "status": "in_progress", "output": [], "usage": None}
    last = "response.incomplete" if response["status"] == "incomplete" else "response.completed"
    return [
        Event({"type": "response.created", "sequence_number": 0, "response": opening}, "response.created"),
        Event({"type": last, "sequence_number": 1, "response": dict(response)}, last),
    ]


def _response(
    body: Mapping[str, Any], plan: Plan, key: str, *, model: str, answer: FakeText, usage: Mapping[str, Any]
) -> dict[str, Any]:
    tier = body.get("service_tier") or "default"
    return {
        "id": f"resp_{key}",
        "object": "response",
        "created_at": int(time.time()),
        "status": "incomplete" if answer.cut else "completed",
        "background": bool(body.get("background")),
        "error": None,
        "incomplete_details": {"reason": "max_output_tokens"} if answer.cut else None,
        "instructions": body.get("instructions"),
        "max_output_tokens": body.get("max_output_tokens"),
        "metadata": body.get("metadata") or {},
        "model": model,
        "output": [_item(key, answer)],
        "parallel_tool_calls": True,
        "previous_response_id": body.get("previous_response_id"),
        "reasoning": {"effort": None, "summary": None},
        "service_tier": plan.service_tier or ("default" if tier == "auto" else tier),
        "store": body.get("store", True),
        "temperature": 1.0,
        "text": body.get("text") or {"format": {"type": "text"}},
        "tool_choice": body.get("tool_choice", "auto"),
        "tools": body.get("tools") or [],
        "top_p": 1.0,
        "truncation": "disabled",
        "usage": None if plan.omit_usage else dict(usage),
        "user": body.get("user"),
    }


def _item(key: str, answer: FakeText) -> dict[str, Any]:
    status = "incomplete" if answer.cut else "completed"
    if answer.tool:
        call = {"id": f"fc_{key}", "type": "function_call", "status": status, "call_id": f"call_{key}"}
        return {**call, "name": answer.tool, "arguments": answer.text}
    part = {"type": "output_text", "annotations": [], "logprobs": [], "text": answer.text}
    return {"id": f"msg_{key}", "type": "message", "status": status, "role": "assistant", "content": [part]}


def _events(response: dict[str, Any], answer: FakeText) -> Iterator[Event]:
    numbers = count()

    def event(kind: str, tokens: int = 0, /, **fields: Any) -> Event:
        return Event({"type": kind, "sequence_number": next(numbers), **fields}, kind, tokens)

    opening = pending(response, "in_progress")
    yield event("response.created", response=opening)
    yield event("response.in_progress", answer.reasoning, response=opening)
    item = response["output"][0]
    place: dict[str, Any] = {"item_id": item["id"], "output_index": 0}
    if answer.tool:
        yield event("response.output_item.added", output_index=0, item={**item, "arguments": ""})
        for piece in answer.pieces:
            yield event("response.function_call_arguments.delta", 1, **place, delta=piece)
        yield event("response.function_call_arguments.done", **place, arguments=answer.text, name=answer.tool)
    else:
        part = item["content"][0]
        place["content_index"] = 0
        yield event("response.output_item.added", output_index=0, item={**item, "content": []})
        yield event("response.content_part.added", **place, part={**part, "text": ""})
        for piece in answer.pieces:
            yield event("response.output_text.delta", 1, **place, delta=piece, logprobs=[])
        yield event("response.output_text.done", **place, text=answer.text, logprobs=[])
        yield event("response.content_part.done", **place, part=part)
    yield event("response.output_item.done", output_index=0, item=item)
    yield event("response.incomplete" if answer.cut else "response.completed", response=response)


def _usage(plan: Plan, asked: int, answer: FakeText) -> dict[str, Any]:
    if plan.usage is not None:
        return dict(plan.usage)
    return {
        "input_tokens": asked,
        "input_tokens_details": {"cached_tokens": min(plan.cached, asked), "cache_write_tokens": 0},
        "output_tokens": answer.tokens,
        "output_tokens_details": {"reasoning_tokens": answer.reasoning},
        "total_tokens": asked + answer.tokens,
    }


def _schema(body: Mapping[str, Any]) -> Any:
    form = (body.get("text") or {}).get("format") or {}
    if form.get("type") == "json_schema":
        return form.get("schema", {})
    return {"properties": {"answer": {"type": "string"}}} if form.get("type") == "json_object" else None


def _tool(body: Mapping[str, Any], items: list[Any], plan: Plan) -> Mapping[str, Any] | None:
    offered: list[Mapping[str, Any]] = [tool for tool in body.get("tools") or () if tool.get("type") == "function"]
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, Mapping):
        return next((tool for tool in offered if tool["name"] == choice.get("name")), None)
    answered = any(isinstance(item, Mapping) and item.get("type") == "function_call_output" for item in items)
    if not offered or choice == "none" or (choice == "auto" and (answered or not plan.tools)):
        return None
    return offered[0]
