"""
The fake provider's Cohere API, in both of its versions: chats, embeddings, searches among documents.

Pure functions from a request and a plan to a reply, in the shapes of Cohere's API (cohere 7.3). As there, what is
billed (`billed_units`) is less than what was read (`tokens`). A stream is events in the second version, lines in the
first.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from ..plan import NDJSON, BadRequestError, Event, FakeReply, Plan, Request, UsageWords
from ..words import FakeText, input_tokens, whole, write

WORDS = UsageWords(("input_tokens",), ("output_tokens",))
UNITS = UsageWords(("search_units",), ())
LINES: Final = NDJSON._replace(content_type="application/stream+json")

UNBILLED_TOKENS = 60
"""What Cohere adds to a prompt, and does not charge for."""


def owns(endpoint: str) -> bool:
    """Whether a path below the root is one of this API."""
    return endpoint.removeprefix("/v2") in {"/chat", "/embed", "/rerank"}


def reply(request: Request, plan: Plan, key: str) -> FakeReply | None:
    """The answer to a request."""
    if request.method != "POST":
        return None
    version, name = request.endpoint.startswith("/v2"), request.endpoint.removeprefix("/v2")
    if name == "/rerank":
        return rerank(request, plan, key)
    if name == "/embed":
        return embed(request, plan, key)
    if not version and "messages" in request.body:  # Writer's, which speaks OpenAI's language
        return None
    return chat(request, plan, key) if version else chat_before(request, plan, key)


def error(status: int, text: str) -> dict[str, Any]:
    """What an error status says."""
    return {"id": "req_1", "message": text}


def chat(request: Request, plan: Plan, key: str) -> FakeReply:
    """POST /v2/chat."""
    body = request.body
    messages = body.get("messages")
    if not messages or not body.get("model"):
        raise BadRequestError("invalid request: messages and model are required")
    made = write(plan, cap=whole(body.get("max_tokens"), "max_tokens"))
    usage = _usage(plan, input_tokens(*messages, messages=len(messages)), made)
    end = "MAX_TOKENS" if made.cut else "COMPLETE"
    billed = FakeReply(model=str(body["model"]), usage=usage, words=WORDS)
    said = _said(plan, usage)
    if body.get("stream"):
        return replace(billed, events=list(_events(made, key, {"finish_reason": end, "usage": said})))
    message = {"role": "assistant", "content": [{"type": "text", "text": made.text}]}
    return replace(billed, body={"id": key, "finish_reason": end, "message": message, "usage": said})


def chat_before(request: Request, plan: Plan, key: str) -> FakeReply:
    """POST /v1/chat."""
    body = request.body
    if not body.get("message"):
        raise BadRequestError("invalid request: message must be at least 1 token long")
    made = write(plan, cap=whole(body.get("max_tokens"), "max_tokens"))
    usage = _usage(plan, input_tokens(body["message"], body.get("preamble"), messages=1), made)
    end = "MAX_TOKENS" if made.cut else "COMPLETE"
    said: dict[str, Any] = {"text": made.text, "generation_id": key, "response_id": key, "finish_reason": end}
    said["meta"] = {"api_version": {"version": "1"}, **_said(plan, usage)}
    billed = FakeReply(model=str(body.get("model")), usage=usage, words=WORDS, framing=LINES)
    return replace(billed, events=list(_lines(made, key, said))) if body.get("stream") else replace(billed, body=said)


def embed(request: Request, plan: Plan, key: str) -> FakeReply:
    """POST /v1/embed and /v2/embed."""
    body = request.body
    texts = body.get("texts") or []
    usage = dict(plan.usage or {"input_tokens": sum(input_tokens(text) for text in texts)})
    vector = [round(1 / (k + 2), 6) for k in range(8)]
    typed = request.endpoint.startswith("/v2") or body.get("embedding_types")
    vectors = [vector for _ in texts]
    said = {
        "id": key,
        "response_type": "embeddings_by_type" if typed else "embeddings_floats",
        "embeddings": {"float": vectors} if typed else vectors,
        "texts": texts,
        "meta": {"api_version": {"version": "2"}, "billed_units": usage},
    }
    return FakeReply(body=said, model=str(body.get("model")), usage=usage, words=WORDS)


def rerank(request: Request, plan: Plan, key: str) -> FakeReply:
    """POST /v1/rerank and /v2/rerank: a unit for each hundred documents."""
    body = request.body
    documents = body.get("documents") or []
    usage = dict(plan.usage or {"search_units": -(-len(documents) // 100) or 1})
    found = [{"index": i, "relevance_score": round(1 / (i + 2), 6)} for i in range(len(documents))]
    said = {"id": key, "results": found, "meta": {"api_version": {"version": "2"}, "billed_units": usage}}
    return FakeReply(body=said, model=str(body.get("model")), usage=usage, words=UNITS)


def _usage(plan: Plan, asked: int, made: FakeText) -> dict[str, Any]:
    return dict(plan.usage or {"input_tokens": asked, "output_tokens": made.tokens})


def _said(plan: Plan, usage: Mapping[str, Any]) -> dict[str, Any]:
    if plan.omit_usage:
        return {}
    read = {**usage, "input_tokens": usage["input_tokens"] + UNBILLED_TOKENS}
    return {"billed_units": dict(usage), "tokens": read}


def _events(made: FakeText, key: str, last: Mapping[str, Any]) -> Iterator[Event]:
    def event(kind: str, tokens: int = 0, **fields: Any) -> Event:
        return Event({"type": kind, **fields}, kind, tokens)

    yield event("message-start", id=key, delta={"message": {"role": "assistant", "content": [], "tool_calls": []}})
    yield event("content-start", index=0, delta={"message": {"content": {"type": "text", "text": ""}}})
    for piece in made.pieces:
        yield event("content-delta", 1, index=0, delta={"message": {"content": {"text": piece}}})
    yield event("content-end", index=0)
    yield event("message-end", id=key, delta=dict(last))


def _lines(made: FakeText, key: str, said: Mapping[str, Any]) -> Iterator[Event]:
    yield Event({"is_finished": False, "event_type": "stream-start", "generation_id": key})
    for piece in made.pieces:
        yield Event({"is_finished": False, "event_type": "text-generation", "text": piece}, output_tokens=1)
    last = {"is_finished": True, "event_type": "stream-end", "finish_reason": said["finish_reason"]}
    yield Event({**last, "response": dict(said)})
