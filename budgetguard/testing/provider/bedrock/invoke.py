"""
InvokeModel of the fake Bedrock: models' own JSON in their makers' shapes, and Bedrock's count in headers and metrics.

The shapes are those of AWS's guide ("Inference request parameters and response fields"): Claude's is Anthropic's, that
of gpt-oss and others OpenAI's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from .. import anthropic
from ..openai.replies import chat
from ..plan import BadRequestError, Event, FakeReply, Plan, Request, UsageWords
from ..words import FakeText, input_tokens, whole, write
from .frames import EVENT_STREAM

_METRICS = ("inputTokenCount", "outputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount")
_HEADERS = ("input", "output", "cache-read-input", "cache-write-input")
_CLAUDES = ("input_tokens", "output_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")

_LLAMA = UsageWords(("prompt_token_count",), ("generation_token_count",))
_TITAN = UsageWords(("inputTextTokenCount",), ("tokenCount",))


def invoke(request: Request, plan: Plan, key: str, model: str, *, streamed: bool) -> FakeReply:
    """A model's own reply."""
    body = request.body
    if "anthropic_version" in body:
        reply = _claude(request, plan, key, model)
    elif "messages" in body:
        reply = replace(chat(_asked(request, "/chat/completions", model), plan, key), model=model)
    elif "inputText" in body:
        reply = _titan(body, plan, model)
    elif "prompt" in body:
        reply = _llama(body, plan, model)
    elif "taskType" in body:
        count = whole(body.get("imageGenerationConfig", {}).get("numberOfImages"), "numberOfImages", default=1)
        return FakeReply(body={"images": ["iVBORw0KGgo="] * (count or 1)}, model=model, usage={"images": count})
    else:
        raise BadRequestError("Malformed input request: #: required key [prompt] not found, please reformat your input")
    counts = _counts(reply, plan)
    if not streamed:
        headers = {
            f"x-amzn-bedrock-{name}-token-count": str(count) for name, count in zip(_HEADERS, counts, strict=True)
        }
        return replace(reply, events=None, headers={} if plan.omit_usage else headers)
    return replace(reply, events=list(_chunks(reply, counts, plan)), framing=EVENT_STREAM)


def _counts(reply: FakeReply, plan: Plan) -> Sequence[int]:
    """What Bedrock counts: input, output, and the parts of the input that its cache had or took."""
    usage = reply.usage
    if "input_tokens" in usage:
        return [int(usage.get(name, 0)) for name in _CLAUDES]
    return [reply.input_tokens, reply.output_tokens, 0, 0]


def _chunks(reply: FakeReply, counts: Sequence[int], plan: Plan) -> Sequence[Event]:
    """The pieces of a stream, the last of which has Bedrock's own count."""
    events = list(reply.events or [Event(reply.body, output_tokens=reply.output_tokens)])
    pieces = [replace(event, name="chunk") for event in events if isinstance(event.data, Mapping)]
    metrics = {**dict(zip(_METRICS, counts, strict=True)), "invocationLatency": 9, "firstByteLatency": 4}
    if not plan.omit_usage:
        pieces[-1] = replace(pieces[-1], data={**pieces[-1].data, "amazon-bedrock-invocationMetrics": metrics})
    return pieces


def _asked(request: Request, endpoint: str, model: str) -> Request:
    """The same request as its own API would have it; it is told in pieces, and put together by who wants it whole."""
    stream = {"stream": request.path.endswith("-response-stream")}
    return replace(request, endpoint=endpoint, body={**request.body, "model": model, **stream})


def _claude(request: Request, plan: Plan, key: str, model: str) -> FakeReply:
    reply = anthropic.message(_asked(request, "/messages", model), plan, key)
    named = {**reply.body, "model": model.rpartition("anthropic.")[2].partition("-v1")[0]}
    return replace(reply, body=named)


def _llama(body: Mapping[str, Any], plan: Plan, model: str) -> FakeReply:
    default = 512 if "meta." in model else None
    cap = whole(body.get("max_gen_len", body.get("max_tokens")), "max_gen_len", default=default)
    answer, asked = write(plan, cap=cap), input_tokens(body["prompt"])
    usage = {"prompt_token_count": asked, "generation_token_count": answer.tokens}
    reason = "length" if answer.cut else "stop"
    shown: Mapping[str, Any] = {} if plan.omit_usage else usage
    said = {"generation": answer.text, "stop_reason": reason, **shown}
    if "meta." not in model:
        said = {"outputs": [{"text": answer.text, "stop_reason": reason}]}
    pieces = [Event({"generation": piece, "stop_reason": None}, output_tokens=1) for piece in answer.pieces]
    return FakeReply(
        said, [*pieces, Event({"generation": "", "stop_reason": reason})], model=model, usage=usage, words=_LLAMA
    )


def _titan(body: Mapping[str, Any], plan: Plan, model: str) -> FakeReply:
    asked = input_tokens(body["inputText"])
    if "embed" in model:
        shown: Mapping[str, Any] = {} if plan.omit_usage else {"inputTextTokenCount": asked}
        said = {"embedding": [0.5, -0.25], **shown}
        return FakeReply(said, model=model, usage={"inputTextTokenCount": asked}, words=_TITAN)
    cap = whole(body.get("textGenerationConfig", {}).get("maxTokenCount"), "maxTokenCount", default=512)
    answer: FakeText = write(plan, cap=cap)
    reason = "LENGTH" if answer.cut else "FINISH"
    usage = {"inputTextTokenCount": asked, "tokenCount": answer.tokens}
    result = {"outputText": answer.text, "completionReason": reason, "tokenCount": answer.tokens}
    said = {"inputTextTokenCount": asked, "results": [result]}
    pieces = [Event({"outputText": piece, "index": 0}, output_tokens=1) for piece in answer.pieces]
    last = Event({"outputText": "", "index": 0, "completionReason": reason, "totalOutputTextTokenCount": answer.tokens})
    return FakeReply(said, [*pieces, last], model=model, usage=usage, words=_TITAN)
