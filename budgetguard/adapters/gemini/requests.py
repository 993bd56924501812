"""
The requests of Google's API, read as the most that they can use.

Pure functions of the JSON body. They never raise: a field of the wrong type counts as absent, for the API will refuse
it. The model stands in the path there: `located` puts it into the body, and every reader finds it in "model".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ...calls import UNKNOWN_HOST, UNREAD, Call, Host
from ..common.bodies import fields, is_body, items, text, whole
from .names import constant, field, part_of, plain_model, spelt
from .prompt import Contents, offered, tool_config

PICTURES = 4
PICTURE_OUTPUT = 2_520
"""
The assumed most pictures of an answer with pictures, and the most tokens of one: a picture of 4K by Gemini 3.1
(ai.google.dev/gemini-api/docs/pricing, read 2026-11-29).
"""

CAP = "maxOutputTokens"
CONFIG = "generationConfig"

_SHARED = "x-vertex-ai-llm-shared-request-type"
"""In which a request to Vertex AI asks for a tier."""

_RARE = frozenset({"tools", "toolConfig", "tool_config", "cachedContent", "cached_content"})
_CONFIGS = frozenset({"responseSchema", "responseJsonSchema", "response_schema", "response_json_schema"})
_UNTHINKING = ("gemini-1", "gemini-2.0", "gemini-2.5-flash-lite", "gemini-2.5-flash-image", "gemma", "embedding")
"""Models that think only where a request says so, or never (ai.google.dev/gemini-api/docs/thinking)."""


def generate(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`models.generate_content`, and every turn of a chat."""
    if not is_body(body):
        return UNREAD
    model = text(body, "model") or ""
    seen = Contents()
    system = field(body, "systemInstruction")
    if system is not None:
        seen.contents(system)
    seen.contents(body.get("contents"))
    config = part_of(body, CONFIG)
    for name in _CONFIGS & config.keys():
        seen.json(config[name])
    thinking = part_of(config, "thinkingConfig")
    call = Call(
        model=model,
        texts=seen.texts,
        overhead=seen.overhead,
        images=seen.images,
        choices=max(whole(config, spelt(config, "candidateCount")) or 1, 1),
        max_output=whole(config, spelt(config, CAP)) or None,
        cap=CONFIG,
        least_output=(whole(thinking, spelt(thinking, "thinkingBudget")) or 0) + 1,
        tier=_tier(body),
        kept=_dearest(seen, embeds=False),
        unknown_input=seen.unknown,
        thinks=_thinks(model, thinking),
    )
    if draws(model, config):
        call = call._replace(fixed={"output_image_tokens": PICTURES * PICTURE_OUTPUT * call.choices})
    if not _RARE.isdisjoint(body):
        call = _rare(call, body, seen)
    return call


def stream(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`models.generate_content_stream`: the path says that it streams, not the body."""
    return generate(body, files, host)._replace(stream=True)


def _rare(call: Call, body: Mapping[str, Any], seen: Contents) -> Call:
    """The same with what few requests say: tools, and what a cache holds."""
    tools = offered(field(body, "tools"), call.model, seen)
    tool_config(body, seen)
    cached = field(body, "cachedContent") is not None
    fixed = {**call.fixed, "web_searches": tools.searches} if tools.searches else call.fixed
    return call._replace(
        overhead=seen.overhead,
        fixed=fixed,
        unknown_input=seen.unknown or tools.hosted or cached,
    )


def draws(model: str, config: Mapping[str, Any]) -> bool:
    """Whether an answer may have pictures in it."""
    wanted = items(field(config, "responseModalities"))
    if wanted:
        return "IMAGE" in map(constant, wanted)
    return "image" in model or "banana" in model


def _dearest(seen: Contents, *, embeds: bool) -> str:
    """The kind that all of the input may be of, where a request has sounds or films of unknown length."""
    if embeds and "video" in seen.heard:
        return "input_video_tokens"
    if seen.heard:  # a film has a sound
        return "input_audio_tokens"
    return "input_image_tokens" if embeds and seen.images else ""


def _thinks(model: str, thinking: Mapping[str, Any]) -> bool:
    """Whether a model may think: that is billed as output, and shown in part or not at all."""
    budget = field(thinking, "thinkingBudget")
    if budget == 0:
        return False
    return bool(budget or field(thinking, "thinkingLevel")) or thinks_unasked(model)


@lru_cache(maxsize=1024)
def thinks_unasked(model: str) -> bool:
    """Whether a model thinks where a request says nothing of it, as its name says; one that is not known may."""
    return not any(name in model.lower() for name in _UNTHINKING)


def _tier(body: Mapping[str, Any]) -> str | None:
    return constant(field(body, "serviceTier")).lower() or None


def headed(call: Call, headers: Mapping[str, Any]) -> Call:
    """A call with what its headers ask for: a tier at Vertex AI."""
    asked = next((value for name, value in headers.items() if name.lower() == _SHARED), None)
    return call if asked is None else call._replace(tier=str(asked).lower())


# --- everything else


def embed(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`models.embed_content`, of one or of many, and through Vertex's `predict`."""
    if not is_body(body):
        return UNREAD
    seen = Contents()
    for one in (body, *map(fields, items(body.get("requests"))), *map(fields, items(body.get("instances")))):
        seen.contents(one.get("content"))
        if isinstance(one.get("title"), str):
            seen.texts.append(one["title"])
        for name in ("image", "video", "text"):
            if name in one:
                seen.part({name: one[name]})
    return Call(
        model=text(body, "model") or "",
        texts=seen.texts,
        overhead=seen.overhead,
        images=seen.images,
        output=False,
        kept=_dearest(seen, embeds=True),
        unknown_input=seen.unknown,
    )


def draw(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`models.generate_images`, `edit_image` and `upscale_image`: Imagen's pictures have a price each."""
    asked = part_of(fields(body), "parameters")
    size = text(asked, spelt(asked, "sampleImageSize")) or "1K"
    count = max(whole(asked, spelt(asked, "sampleCount")) or 4, 1)
    return Call(model=text(fields(body), "model") or "", fixed={f"images/standard/{size}": count}, output=False)


def film(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`models.generate_videos`: Veo's films cost by the second, which the request states."""
    asked = part_of(fields(body), "parameters")
    seconds = whole(asked, spelt(asked, "durationSeconds")) or 8
    count = max(whole(asked, spelt(asked, "sampleCount")) or 1, 1)
    size = text(asked, "resolution") or "720p"
    return Call(model=text(fields(body), "model") or "", fixed={f"video_seconds/{size}": seconds * count}, output=False)


def cache(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`caches.create`: what goes in is billed once as input, and then by the hour, which no reply tells."""
    call = generate(body, files, host)
    return call._replace(model=plain_model(call.model) or "", output=False, cap=None, max_output=None, fixed={})


def job(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """What is done later, or elsewhere: tuning, batches, files that are indexed, agents."""
    body = fields(body)
    named = (field(body, name) for name in ("model", "baseModel", "agent"))
    return Call(model=next(filter(None, map(plain_model, named)), ""), unknown_input=True)
