"""
The fake provider's Bedrock: Converse and InvokeModel, plain and streamed, and the count of tokens.

Pure functions from a request and a plan to a reply, in the shapes of botocore's service model. As there, a usage's
`inputTokens` leave out what was read from a cache or written to one.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import unquote

from ..plan import BadRequestError, Event, FakeReply, Plan, Request, UsageWords
from ..words import FakeText, input_tokens, whole, write
from .frames import EVENT_STREAM
from .invoke import invoke

ERRORS = {
    400: "ValidationException",
    403: "AccessDeniedException",
    404: "ResourceNotFoundException",
    408: "ModelTimeoutException",
    424: "ModelErrorException",
    429: "ThrottlingException",
    503: "ServiceUnavailableException",
}
"""Kinds of errors by their status; every other is an "InternalServerException"."""

_WORDS = UsageWords(("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens"), ("outputTokens",), "totalTokens")
_PLACE = "arn:"

_LLAMAS = 2_048
_TOO_MUCH = (
    "The maximum tokens you requested exceeds the model limit of {0}. "
    "Try again with a maximum tokens value that is lower than {0}."
)
"""The most that Llama takes, and how Bedrock says so (aws-samples/generative-ai-use-cases, issue 594)."""


def owns(endpoint: str) -> bool:
    """Whether a path below the root is one of this API."""
    return endpoint.startswith("/model/")


def reply(request: Request, plan: Plan, key: str) -> FakeReply | None:
    """The answer to a request."""
    name, _, operation = request.endpoint.removeprefix("/model/").rpartition("/")
    model = unquote(name)
    model = model.rpartition("/")[2] if model.startswith(_PLACE) else model
    if operation in {"converse", "converse-stream"}:
        return converse(request, plan, model, streamed=operation == "converse-stream")
    if operation in {"invoke", "invoke-with-response-stream"}:
        return invoke(request, plan, key, plan.model or model, streamed=operation != "invoke")
    if operation == "count-tokens":
        return FakeReply(body={"inputTokens": _input_tokens(request.body["input"]["converse"])}, billed=False)
    return None


def converse(request: Request, plan: Plan, model: str, *, streamed: bool) -> FakeReply:
    """POST /model/{id}/converse and /model/{id}/converse-stream."""
    body = request.body
    if not isinstance(body.get("messages"), list) or not body["messages"]:
        raise BadRequestError("A conversation must start with a user message. Try again with a conversation.")
    cap = whole(body.get("inferenceConfig", {}).get("maxTokens"), "maxTokens")
    if cap is not None and cap > _LLAMAS and "meta.llama" in model:
        raise BadRequestError(_TOO_MUCH.format(_LLAMAS))
    answer = write(plan, cap=cap, tool=_tool(body, plan))
    usage = _usage(body, plan, answer)
    said: dict[str, Any] = {
        "output": {"message": {"role": "assistant", "content": _content(answer)}},
        "stopReason": "max_tokens" if answer.cut else "tool_use" if answer.tool else "end_turn",
        "metrics": {"latencyMs": 9},
        **({} if plan.omit_usage else {"usage": usage}),
    }
    tier = plan.service_tier or body.get("serviceTier", {}).get("type")
    if tier is not None:
        said["serviceTier"] = {"type": tier}
    events = list(_events(said, answer)) if streamed else None
    return FakeReply(said, events, model=plan.model or model, usage=usage, words=_WORDS, framing=EVENT_STREAM)


def error(status: int, text: str) -> dict[str, Any]:
    """What an error status says; also, as an event, what breaks a stream off."""
    return {"__type": ERRORS.get(status, "InternalServerException"), "message": text}


def _content(answer: FakeText) -> list[dict[str, Any]]:
    if answer.tool:
        called = json.loads(answer.text) if not answer.cut else {}
        return [{"toolUse": {"toolUseId": "tooluse_1", "name": answer.tool, "input": called}}]
    return [{"text": answer.text}]


def _events(said: Mapping[str, Any], answer: FakeText) -> Iterator[Event]:
    yield Event({"role": "assistant"}, "messageStart", answer.reasoning)
    if answer.tool:
        start = {"toolUse": {"toolUseId": "tooluse_1", "name": answer.tool}}
        yield Event({"contentBlockIndex": 0, "start": start}, "contentBlockStart")
    for piece in answer.pieces:
        delta: dict[str, Any] = {"toolUse": {"input": piece}} if answer.tool else {"text": piece}
        yield Event({"contentBlockIndex": 0, "delta": delta}, "contentBlockDelta", 1)
    yield Event({"contentBlockIndex": 0}, "contentBlockStop")
    yield Event({"stopReason": said["stopReason"]}, "messageStop")
    last = {name: said[name] for name in ("usage", "metrics", "serviceTier") if name in said}
    yield Event(last, "metadata")


def _usage(body: Mapping[str, Any], plan: Plan, answer: FakeText) -> dict[str, Any]:
    if plan.usage is not None:
        return dict(plan.usage)
    asked = _input_tokens(body)
    cached = min(plan.cached, asked)
    wrote = min(plan.cache_written, asked - cached)
    usage: dict[str, Any] = {
        "inputTokens": asked - cached - wrote,
        "outputTokens": answer.tokens,
        "totalTokens": asked + answer.tokens,
        "cacheReadInputTokens": cached,
        "cacheWriteInputTokens": wrote,
    }
    if wrote:
        ttl = "1h" if '"ttl": "1h"' in json.dumps(body) else "5m"
        usage["cacheDetails"] = [{"ttl": ttl, "inputTokens": wrote}]
    return usage


def _input_tokens(body: Mapping[str, Any]) -> int:
    messages = body.get("messages") or []
    tools = [json.dumps(tool, separators=(",", ":")) for tool in body.get("toolConfig", {}).get("tools", [])]
    return input_tokens(body.get("system"), *messages, *tools, messages=len(messages))


def _tool(body: Mapping[str, Any], plan: Plan) -> Mapping[str, Any] | None:
    """The tool that the answer calls: the one asked for, or the first one until a tool has answered."""
    config = body.get("toolConfig", {})
    offered = [tool["toolSpec"] for tool in config.get("tools", ()) if "toolSpec" in tool]
    wanted = config.get("toolChoice", {}).get("tool")
    if wanted is not None:
        offered = [tool for tool in offered if tool["name"] == wanted.get("name")]
    elif '"toolResult"' in json.dumps(body["messages"]) or not plan.tools:
        offered = []
    return {"name": offered[0]["name"], "parameters": offered[0]["inputSchema"]["json"]} if offered else None
