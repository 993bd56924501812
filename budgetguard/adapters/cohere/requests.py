"""
Cohere's requests, read as the most that they can use.

What a search among documents costs is counted in units: a query with up to a hundred documents, of which one that is
longer than 500 tokens, with the query, counts as several (docs.cohere.com, "How does Cohere's pricing work").
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from ...calls import UNKNOWN_HOST, UNREAD, Call, Host
from ..common.bodies import compact, fields, given, is_body, items, text, whole
from ..common.files import points
from ..common.written import size

DOCUMENTS_A_SEARCH = 100
DOCUMENT_TOKENS = 500

_BY_TOKEN: Final = re.compile(r"rerank-v([5-9]|\d\d)")
"""The models that search, and are billed by the token (litellm 1.110.2: input_cost_per_token of rerank-v5.0-*)."""

_MESSAGE_TOKENS = 16
_CHAT = ("messages", "tools", "documents", "response_format")
_CHAT_BEFORE = ("message", "preamble", "chat_history", "tools", "tool_results", "documents", "response_format")


def chat(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """A chat of the second version."""
    if not is_body(body):
        return UNREAD
    thinking = fields(body.get("thinking")).get("type")
    return _call(body, _CHAT, len(items(body.get("messages"))))._replace(
        images=sum(_pictures(body.get("messages"))),
        thinks=thinking == "enabled" or (thinking is None and "reasoning" in (text(body, "model") or "")),
    )


def chat_before(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """A chat of the first version: connectors, and a conversation that is stored, bring more than is sent."""
    if not is_body(body):
        return UNREAD
    call = _call(body, _CHAT_BEFORE, 2 + len(items(body.get("chat_history"))))
    return call._replace(unknown_input=bool(given(body, "connectors") or given(body, "conversation_id")))


def generate(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """A completion, or several of one prompt."""
    if not is_body(body):
        return UNREAD
    return _call(body, ("prompt",), 1)._replace(
        choices=max(whole(body, "num_generations") or 1, 1), unknown_input=bool(given(body, "preset"))
    )


def embed(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """Embeddings of texts and pictures; no output."""
    body = fields(body)
    inputs = items(given(body, "inputs"))
    texts = [each for each in items(given(body, "texts")) if isinstance(each, str)]
    parts = [part for each in inputs for part in items(fields(each).get("content"))]
    texts += [said for part in parts if (said := text(fields(part), "text"))]
    images = len(items(given(body, "images"))) + sum(fields(part).get("type") == "image_url" for part in parts)
    overhead = _MESSAGE_TOKENS * (len(texts) + len(inputs))
    return Call(model=text(body, "model") or "", texts=texts, overhead=overhead, images=images, output=False)


def rerank(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """A search among documents: billed by the search, or since version 5 of its models by the token."""
    body, model = fields(body), text(fields(body), "model") or ""
    query = size(text(body, "query") or "")
    documents = [each if isinstance(each, str) else compact(each) for each in items(given(body, "documents"))]
    if _BY_TOKEN.search(model):
        asked = [text(body, "query") or ""] * len(documents)  # each document is read with the query
        return Call(model=model, texts=asked + documents, overhead=_MESSAGE_TOKENS * len(documents), output=False)
    pieces = sum(-(-(size(document) + query) // DOCUMENT_TOKENS) or 1 for document in documents)
    units = -(-pieces // DOCUMENTS_A_SEARCH) or 1
    return Call(model=model, fixed={"rerank_searches": units}, output=False)


def job(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """What its reply says no price for, or is done later."""
    return Call(model=text(fields(body), "model") or "", unknown_input=True)


def _call(body: Mapping[str, Any], names: Sequence[str], messages: int) -> Call:
    shown = [given(body, name) for name in names]
    shown = [_without_pictures(value) for value in shown if value]
    return Call(
        model=text(body, "model") or "",
        texts=[value if isinstance(value, str) else compact(value) for value in shown],
        overhead=_MESSAGE_TOKENS * (messages + len(shown)),
        max_output=whole(body, "max_tokens"),
        cap="max_tokens",
        stream=body.get("stream") is True,
    )


def _pictures(value: Any) -> Iterator[bool]:
    for message in items(value):
        for part in items(fields(message).get("content")):
            yield fields(part).get("type") == "image_url"


def _without_pictures(value: Any) -> Any:
    """The messages without their pictures, which are counted apart: one in a URL is longer than it costs."""
    if not isinstance(value, list) or not points(value):
        return value
    kept = []
    for message in value:
        said = fields(message)
        content = said.get("content")
        if isinstance(content, list):
            parts = [part for part in content if fields(part).get("type") != "image_url"]
            kept.append({**said, "content": parts})
        else:
            kept.append(message)
    return kept
