"""
Which of LiteLLM's functions are which operation (litellm 1.60 to 1.110): a table of those whose cost can be read.

A function that is not in it, and does not only look, list, keep or delete, is `opaque`: a budget without room refuses
it, and that it is not counted is said once.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from inspect import iscoroutinefunction
from typing import Any, Final, NamedTuple

from ...adapters.anthropic import DIALECT as ANTHROPIC
from ...adapters.openai import DIALECT as OPENAI
from ...adapters.openai.jobs import job
from ...adapters.rerank import RERANK
from ...calls import Dialect, Endpoint


class LiteLLMFunction(NamedTuple):
    """What one function of LiteLLM's does."""

    name: str
    """The function's, without what says that it is awaited: "completion"."""
    endpoint: Endpoint
    """How its arguments and its reply are read."""
    dialect: Dialect = OPENAI
    """The API whose fields they have."""


def _found(name: str, path: str, dialect: Dialect = OPENAI, method: str = "POST") -> LiteLLMFunction:
    endpoint = dialect.find(method, path)
    assert endpoint is not None
    return LiteLLMFunction(name, endpoint, dialect)


_READABLE: Final[Mapping[str, LiteLLMFunction]] = {
    operation.name: operation
    for operation in (
        _found("completion", "/chat/completions"),
        _found("text_completion", "/completions"),
        _found("responses", "/responses"),
        _found("compact_responses", "/responses/compact"),
        _found("get_responses", "/responses/{id}", method="GET"),
        _found("cancel_responses", "/responses/{id}/cancel"),
        _found("embedding", "/embeddings"),
        _found("moderation", "/moderations"),
        _found("image_generation", "/images/generations"),
        _found("image_edit", "/images/edits"),
        _found("image_variation", "/images/variations"),
        _found("speech", "/audio/speech"),
        _found("transcription", "/audio/transcriptions"),
        _found("video_generation", "/videos"),
        _found("video_edit", "/videos/edits"),
        _found("video_extension", "/videos/extensions"),
        _found("video_remix", "/videos/{id}/remix"),
        _found("anthropic_messages", "/v1/messages", ANTHROPIC),
        LiteLLMFunction("rerank", RERANK),
    )
}

_FREE: Final = re.compile(
    r"(list|get|delete|retrieve|cancel|update)(_|$)"
    r"|.*_(list|retrieve|delete|content|status|get_character)$"
    r"|(create|upload)_(file|container_file|eval|skill)$"
)
"""What only looks, lists, keeps or deletes."""

_COMPOSED: Final = frozenset({"litellm.rag.main", "litellm.vector_stores.main", "litellm.vector_store_files.main"})
"""What asks models by other functions of LiteLLM's, which are counted one by one."""


def function_of(function: Callable[..., Any]) -> LiteLLMFunction | None:
    """What a function does that costs something; `None`: nothing, or nothing of its own."""
    name = function.__name__.removeprefix("_")
    if name != "anthropic_messages" and iscoroutinefunction(function):
        name = name.removeprefix("a")
    found = _READABLE.get(name)
    if found is not None:
        return found
    if function.__module__ in _COMPOSED or _FREE.match(name):
        return None
    place = function.__module__.removeprefix("litellm.").removesuffix(".main")
    shown = f"litellm.{name}" if "_" in name else f"litellm.{place}.{name}"
    return LiteLLMFunction(name, Endpoint(shown, "POST", "", request=job, opaque=True))
