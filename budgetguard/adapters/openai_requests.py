"""
The requests of OpenAI's text operations, read as the most that they can use.

Pure functions of the merged JSON body, and of the files of a multipart one. They
never raise: a field of the wrong type counts as absent, for the API will refuse
it. What a hosted tool may do is bounded by the caller's `max_tool_calls`, else by
an assumption stated here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ..calls import NOTHING, UNKNOWN_HOST, Call, Host, Usage
from .openai_images import image_tokens
from .openai_input import Input, fields, given, items, text, whole

SEARCHES = "-search-"
"""In the names of chat models that search the web for each answer: gpt-4o-search-preview, gpt-5-search-api."""

LEAST_RESPONSE_TOKENS = 16
"""The smallest `max_output_tokens` that Responses accepts."""

TOOL_CALLS = 10
"""Assumed most calls of one hosted tool in one response without `max_tool_calls`."""

RESEARCH_CALLS = 100
"""The same for a deep-research model."""

IMAGE_CALLS = 3
"""Assumed most pictures in one response without `max_tool_calls`."""

IMAGE_CALL_INPUT = 16_000
"""Assumed most input tokens of the image model for one picture: a prompt of 32,000 characters and a picture."""

IMAGE_MODEL = "gpt-image-2.6-sunburst"
"""The image tool's model where none is named (openai 3.54, `types/responses/tool.py`)."""

_THINKING = re.compile(r"(^|[/:])(o\d|gpt-([5-9]|oss)|codex|computer-use)|deepseek-(r|reason)|reason|thinking")
"""
Names of models that reason unseen, as OpenAI, DeepSeek and OpenRouter name theirs. A model that is not known to reason
and does costs less than its bill if its stream is interrupted, so the families are drawn wide.
"""

_NEW_CONTAINERS = frozenset({"auto", "container_auto"})

_FEES = {
    "web_search": "web_searches",
    "file_search": "storage_searches",
}
_CHAT_SCHEMAS = ("tools", "functions", "response_format", "tool_choice", "function_call")
_RESPONSES_SCHEMAS = ("tools", "text", "tool_choice")
_NAMES = ("user", "safety_identifier")
_STORED = frozenset({"previous_response_id", "conversation", "prompt"})
_HOSTED = ("web_search", "file_search", "code_interpreter", "image_generation", "mcp", "shell", "tool_search")


def chat(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`chat.completions.create`, `parse` and `stream`."""
    body = fields(body)
    seen = Input()
    seen.messages(body.get("messages"))
    _schemas(seen, body, _CHAT_SCHEMAS)
    predicted = "prediction" in body and isinstance(body["prediction"], Mapping)
    if predicted:
        seen.content(body["prediction"].get("content"))
    model = text(body, "model") or ""
    search = SEARCHES in model or ("web_search_options" in body and given(body, "web_search_options") is not None)
    capped = whole(body, "max_completion_tokens") if "max_completion_tokens" in body else None
    if "max_tokens" in body and (older := whole(body, "max_tokens")) is not None:
        capped = max(capped or 0, older)
    fixed: Usage = {"web_searches": 1} if search else NOTHING
    if seen.audio_tokens:
        fixed = {**fixed, "input_audio_tokens": seen.audio_tokens}
    return Call(
        model=model,
        texts=seen.texts,
        overhead=seen.overhead,
        images=seen.images,
        fixed=fixed,
        choices=(whole(body, "n") or 1) if "n" in body else 1,
        max_output=capped,
        # With a predicted output the API accepts no cap.
        cap=None if predicted else "max_completion_tokens",
        stream="stream" in body and body["stream"] is True,
        tier=text(body, "service_tier") if "service_tier" in body else None,
        user=user(body),
        # What a search finds is billed as input, but for the preview models.
        unknown_input=seen.unknown or (search and "-search-preview" not in model),
        thinks=thinks(model) or ("reasoning_effort" in body and given(body, "reasoning_effort") is not None),
    )


@lru_cache(maxsize=1024)
def thinks(model: str) -> bool:
    """Whether a model is one of those that reason before they answer, by the name of its family."""
    return _THINKING.search(model) is not None


def completions(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`completions.create`: one prompt or many, each answered `best_of` times."""
    body = fields(body)
    seen = Input()
    prompts = _prompts(seen, body.get("prompt"))
    seen.text(given(body, "suffix"))
    answers = max(whole(body, "n") or 1, whole(body, "best_of") or 1, 1)
    return Call(
        model=text(body, "model") or "",
        texts=seen.texts,
        overhead=seen.overhead,
        choices=answers * max(prompts, 1),
        max_output=whole(body, "max_tokens"),
        default_output=host.default_cap,
        cap="max_tokens",
        stream=body.get("stream") is True,
        tier=text(body, "service_tier"),
        user=user(body),
        unknown_input=seen.unknown,
    )


def responses(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`responses.create`, `parse` and `stream`, those of `beta` included."""
    body = fields(body)
    seen = Input()
    seen.content(body.get("input"))
    seen.overhead += ITEM_TOKENS_TO_PRIME
    if "instructions" in body:
        seen.text(body["instructions"])
    _schemas(seen, body, _RESPONSES_SCHEMAS)
    stored = not _STORED.isdisjoint(body) and any(given(body, name) for name in _STORED)
    model = text(body, "model") or ""
    fixed, also, hosted = _tools(body, model) if "tools" in body else (NOTHING, (), False)
    if seen.audio_tokens:
        fixed = {**fixed, "input_audio_tokens": seen.audio_tokens}
    return Call(
        model=model,
        texts=seen.texts,
        overhead=seen.overhead,
        images=seen.images,
        fixed=fixed or NOTHING,
        max_output=whole(body, "max_output_tokens") if "max_output_tokens" in body else None,
        cap="max_output_tokens",
        least_output=LEAST_RESPONSE_TOKENS,
        stream="stream" in body and body["stream"] is True,
        tier=text(body, "service_tier") if "service_tier" in body else None,
        user=user(body),
        background="background" in body and body["background"] is True,
        unknown_input=seen.unknown or stored or hosted,
        thinks=thinks(model) or ("reasoning" in body and given(body, "reasoning") is not None),
        also=also,
    )


def compact(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`responses.compact`: reads a conversation, writes its summary; it takes no output cap."""
    body = fields(body)
    seen = Input()
    seen.content(given(body, "input"))
    seen.overhead += ITEM_TOKENS_TO_PRIME
    seen.text(given(body, "instructions"))
    return Call(
        model=text(body, "model") or "",
        texts=seen.texts,
        overhead=seen.overhead,
        images=seen.images,
        tier=text(body, "service_tier"),
        user=user(body),
        unknown_input=seen.unknown or given(body, "previous_response_id") is not None,
    )


def decisions(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`decisions.create`: messages and questions; it takes no output cap."""
    body = fields(body)
    seen = Input()
    seen.content(given(body, "input"))
    seen.overhead += ITEM_TOKENS_TO_PRIME
    for question in items(given(body, "questions")):
        instructions = question.get("instructions") if isinstance(question, Mapping) else None
        if isinstance(question, Mapping) and isinstance(instructions, list | tuple):
            seen.content(instructions)
            seen.json({name: value for name, value in question.items() if name != "instructions"})
        else:
            seen.json(question)
    return Call(
        model=text(body, "model") or "",
        texts=seen.texts,
        overhead=seen.overhead,
        images=seen.images,
        user=user(body),
        unknown_input=seen.unknown,
    )


def embeddings(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`embeddings.create`: texts, or lists of token ids; no output."""
    body = fields(body)
    seen = Input()
    _prompts(seen, body.get("input"))
    return Call(
        model=text(body, "model") or "",
        texts=seen.texts,
        overhead=seen.overhead,
        output=False,
        user=user(body),
        unknown_input=seen.unknown,
    )


def user(body: Mapping[str, Any]) -> str | None:
    """The end user that a request names: `user`, else `safety_identifier`, else `metadata.user_id`."""
    for name in _NAMES:
        if name in body and (named := text(body, name)):
            return named
    if "metadata" not in body:
        return None
    metadata = body["metadata"]
    return text(metadata, "user_id") if isinstance(metadata, Mapping) else None


ITEM_TOKENS_TO_PRIME = 16
"""What Responses adds to a bare text: its role, and the answer's."""


def _schemas(seen: Input, body: Mapping[str, Any], names: Sequence[str]) -> None:
    for name in names:
        if name in body and (value := given(body, name)):
            seen.json(value)


def _prompts(seen: Input, prompt: Any) -> int:
    """Take a prompt: a text, a list of texts, of token ids, or of lists of token ids. How many prompts it is."""
    if isinstance(prompt, str):
        seen.texts.append(prompt)
        return 1
    if not isinstance(prompt, list | tuple):
        return 0
    prompts = 0
    ids = 0
    for part in prompt:
        if isinstance(part, str):
            seen.texts.append(part)
            prompts += 1
        elif isinstance(part, list | tuple):
            seen.overhead += len(part)
            prompts += 1
        else:
            ids += 1
    seen.overhead += ids
    return prompts + (1 if ids else 0)


def _tools(body: Mapping[str, Any], model: str) -> tuple[Usage, tuple[tuple[str, Usage], ...], bool]:
    """What the hosted tools of a response may use: fees, other models' usage, and whether they add input."""
    stated = whole(body, "max_tool_calls")
    research = "deep-research" in model
    calls = (RESEARCH_CALLS if research else TOOL_CALLS) if stated is None else stated
    fees: dict[str, int] = {}
    also: list[tuple[str, Usage]] = []
    hosted = False
    tools = given(body, "tools")
    for tool in tools if isinstance(tools, list | tuple) else ():
        kind = text(tool, "type") if isinstance(tool, Mapping) else None
        if kind is None or not kind.startswith(_HOSTED):
            continue
        hosted = True
        for name, fee in _FEES.items():
            if kind.startswith(name):
                fees[fee] = calls
        if kind in {"code_interpreter", "shell"}:
            container = tool.get("container") or tool.get("environment")
            if isinstance(container, Mapping) and text(container, "type") in _NEW_CONTAINERS:
                fees["code_executions"] = fees.get("code_executions", 0) + gigabytes(container)
        elif kind == "image_generation":
            also.append(_painter(tool, IMAGE_CALLS if stated is None else stated))
    return fees, tuple(also), hosted


def _painter(tool: Mapping[str, Any], pictures: int) -> tuple[str, Usage]:
    model = text(tool, "model") or IMAGE_MODEL
    seen, made = IMAGE_CALL_INPUT * pictures, image_tokens(tool, model) * pictures
    usage = {
        "input_tokens": seen,
        "input_image_tokens": seen,
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


_GIGABYTES = {"1g": 1, "4g": 4, "16g": 16, "64g": 64}
