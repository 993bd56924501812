"""
The requests of Converse, read as the most that they can use; Nova's own JSON has the same fields.

Pure functions of the operation's members. They never raise: a field of the wrong type counts as absent, for Bedrock
will refuse it. An output cap is `inferenceConfig.maxTokens`, and has thinking inside.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...calls import NOTHING, UNKNOWN_HOST, Call, Host, Tools
from ..common.bodies import fields, items, text, whole
from ..common.thinking import thinks_unasked
from .models import is_prompt, name_of
from .prompt import Blocks

CONFIG = "inferenceConfig"
CAP = "maxTokens"
KEPT_AN_HOUR = "cache_write_1h_tokens"

_MORE = "additionalModelRequestFields"
_CAPS = ("max_tokens", "max_gen_len", "max_new_tokens", "maxTokenCount", "max_completion_tokens")
"""Models' own names of an output cap, which may be passed beside Converse's."""

_THINKING = ("thinking", "reasoning_config", "reasoningConfig")
"""Models' own names of how much they are to think; the second is that of AWS's guide for Claude."""

_SCHEMA_PROMPT = 700
"""Allowed for what a server tells the model of an output format."""

_WIDE = 1_000_000
_WIDENED = "context-1m"

ROUNDS = 10
"""Assumed most rounds of hosted tools in one answer, each of which has the model read everything once more."""

_SEARCH = "nova_grounding"
"""Nova's web search, which has a fee."""


def converse(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """Converse: the members of its request."""
    body = fields(body)
    model_id = text(body, "modelId") or ""
    return read_blocks(body, name_of(model_id), unknown=is_prompt(model_id) or "promptVariables" in body)


def converse_stream(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """The same, whose answer comes in pieces."""
    return converse(body)._replace(stream=True)


def read_blocks(body: Mapping[str, Any], model: str, *, unknown: bool = False) -> Call:
    """A request that has its input in Converse's blocks."""
    seen = Blocks()
    seen.content(body.get("system"))
    seen.messages(body.get("messages"))
    tools, more = fields(body.get("toolConfig")), fields(body.get(_MORE))
    seen.tools(tools)
    output = fields(fields(body.get("outputConfig")).get("textFormat"))
    for beside in (more, output):
        if beside:
            seen.json(beside)
    thinking = next(filter(None, (fields(more.get(name)) for name in _THINKING)), NOTHING)
    hosted = _hosted(tools)
    return Call(
        model=model,
        texts=seen.texts,
        overhead=seen.overhead + (_SCHEMA_PROMPT if output else 0),
        images=seen.images,
        max_output=_stated(fields(body.get(CONFIG)), more, thinking),
        cap=CONFIG,
        least_output=(whole(thinking, "budget_tokens") or 0) + 1,
        tier=_tier(body),
        kept=KEPT_AN_HOUR if seen.hour else "",
        unknown_input=unknown or seen.unknown or hosted is not None,
        context=_WIDE if any(_WIDENED in str(beta) for beta in items(more.get("anthropic_beta"))) else 0,
        thinks=_thinks(thinking, model),
        tools=hosted,
    )


def capped(body: Mapping[str, Any], cap: int | None, ask_usage: bool, host: Host) -> dict[str, Any]:
    """A copy of the members with an output cap; the usage comes unasked."""
    return {**body, CONFIG: {**fields(body.get(CONFIG)), CAP: cap}} if cap is not None else dict(body)


def lower(body: Mapping[str, Any], cap: int) -> dict[str, Any]:
    """The members with every cap that they state at most this: those in the model's own words as well."""
    config, more = fields(body.get(CONFIG)), fields(body.get(_MORE))
    changed: dict[str, Any] = {CONFIG: _lowered(config, cap) | {CAP: min(_cap_in(config, CAP, cap), cap)}}
    lowered = _lowered(more, cap)
    if own := fields(more.get(CONFIG)):
        lowered[CONFIG] = _lowered(own, cap)
    if lowered != more:
        changed[_MORE] = lowered
    return changed


def _lowered(config: Mapping[str, Any], cap: int) -> dict[str, Any]:
    """A copy with no cap above this one."""
    return {**config, **{name: cap for name in (CAP, *_CAPS) if _cap_in(config, name, 0) > cap}}


def _cap_in(config: Mapping[str, Any], name: str, default: int) -> int:
    stated = whole(config, name)
    return default if stated is None else stated


def _stated(config: Mapping[str, Any], more: Mapping[str, Any], thinking: Mapping[str, Any]) -> int | None:
    """The cap that the caller states: the highest, where it is stated in the model's own words as well."""
    stated = [whole(part, name) for part in (config, more, fields(more.get(CONFIG))) for name in (CAP, *_CAPS)]
    known = [cap for cap in stated if cap is not None]
    return max(*known, whole(thinking, "budget_tokens") or 0) if known else None


def _thinks(thinking: Mapping[str, Any], model: str) -> bool:
    """Whether a model may think: what it thinks is billed, and shown in part or not at all."""
    kind = text(thinking, "type")
    return kind != "disabled" and (kind is not None or ("claude" in model and thinks_unasked(model)))


def _tier(body: Mapping[str, Any]) -> str | None:
    """The tier that is asked for. Latency that is optimized is one here: it has prices of its own."""
    tier = text(fields(body.get("serviceTier")), "type")
    return tier or latency(body)


def latency(said: Mapping[str, Any]) -> str | None:
    """The tier that optimized latency is, in a request or a reply."""
    asked = text(fields(said.get("performanceConfig")), "latency")
    return asked if asked is not None and asked != "standard" else None


def _hosted(tools: Mapping[str, Any]) -> Tools | None:
    """What the server may do by itself: its own tools, each use of which reads the context once more."""
    own = [text(fields(fields(tool).get("systemTool")), "name") for tool in items(tools.get("tools"))]
    named = list(filter(None, own))
    return Tools(ROUNDS, {"web_searches": 1} if _SEARCH in named else NOTHING) if named else None
