"""
The fake provider's Mistral API, where it is not OpenAI's: conversations, agents, code completions, pages that are read.

Pure functions from a request and a plan to a reply, in the shapes of Mistral's API (mistralai 3.7). What connectors
read is billed beside the prompt: `usage={"connector_tokens": ...}` in a plan.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from ..openai.replies import chat
from ..plan import BadRequestError, Event, FakeReply, Plan, Request, UsageWords
from ..words import FakeText, input_tokens, whole, write

WORDS = UsageWords(("prompt_tokens", "connector_tokens"), ("completion_tokens",), "total_tokens")
PAGES = UsageWords(("pages_processed",), ())

_COMPLETIONS = ("/agents/completions", "/fim/completions")


def owns(endpoint: str) -> bool:
    """Whether a path below the root is one of this API."""
    return endpoint in {*_COMPLETIONS, "/ocr", "/conversations"} or endpoint.startswith("/conversations/")


def reply(request: Request, plan: Plan, key: str) -> FakeReply | None:
    """The answer to a request."""
    if request.method != "POST":
        return None
    if request.endpoint == "/ocr":
        return read_pages(request, plan)
    if request.endpoint in _COMPLETIONS:
        return _completion(request, plan, key)
    return converse(request, plan, key)


def error(status: int, text: str) -> dict[str, Any]:
    """What an error status says."""
    return {"object": "error", "message": text, "type": "invalid_request_error", "code": str(status)}


def read_pages(request: Request, plan: Plan) -> FakeReply:
    """POST /ocr: the pages that are named, or one."""
    body = request.body
    if not isinstance(body.get("document"), Mapping):
        raise BadRequestError("document: Field required")
    count = len(body.get("pages") or [0])
    usage = {"pages_processed": count, "doc_size_bytes": 1_000, **(plan.usage or {})}
    size = {"dpi": 200, "height": 2_200, "width": 1_700}
    found = [{"index": i, "markdown": "# A page", "images": [], "dimensions": size} for i in range(count)]
    note = '{"title": "A page"}' if body.get("document_annotation_format") else None
    said = {"pages": found, "model": body.get("model"), "usage_info": usage, "document_annotation": note}
    return FakeReply(body=said, model=str(body.get("model")), usage=usage, words=PAGES)


def converse(request: Request, plan: Plan, key: str) -> FakeReply:
    """POST /conversations, and to one that is there."""
    body = request.body
    given = body.get("inputs")
    if not given:
        raise BadRequestError("inputs: Field required")
    model = plan.model or body.get("model") or "mistral-medium-latest"
    asked = input_tokens(given, body.get("instructions"), messages=1 if isinstance(given, str) else len(given))
    answer = write(plan, cap=whole((body.get("completion_args") or {}).get("max_tokens"), "max_tokens"))
    counts = {"prompt_tokens": asked, "completion_tokens": answer.tokens}
    usage = {**counts, **(plan.usage or {})}
    usage["total_tokens"] = sum(usage.values())
    shown = {} if plan.omit_usage else usage
    entry = {"type": "message.output", "role": "assistant", "id": f"msg_{key}", "model": model, "content": answer.text}
    said = {"object": "conversation.response", "conversation_id": f"conv_{key}", "outputs": [entry], "usage": shown}
    events = list(_events(said, entry, answer)) if body.get("stream") else None
    return FakeReply(body=said, events=events, model=str(model), usage=usage, words=WORDS)


def _events(said: Mapping[str, Any], entry: Mapping[str, Any], answer: FakeText) -> Iterator[Event]:
    def event(kind: str, tokens: int = 0, **fields: Any) -> Event:
        return Event({"type": kind, **fields}, kind, tokens)

    yield event("conversation.response.started", conversation_id=said["conversation_id"])
    for piece in answer.pieces:
        yield event("message.output.delta", 1, id=entry["id"], model=entry["model"], content=piece, role="assistant")
    yield event("conversation.response.done", usage=said["usage"])


def _completion(request: Request, plan: Plan, key: str) -> FakeReply:
    """A chat with an agent, which has a model, or a completion of code."""
    body = dict(request.body)
    agent = body.pop("agent_id", None)
    if agent is not None:
        body["model"] = "mistral-medium-latest"
    if "messages" not in body:
        body["messages"] = [{"role": "user", "content": f"{body.pop('prompt', '')}{body.pop('suffix', None) or ''}"}]
    if body.get("stream"):
        body["stream_options"] = {"include_usage": True}  # it comes unasked
    return chat(replace(request, body=body), plan, key)
