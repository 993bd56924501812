"""
Mistral's requests, read as the most that they can use.

Everything that a conversation is given counts as its compact JSON, which is more than is billed. What is stored (an
agent's instructions, what was said before) and what connectors bring is billed, too, and not shown: the model's context
is then the bound of one run of it; a connector may have it run again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...calls import UNKNOWN_HOST, UNREAD, Call, Host
from ..common.bodies import compact, fields, given, is_body, items, text, whole
from ..common.files import points
from ..common.pages import pages as pages_of
from ..common.written import size

MOST_PAGES = 1_000
"""Of one document (docs.mistral.ai, OCR, "FAQ")."""

_ENTRY_TOKENS = 16


def arguments(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """How a completion is to be made: where a conversation's request has its cap."""
    return fields(body.get("completion_args"))


def conversation(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """A conversation's first request, to a model or to an agent, whose id is asked for as a model is."""
    if not is_body(body):
        return UNREAD
    tools = items(given(body, "tools"))
    agent = text(body, "agent_id")
    inputs = given(body, "inputs")
    hosted = any(fields(tool).get("type") != "function" for tool in tools)
    shown = [given(body, name) for name in ("inputs", "instructions", "tools")]
    return Call(
        model=text(body, "model") or agent or "",
        texts=[value if isinstance(value, str) else compact(value) for value in shown if value],
        overhead=_ENTRY_TOKENS * (2 + len(items(inputs)) + len(tools)),
        max_output=whole(arguments(body), "max_tokens"),
        cap="max_tokens",
        stream=body.get("stream") is True,
        unknown_input=hosted or agent is not None or (not isinstance(inputs, str) and points(inputs)),
        thinks=arguments(body).get("reasoning_effort") not in {None, "none"},
    )


def conversation_more(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """A later one: what came before is stored, and so is the model."""
    call = conversation(body, files, host)
    return call._replace(unknown_input=True)


def pages(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """Documents that are read: by the page, and dearer where they are annotated."""
    body = fields(body)
    count = _pages(body)
    annotated = given(body, "bbox_annotation_format") or given(body, "document_annotation_format")
    fixed = {"input_document_pages": count, **({"input_annotated_document_pages": count} if annotated else {})}
    return Call(model=text(body, "model") or "", fixed=fixed, output=False)


def job(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """A batch, whose requests are in a file or in the body."""
    return Call(model=text(fields(body), "model") or "", unknown_input=True)


def _pages(body: Mapping[str, Any]) -> int:
    """How many pages are to be read: those that are named, those of the document, or as many as one may have."""
    named, document = given(body, "pages"), fields(given(body, "document"))
    if isinstance(named, list) and named:
        return len(named)
    if document.get("type") == "image_url" or "image_url" in document:
        return 1
    url = text(document, "document_url") or ""
    if url.startswith("data:application/pdf;base64,"):
        from binascii import Error, a2b_base64

        try:
            found = pages_of(a2b_base64(url.partition(",")[2]))
        except (Error, ValueError):
            found = 0
        return min(found, MOST_PAGES) or min(MOST_PAGES, max(size(url), 1))
    return MOST_PAGES
