"""
The fake provider's Gemini API, as Google and Vertex AI speak it: content, plain and streamed, embeddings, tokens.

Pure functions from a request and a plan to a reply. As there, a usage's `promptTokenCount` has inside what was read
from a cache, thoughts are counted beside the answer, a count of 0 is left out, and each item of a stream says the usage
so far.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from ..plan import BadRequestError, Event, FakeReply, Plan, Request, UsageWords
from ..words import FakeText, input_tokens, whole, write

ERRORS: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    499: "CANCELLED",
    500: "INTERNAL",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
"""Kinds of errors by their status."""

WORDS: Final = UsageWords(
    ("promptTokenCount", "toolUsePromptTokenCount"), ("thoughtsTokenCount", "candidatesTokenCount"), "totalTokenCount"
)

_PATH = re.compile(r"/(?:models|endpoints)/(?P<model>[^/:]+):(?P<operation>\w+)$")
_EMBEDDING = [0.0121, -0.0345, 0.0678]


def owns(endpoint: str) -> bool:
    """Whether a path below the root is one of this API."""
    return _PATH.search(endpoint) is not None


def reply(request: Request, plan: Plan, key: str) -> FakeReply | None:
    """The answer to a request for one of its operations."""
    match = _PATH.search(request.endpoint)
    if match is None or request.method != "POST":
        return None
    model, operation = match["model"], match["operation"]
    if operation in {"generateContent", "streamGenerateContent"}:
        streams = operation != "generateContent"
        said = _content(request.body, plan, key, model, streams=streams)
        if streams and "alt=sse" not in request.path:  # all of its items in one array, here in one piece
            return replace(said, body=[event.data for event in said.events or ()], events=None)
        return said
    if operation in {"embedContent", "batchEmbedContents"}:
        return _embedding(request.body, plan, model, batch=operation != "embedContent")
    if operation == "countTokens":
        asked = _input_tokens(request.body.get("generateContentRequest", request.body))
        details = [{"modality": "TEXT", "tokenCount": asked}]
        return FakeReply(body={"totalTokens": asked, "promptTokensDetails": details}, billed=False)
    return None


def error(status: int, text: str) -> dict[str, Any]:
    """What an error status says; also what breaks a stream off."""
    return {"error": {"code": status, "message": text, "status": ERRORS.get(status, "UNKNOWN")}}


def _content(body: Mapping[str, Any], plan: Plan, key: str, model: str, *, streams: bool) -> FakeReply:
    if not isinstance(body.get("contents"), list) or not body["contents"]:
        raise BadRequestError("* GenerateContentRequest.contents: contents is not specified")
    config = body.get("generationConfig") or {}
    cap = whole(config.get("maxOutputTokens"), "max_output_tokens")
    schema = config.get("responseJsonSchema") or config.get("responseSchema")
    answer = write(plan, cap=cap, schema=_lowered(schema), tool=_tool(body, plan))
    if plan.blocked:
        answer = FakeText(())
    usage = _usage(body, plan, answer)
    said: dict[str, Any] = {
        "candidates": [
            {
                "content": {"parts": _parts(answer, answer.pieces), "role": "model"},
                "finishReason": "MAX_TOKENS" if answer.cut else "STOP",
                "index": 0,
            }
        ],
        "usageMetadata": usage,
        "modelVersion": plan.model or model,
        "responseId": key,
    }
    if plan.blocked:
        del said["candidates"]
        said["promptFeedback"] = {"blockReason": plan.blocked}
    tier = plan.service_tier or body.get("serviceTier")
    if tier:
        usage["serviceTier"] = tier
    if plan.omit_usage:
        said = {name: value for name, value in said.items() if name != "usageMetadata"}
    events = list(_events(said, usage, answer)) if streams else None
    return FakeReply(body=said, events=events, model=plan.model or model, usage=usage, words=WORDS)


def _events(said: dict[str, Any], usage: Mapping[str, Any], answer: FakeText) -> Iterator[Event]:
    """An item a piece; the first has the thoughts before it, the last says why the model stopped."""
    if "candidates" not in said:
        yield Event(said)
        return
    pieces: list[tuple[str, ...]] = [answer.pieces] if answer.tool else [(piece,) for piece in answer.pieces] or [()]
    made = 0
    for number, piece in enumerate(pieces):
        tokens = len(piece) + (answer.reasoning if not number else 0)
        made += tokens
        last = number + 1 == len(pieces)
        candidate = {"content": {"parts": _parts(answer, piece), "role": "model"}, "index": 0}
        if last:
            candidate["finishReason"] = said["candidates"][0]["finishReason"]
        item = {**said, "candidates": [candidate]}
        if "usageMetadata" in said and not last:
            item["usageMetadata"] = {name: count for name, count in WORDS.lowered(usage, made).items() if count}
        yield Event(item, output_tokens=tokens)


def _parts(answer: FakeText, pieces: tuple[str, ...]) -> list[dict[str, Any]]:
    if answer.tool:
        return [{"functionCall": {"name": answer.tool, "args": json.loads(answer.text) if not answer.cut else {}}}]
    return [{"text": "".join(pieces)}] if pieces else []


def _usage(body: Mapping[str, Any], plan: Plan, answer: FakeText) -> dict[str, Any]:
    if plan.usage is not None:
        return dict(plan.usage)
    asked = _input_tokens(body)
    usage = {
        "promptTokenCount": asked,
        "candidatesTokenCount": len(answer.pieces),
        "totalTokenCount": asked + answer.tokens,
        "cachedContentTokenCount": min(plan.cached, asked),
        "thoughtsTokenCount": answer.reasoning,
    }
    said: dict[str, Any] = {name: count for name, count in usage.items() if count}
    said["promptTokensDetails"] = [{"modality": "TEXT", "tokenCount": asked}]
    return said


def _embedding(body: Mapping[str, Any], plan: Plan, model: str, *, batch: bool) -> FakeReply:
    asked = [each.get("content") for each in (body.get("requests") or () if batch else (body,))]
    if not asked or None in asked:
        raise BadRequestError("* EmbedContentRequest.content: content is not specified")
    tokens = input_tokens(*(part for content in asked for part in _pieces(content)))
    usage = {"promptTokenCount": tokens, "totalTokenCount": tokens}
    vectors = [{"values": _EMBEDDING} for _ in asked]
    said: dict[str, Any] = {"embeddings": vectors} if batch else {"embedding": vectors[0]}
    if not plan.omit_usage:
        said["usageMetadata"] = usage
    return FakeReply(body=said, model=plan.model or model, usage=usage, words=WORDS)


def _input_tokens(body: Mapping[str, Any]) -> int:
    contents = body.get("contents") or []
    tools = [json.dumps(tool, separators=(",", ":")) for tool in body.get("tools") or []]
    system = [body["systemInstruction"]] if "systemInstruction" in body else []
    pieces = [piece for content in (*system, *contents) for piece in _pieces(content)]
    return input_tokens(*pieces, *tools, messages=len(contents))


def _pieces(content: Any) -> Iterator[Any]:
    """The parts of a turn, as `words` counts them: text, pictures, and all else as JSON."""
    for part in (content or {}).get("parts") or () if isinstance(content, Mapping) else [{"text": str(content)}]:
        if "text" in part:
            yield part["text"]
        elif "inlineData" in part:
            yield {"type": "input_image"}
        else:
            yield json.dumps(part, separators=(",", ":"))


def _tool(body: Mapping[str, Any], plan: Plan) -> Mapping[str, Any] | None:
    """The function that the answer calls: the first one, until one has answered."""
    offered = [one for tool in body.get("tools") or () for one in tool.get("functionDeclarations") or ()]
    mode = ((body.get("toolConfig") or {}).get("functionCallingConfig") or {}).get("mode")
    if not offered or mode == "NONE" or "functionResponse" in json.dumps(body["contents"]) or not plan.tools:
        return None
    schema = offered[0].get("parametersJsonSchema") or offered[0].get("parameters") or {}
    return {"name": offered[0]["name"], "parameters": _lowered(schema)}


def _lowered(schema: Any) -> Any:
    """A schema with its types in lower case, as JSON has them; Google's are in capitals."""
    if isinstance(schema, Mapping):
        return {
            name: value.lower() if name == "type" and isinstance(value, str) else _lowered(value)
            for name, value in schema.items()
        }
    return [_lowered(each) for each in schema] if isinstance(schema, list) else schema
