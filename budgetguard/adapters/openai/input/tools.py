"""
What a provider itself adds to a call: its hosted tools, searches and data, and other models that may answer.

A hosted tool has a fee, adds what it found to the input, and has the model read everything once more: a response
with ten searches is up to eleven readings of the context. Responses takes a bound of the calls, `max_tool_calls`, which
may be set here where OpenAI's own API will read it; without one, and elsewhere, the numbers below are assumed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any

from ....calls import NOTHING, Host, Tools, Usage
from ...common.bodies import fields, given, items, text, whole
from .images import image_tokens

TOOL_CALLS = 10
"""Assumed most calls of hosted tools in one response without `max_tool_calls`."""

RESEARCH_CALLS = 100
"""The same for a deep-research model."""

IMAGE_CALLS = 3
"""The same where all that is hosted makes pictures."""

IMAGE_CALL_INPUT = 16_000
"""Assumed most input tokens of the image model for one picture: a prompt of 32,000 characters and a picture."""

IMAGE_MODEL = "gpt-image-2.6-sunburst"
"""The image tool's model where none is named (openai 3.54, `types/responses/tool.py`)."""

SEARCHES = "-search-"
"""In the names of chat models that search the web for each answer: gpt-4o-search-preview, gpt-5-search-api."""

SEARCH_RESULTS = 5
"""Results of a search at OpenRouter for which its fee is one (openrouter.ai/docs/features/web-search)."""

RESEARCHED: Usage = {
    "web_searches": RESEARCH_CALLS,
    "output_reasoning_tokens": 200_000,
    "output_citation_tokens": 128_000,
}
"""Assumed most of what Perplexity's sonar-deep-research bills beside its answer, whatever its output cap is."""

_CLIENTS = frozenset(
    {
        "function",
        "custom",
        "namespace",
        "local_shell",
        "apply_patch",
        "computer",
        "computer_use",
        "computer_use_preview",
    }
)
"""Tools that the caller runs itself."""

_FEES = {
    "web_search": "web_searches",
    "file_search": "storage_searches",
}
_NEW_CONTAINERS = frozenset({"auto", "container_auto"})
_GIGABYTES = {"1g": 1, "4g": 4, "16g": 16, "64g": 64}

_SEARCHED: Mapping[str, int] = {"medium": 2, "high": 3}
"""By how much Perplexity's fee of a request grows with the size of the search context, at most (docs.perplexity.ai)."""

_ADDING = frozenset(
    {
        "data_sources",
        "dataSources",
        "plugins",
        "web_search_options",
        "search_parameters",
        "enable_search",
        "enable_web_search",
        "web_search",
        "connectors",
        "retrieval",
        "knowledge_base_ids",
        "extra_body",
        "google",
    }
)
"""Fields by which a server is told to add to the input: Azure, OpenRouter, xAI, Qwen, Z.ai, Cohere, Google."""

_GOOGLES = frozenset({"extra_body", "google"})
_CACHES = ("cached_content", "cachedContent")
"""By which Google's API of OpenAI's kind takes a cache (ai.google.dev/gemini-api/docs/openai)."""

_OTHERS = frozenset(
    {
        "models",
        "fallbacks",
        "context_window_fallbacks",
        "content_policy_fallbacks",
        "fallback_models",
        "preset",
        "providerOptions",
    }
)
"""Fields that let another model answer: OpenRouter, LiteLLM, Vercel's gateway."""

ROUTING = _ADDING | _OTHERS

_HARMLESS = frozenset({"response-healing", "moderation", "auto-router", "context-compression"})
"""Plugins of OpenRouter that add nothing to the input."""


def hosted(body: Mapping[str, Any], model: str, host: Host) -> tuple[Tools | None, Usage]:
    """The hosted tools of a response, and what they cost once: containers."""
    tools = [tool for tool in items(given(body, "tools")) if is_hosted(tool)]
    stored = isinstance(given(body, "prompt"), Mapping)
    if not tools and not stored:
        return None, NOTHING
    stated = whole(body, "max_tool_calls")
    kinds = {text(tool, "type") or "" for tool in tools}
    fees: dict[str, int] = {}
    once: dict[str, int] = {}
    also = []
    for tool in tools:
        kind = text(tool, "type") or ""
        fees.update({fee: 1 for name, fee in _FEES.items() if kind.startswith(name)})
        if kind in {"code_interpreter", "shell"}:
            container = tool.get("container") or tool.get("environment")
            if isinstance(container, Mapping) and text(container, "type") in _NEW_CONTAINERS:
                once["code_executions"] = once.get("code_executions", 0) + gigabytes(container)
        elif kind == "image_generation":
            also.append(_painter(tool))
    if stored:  # its template may have tools that are not shown here: a search is the usual one
        fees["web_searches"] = 1
    if "deep-research" in model:
        assumed = RESEARCH_CALLS
    else:
        assumed = IMAGE_CALLS if kinds == {"image_generation"} and not stored else TOOL_CALLS
    cap = "max_tool_calls" if stated is None and host.openai else None
    return Tools(assumed if stated is None else stated, fees, tuple(also), cap), once


def is_hosted(tool: Any) -> bool:
    """Whether the provider runs a tool; one of a kind that is not known is taken for such."""
    kind = text(tool, "type") if isinstance(tool, Mapping) else None
    if kind == "shell":
        return text(fields(tool.get("environment")), "type") != "local"
    return kind is not None and kind not in _CLIENTS


@lru_cache(maxsize=1024)
def searches(model: str) -> bool:
    """Whether a model searches by itself, as its name says."""
    return SEARCHES in model or "sonar" in model or model.endswith(":online")


def added(body: Mapping[str, Any], model: str) -> tuple[bool, Usage]:
    """Whether a server adds to the input of a chat by a field of its own or of itself, and its fees for that."""
    if "sonar" in model:
        if "deep-research" in model:
            return False, RESEARCHED
        size = text(fields(body.get("web_search_options")), "search_context_size")
        return False, {"requests": _SEARCHED[size]} if size is not None and size in _SEARCHED else NOTHING
    search = SEARCHES in model or model.endswith(":online")
    # What a search finds is billed as input, but for the preview models.
    more = search and "-search-preview" not in model
    results = SEARCH_RESULTS
    for name in _ADDING.intersection(body):
        value = given(body, name)
        if name in _GOOGLES:
            more = more or _is_cached(value)
        elif name == "web_search_options":
            search = search or value is not None
            more = more or (value is not None and "-search-preview" not in model)
        elif name == "plugins":
            for plugin in items(value):
                told = {"id": plugin} if isinstance(plugin, str) else plugin
                if _is_on(told) and told.get("id") not in _HARMLESS:
                    more = True
                    if told.get("id") == "web":
                        search, results = True, max(whole(told, "max_results") or 0, results)
        else:
            more = more or any(_is_on(part) for part in items(value)) or value is True
    return more, {"web_searches": -(-results // SEARCH_RESULTS)} if search else NOTHING


def _is_cached(value: Any) -> bool:
    """Whether Google is told to read what a cache holds before the messages."""
    boxes = (fields(value), fields(fields(value).get("google")))
    return any(box.get(name) for box in boxes for name in _CACHES)


def others(body: Mapping[str, Any]) -> Sequence[str]:
    """Other models that may answer, as far as the body names them."""
    found = dict.fromkeys(name for field in _OTHERS.intersection(body) for name in _named(field, given(body, field)))
    return tuple(found)


def _named(field: str, value: Any) -> Iterator[str]:
    if field == "preset":
        if isinstance(value, str) and value:
            yield f"@preset/{value.removeprefix('@preset/')}"
    elif field == "providerOptions":
        yield from _models(fields(fields(value).get("gateway")).get("models"))
    else:
        yield from _models(value)


def _models(value: Any) -> Iterator[str]:
    """Names in a list of names, of `{"model": name}`, or of `{name: [names that may follow]}`."""
    for entry in items(value):
        if isinstance(entry, str):
            if entry:
                yield entry
        elif isinstance(entry, Mapping):
            named = text(entry, "model")
            if named is not None:
                yield named
            else:
                yield from (name for following in entry.values() for name in _strings(following))


def _strings(value: Any) -> Iterable[str]:
    return (name for name in items(value) if isinstance(name, str) and name)


def _is_on(value: Any) -> bool:
    """Whether a server's own addition is wanted: not `{"enable": false}`, `{"enabled": false}` or `{"mode": "off"}`."""
    if not isinstance(value, Mapping):
        return bool(value)
    return not (value.get("enabled") is False or value.get("enable") is False or value.get("mode") == "off")


def _painter(tool: Mapping[str, Any]) -> tuple[str, Usage]:
    """What the image tool's model uses for one picture."""
    model = text(tool, "model") or IMAGE_MODEL
    made = image_tokens(tool, model)
    usage = {
        "input_tokens": IMAGE_CALL_INPUT,
        "input_image_tokens": IMAGE_CALL_INPUT,
        "output_tokens": made,
        "output_image_tokens": made,
    }
    return model, usage


def gigabytes(container: Any) -> int:
    """
    A new container's memory in GB, as which it counts in `code_executions`.

    A session's price is proportional to it: $0.12 with 4 GB, $1.92 with 64 GB
    (https://simoncarter.ai/posts/openai-container-sessions-now-billed-per-minute-short-sessions-get-cheaper-from-/,
    read in November 2026).
    """
    return _GIGABYTES.get(text(fields(container), "memory_limit") or "1g", 64)
