"""
The fake provider's answers: chat, legacy completions, embeddings, moderations, models.

Pure functions from a request and a plan to a reply, in the shapes of OpenAI's
API. `ENDPOINTS` is the table of all of them, the Responses API and the media
endpoints included.
"""

from __future__ import annotations

import base64
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from typing import Any, TypeAlias

from ..plan import BadRequestError, Event, FakeReply, Plan, Request
from ..words import FakeText, input_tokens, whole, write
from .media import edit_image, generate_image, image_variation, speech, transcription, translation
from .responses import count_input, respond

Answering: TypeAlias = Callable[[Request, Plan, str], FakeReply]
"""(request, plan, id of the request) -> reply; raises `BadRequestError` for what the real API would not take."""

DONE = Event("[DONE]")


def chat(request: Request, plan: Plan, key: str) -> FakeReply:
    """POST /chat/completions."""
    body = request.body
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise BadRequestError("Missing required parameter: 'messages'.")
    tools = body.get("tools") or []
    cap = whole(body.get("max_completion_tokens"), "max_completion_tokens")
    cap = whole(body.get("max_tokens"), "max_tokens", default=cap)
    answers = [
        write(plan, cap=cap, schema=_schema(body.get("response_format")), tool=_tool(body, plan))
        for _ in range(whole(body.get("n"), "n", default=1) or 1)
    ]
    asked = input_tokens(*messages, *tools, messages=len(messages))
    usage = _usage(plan, asked, answers)
    model = plan.model or _model(request)
    frame = {"id": f"chatcmpl-{key}", "created": int(time.time()), "model": model}
    frame |= {"service_tier": _tier(body, plan), "system_fingerprint": "fp_fake"}
    billed = FakeReply(model=model, usage=usage)
    if body.get("stream"):
        ask = plan.usage_unasked or bool((body.get("stream_options") or {}).get("include_usage"))
        return replace(billed, events=list(_chat_chunks(frame, answers, plan, usage if ask else None)))
    choices = [
        {"index": i, "message": _message(answer, f"call_{key}_{i}"), "logprobs": None, "finish_reason": _finish(answer)}
        for i, answer in enumerate(answers)
    ]
    reply = {**frame, "object": "chat.completion", "choices": choices, "usage": usage}
    return replace(billed, body=_without_usage(reply, plan))


def complete(request: Request, plan: Plan, key: str) -> FakeReply:
    """POST /completions: 16 tokens unless the request says otherwise."""
    body = request.body
    prompt = body.get("prompt", "")
    prompts = prompt if isinstance(prompt, list) and prompt and isinstance(prompt[0], str) else [prompt]
    cap = whole(body.get("max_tokens"), "max_tokens", default=16, least=0)
    each = max(whole(body.get("n"), "n", default=1) or 1, whole(body.get("best_of"), "best_of", default=1) or 1)
    answers = [write(plan, cap=cap) for _ in prompts for _ in range(each)]
    asked = input_tokens(*prompts)
    usage = _usage(plan, asked, answers)
    model = plan.model or _model(request)
    frame = {"id": f"cmpl-{key}", "object": "text_completion", "created": int(time.time()), "model": model}
    billed = FakeReply(model=model, usage=usage)
    if body.get("stream"):
        ask = bool((body.get("stream_options") or {}).get("include_usage"))
        return replace(billed, events=list(_completion_chunks(frame, answers, plan, usage if ask else None)))
    choices = [
        {"index": i, "text": answer.text, "logprobs": None, "finish_reason": _finish(answer)}
        for i, answer in enumerate(answers)
    ]
    return replace(billed, body=_without_usage({**frame, "choices": choices, "usage": usage}, plan))


def embed(request: Request, plan: Plan, key: str) -> FakeReply:
    """POST /embeddings: vectors of eight numbers, unless `dimensions` says otherwise."""
    body = request.body
    given = body.get("input")
    if not given:
        raise BadRequestError("Missing required parameter: 'input'.")
    one = isinstance(given, str) or isinstance(given[0], int)
    inputs: list[Any] = [given] if one else list(given)
    tokens = sum(input_tokens(i) if isinstance(i, str) else len(i) for i in inputs)
    usage = dict(plan.usage or {"prompt_tokens": tokens, "total_tokens": tokens})
    size = whole(body.get("dimensions"), "dimensions", default=8) or 8
    vector: Any = [round(1 / (k + 2), 6) for k in range(size)]
    if body.get("encoding_format") == "base64":
        vector = base64.b64encode(struct.pack(f"<{size}f", *vector)).decode()
    data = [{"object": "embedding", "index": i, "embedding": vector} for i in range(len(inputs))]
    model = plan.model or _model(request)
    reply = {"id": f"embd-{key}", "object": "list", "data": data, "model": model, "usage": usage}  # others have an id
    return FakeReply(body=_without_usage(reply, plan), model=model, usage=usage)


def moderate(request: Request, plan: Plan, key: str) -> FakeReply:
    """POST /moderations: nothing is ever flagged, and nothing billed."""
    names = ("harassment", "hate", "illicit", "self-harm", "sexual", "violence")
    kinds = [*names, "harassment/threatening", "hate/threatening", "illicit/violent", "self-harm/instructions"]
    kinds += ["self-harm/intent", "sexual/minors", "violence/graphic"]
    result = {
        "flagged": False,
        "categories": dict.fromkeys(kinds, False),
        "category_scores": dict.fromkeys(kinds, 0.0),
        "category_applied_input_types": {kind: ["text"] for kind in kinds},
    }
    given = request.body.get("input")
    results = [result] * (len(given) if isinstance(given, list) else 1)
    model = plan.model or request.body.get("model") or "omni-moderation-latest"
    return FakeReply(body={"id": f"modr-{key}", "model": model, "results": results}, billed=False)


def models(_request: Request, _plan: Plan, _key: str) -> FakeReply:
    """GET /models."""
    names = ("gpt-4o", "gpt-4o-mini", "text-embedding-3-small")
    data = [{"id": name, "object": "model", "created": 1715367049, "owned_by": "fake"} for name in names]
    return FakeReply(body={"object": "list", "data": data}, billed=False)


ENDPOINTS: Mapping[tuple[str, str], Answering] = {
    ("POST", "/chat/completions"): chat,
    ("POST", "/completions"): complete,
    ("POST", "/responses"): respond,
    ("POST", "/responses/input_tokens"): count_input,
    ("POST", "/embeddings"): embed,
    ("POST", "/images/generations"): generate_image,
    ("POST", "/images/edits"): edit_image,
    ("POST", "/images/variations"): image_variation,
    ("POST", "/audio/speech"): speech,
    ("POST", "/audio/transcriptions"): transcription,
    ("POST", "/audio/translations"): translation,
    ("POST", "/moderations"): moderate,
    ("GET", "/models"): models,
}


def _chat_chunks(
    frame: Mapping[str, Any], answers: list[FakeText], plan: Plan, usage: Mapping[str, Any] | None
) -> Iterator[Event]:
    head = {**frame, "object": "chat.completion.chunk"}
    extra = {} if usage is None else {"usage": None}

    def chunk(index: int, delta: Mapping[str, Any], finish: str | None = None, tokens: int = 0) -> Event:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        return Event({**head, "choices": [choice], **extra}, output_tokens=tokens)

    for index, answer in enumerate(answers):
        start: dict[str, Any] = {"role": "assistant", "content": None if answer.tool else "", "refusal": None}
        if answer.tool:
            call = {"index": 0, "id": f"call_{frame['id']}_{index}", "type": "function"}
            start["tool_calls"] = [{**call, "function": {"name": answer.tool, "arguments": ""}}]
        yield chunk(index, start, tokens=answer.reasoning)
        for piece in answer.pieces:
            part = [{"index": 0, "function": {"arguments": piece}}]
            yield chunk(index, {"tool_calls": part} if answer.tool else {"content": piece}, tokens=1)
        yield chunk(index, {}, _finish(answer))
    if usage is not None and not plan.omit_usage:
        yield Event({**head, "choices": [], "usage": usage})
    yield DONE


def _completion_chunks(
    frame: Mapping[str, Any], answers: list[FakeText], plan: Plan, usage: Mapping[str, Any] | None
) -> Iterator[Event]:
    extra = {} if usage is None else {"usage": None}
    for index, answer in enumerate(answers):
        for piece, number in zip((*answer.pieces, ""), count(), strict=False):
            last = number == len(answer.pieces)
            finish = _finish(answer) if last else None
            choice = {"index": index, "text": piece, "logprobs": None, "finish_reason": finish}
            yield Event({**frame, "choices": [choice], **extra}, output_tokens=0 if last else 1)
    if usage is not None and not plan.omit_usage:
        yield Event({**frame, "choices": [], "usage": usage})
    yield DONE


def _message(answer: FakeText, call_id: str) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": answer.text, "refusal": None, "annotations": []}
    if answer.tool:
        function = {"name": answer.tool, "arguments": answer.text}
        message |= {"content": None, "tool_calls": [{"id": call_id, "type": "function", "function": function}]}
    return message


def _finish(answer: FakeText) -> str:
    if answer.cut:
        return "length"
    return "tool_calls" if answer.tool else "stop"


def _schema(response_format: Any) -> Any:
    kind = (response_format or {}).get("type")
    if kind == "json_schema":
        return response_format["json_schema"].get("schema", {})
    return {"properties": {"answer": {"type": "string"}}} if kind == "json_object" else None


def _tool(body: Mapping[str, Any], plan: Plan) -> Mapping[str, Any] | None:
    """The tool that the answer calls: the one asked for, or the first one until a tool has answered."""
    offered: list[Mapping[str, Any]] = [
        tool["function"] for tool in body.get("tools") or () if tool.get("type") == "function"
    ]
    choice = body.get("tool_choice", "auto")
    if isinstance(choice, Mapping):
        wanted = (choice.get("function") or {}).get("name")
        return next((tool for tool in offered if tool["name"] == wanted), None)
    answered = any(message.get("role") == "tool" for message in body["messages"])
    if not offered or choice == "none" or (choice == "auto" and (answered or not plan.tools)):
        return None
    return offered[0]


def _usage(plan: Plan, asked: int, answers: list[FakeText]) -> dict[str, Any]:
    if plan.usage is not None:
        return dict(plan.usage)
    made = sum(answer.tokens for answer in answers)
    hidden = sum(answer.reasoning for answer in answers)
    details = {"reasoning_tokens": hidden, "audio_tokens": 0}
    details |= {"accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0}
    return {
        "prompt_tokens": asked,
        "completion_tokens": made,
        "total_tokens": asked + made,
        "prompt_tokens_details": {"cached_tokens": min(plan.cached, asked), "audio_tokens": 0},
        "completion_tokens_details": details,
    }


def _without_usage(reply: dict[str, Any], plan: Plan) -> dict[str, Any]:
    return {name: value for name, value in reply.items() if name != "usage"} if plan.omit_usage else reply


def _tier(body: Mapping[str, Any], plan: Plan) -> str:
    asked = body.get("service_tier") or "default"
    return plan.service_tier or ("default" if asked == "auto" else str(asked))


def _model(request: Request) -> str:
    model = request.body.get("model") or request.deployment
    if not model:
        raise BadRequestError("you must provide a model parameter")
    return str(model)
