"""
Ollama's requests, read as the most that they can use.

A model's template, and the instructions in its file, come on top of what is sent: taken as 512 tokens, which is more
than those of the models that come with it, and no proof for one's own.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...calls import UNKNOWN_HOST, UNREAD, Call, Host
from ..common.bodies import compact, fields, given, is_body, items, text, whole

_TEMPLATE_TOKENS = 512
_MESSAGE_TOKENS = 16

_CHAT = ("tools", "format")
_GENERATE = ("prompt", "suffix", "system", "template", "format")


def options(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """How the model is to be run: where a request has its cap."""
    return fields(body.get("options"))


def chat(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """A chat: messages with their texts, pictures and calls of tools."""
    if not is_body(body):
        return UNREAD
    messages = [fields(message) for message in items(body.get("messages"))]
    images = sum(len(items(message.get("images"))) for message in messages)
    texts = [text(message, "content") or "" for message in messages]
    rest = [{name: value for name, value in each.items() if name not in {"content", "images"}} for each in messages]
    texts += [compact(value) for value in (*rest, *(given(body, name) for name in _CHAT)) if value]
    return _call(body, texts, images, len(messages))


def generate(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """A completion; `context` is what came before, in token ids."""
    if not is_body(body):
        return UNREAD
    shown = [given(body, name) for name in _GENERATE]
    texts = [value if isinstance(value, str) else compact(value) for value in shown if value]
    call = _call(body, texts, len(items(body.get("images"))), 1)
    return call._replace(overhead=call.overhead + len(items(given(body, "context"))))


def embed(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """Embeddings of a text or many; no output."""
    if not is_body(body):
        return UNREAD
    inputs = [*items(body.get("input")), *items(body.get("prompt"))]
    texts = [each if isinstance(each, str) else compact(each) for each in inputs]
    return Call(model=text(body, "model") or "", texts=texts, overhead=_MESSAGE_TOKENS * len(texts), output=False)


def _call(body: Mapping[str, Any], texts: Sequence[str], images: int, messages: int) -> Call:
    return Call(
        model=text(body, "model") or "",
        texts=texts,
        overhead=_TEMPLATE_TOKENS + _MESSAGE_TOKENS * messages,
        images=images,
        max_output=whole(options(body), "num_predict"),  # below 0 there is no cap
        cap="num_predict",
        stream=body.get("stream") is not False,
        thinks=bool(given(body, "think")),
    )
