"""
The requests of Anthropic's API, read as the most that they can use.

Pure functions of the JSON body. They never raise: a field of the wrong type counts as absent, for the API will refuse
it. `max_tokens` is required and has thinking inside, so an output cap is always stated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...calls import NOTHING, UNKNOWN_HOST, UNREAD, Call, Host
from ..common.bodies import fields, given, is_body, items, text, whole
from ..common.thinking import thinks_unasked
from . import tools
from .prompt import Prompt

KEPT_AN_HOUR = "cache_write_1h_tokens"

COMPACTION_OUTPUT = 32_000
"""Assumed most output tokens of a summary that the server makes of a long conversation by itself, and bills beside."""

_SCHEMA_PROMPT = 700
"""Allowed for what the server tells the model of an output format."""

_SURCHARGED = frozenset({"us"})
"""Values of `inference_geo` that have a price of their own ("global" and "not_available" have not)."""

_WIDE = 1_000_000
_WIDENED = "context-1m"
_WIDENS = "sonnet-4"
"""
Models that have a context of a million tokens where the header `anthropic-beta` asks for it. Anthropic's own API is
reported to refuse such prompts since 2026-04-30; the clouds list a price for them (LiteLLM 1.109.1). Later models have
it unasked, in the price list.
"""

_RARE = frozenset(
    {
        "cache_control",
        "compaction",
        "container",
        "context_management",
        "fallbacks",
        "mcp_servers",
        "output_config",
        "output_format",
        "thread",
        "tool_choice",
        "tools",
    }
)


def messages(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """`messages.create`, `parse` and `stream`, those of `beta` included."""
    if not is_body(body):
        return UNREAD
    seen = Prompt()
    if "system" in body:
        seen.content(given(body, "system"))
    seen.messages(given(body, "messages"))
    model = text(body, "model") or ""
    geo = text(body, "inference_geo") if "inference_geo" in body else None
    thinking = fields(given(body, "thinking")) if "thinking" in body else NOTHING
    capped, thought = whole(body, "max_tokens"), whole(thinking, "budget_tokens") or 0
    if capped is not None:  # with interleaved thinking, the budget of that may be more
        capped = max(capped, thought)
    call = Call(
        model=model,
        texts=seen.texts,
        overhead=seen.overhead,
        images=seen.images,
        max_output=capped,
        cap=None if capped is None else "max_tokens",
        least_output=thought + 1,
        stream="stream" in body and body["stream"] is True,
        tier=_tier(body),
        region=geo if geo in _SURCHARGED else "",
        user=text(fields(body["metadata"]), "user_id") if "metadata" in body else None,
        unknown_input=seen.unknown,
        thinks=_thinks(thinking, model),
    )
    if not _RARE.isdisjoint(body):
        call = _rare(call, body, seen)
    return call._replace(kept=KEPT_AN_HOUR) if seen.hour else call


def lower(body: Mapping[str, Any], cap: int) -> dict[str, Any]:
    """The output caps of a message, those of models that may answer instead among them, none above this one."""
    changed: dict[str, Any] = {"max_tokens": min(whole(body, "max_tokens") or cap, cap)}
    others = items(given(body, "fallbacks"))
    if any((whole(fields(entry), "max_tokens") or 0) > cap for entry in others):
        changed["fallbacks"] = [
            {**fields(entry), "max_tokens": cap} if (whole(fields(entry), "max_tokens") or 0) > cap else entry
            for entry in others
        ]
    return changed


def headed(call: Call, headers: Mapping[str, Any]) -> Call:
    """A call with the context that its headers ask for."""
    if _WIDENS in call.model and any(
        name.lower() == "anthropic-beta" and _WIDENED in str(value) for name, value in headers.items()
    ):
        return call._replace(context=_WIDE)
    return call


def _rare(call: Call, body: Mapping[str, Any], seen: Prompt) -> Call:
    """The same with what few requests say: tools, schemas, what the server is to add, other models that may answer."""
    seen.mark(body)
    seen.tools(given(body, "tools"))
    for name in ("tool_choice", "mcp_servers", "compaction", "context_management"):
        if name in body:
            seen.json(given(body, name))
    for form in (fields(given(body, "output_config")).get("format"), given(body, "output_format")):
        if form is not None:
            seen.json(form, _SCHEMA_PROMPT)
    hosted = tools.hosted(body, call.model)
    caps = [whole(entry, "max_tokens") or 0 for entry in map(fields, items(given(body, "fallbacks")))]
    capped = call.max_output
    asked = 1 + _fallbacks(body)  # each reads the request, and may have written to the cap before it declined
    return call._replace(
        texts=seen.texts * asked,
        overhead=seen.overhead * asked,
        images=seen.images * asked,
        choices=asked,
        max_output=None if capped is None else max(capped, *caps, 0),
        tools=hosted.tools,
        also=hosted.also,
        fixed={**hosted.fees, **({"output_tokens": COMPACTION_OUTPUT} if hosted.compacts else {})},
        unknown_input=seen.unknown or _stored(body),
        others=_others(body),
        thinks=call.thinks or "fallbacks" in body,
    )


def job(body: Mapping[str, Any], files: Sequence[Any] = (), host: Host = UNKNOWN_HOST) -> Call:
    """What is done later, or elsewhere: the model of the body, or of the agent that it names."""
    body = fields(body)
    named = (text(part, "model") for part in (body, fields(body.get("agent"))))
    return Call(model=next(filter(None, named), ""), unknown_input=True, user=_user(body))


def _user(body: Mapping[str, Any]) -> str | None:
    return text(fields(body.get("metadata")), "user_id")


def _tier(body: Mapping[str, Any]) -> str | None:
    """Fast mode is a tier here: it has prices of its own. `service_tier` is of capacity that was bought."""
    if "speed" in body and text(body, "speed") == "fast":
        return "fast"
    return text(body, "service_tier") if "service_tier" in body else None


def _thinks(thinking: Mapping[str, Any], model: str) -> bool:
    """Whether a model may think: what it thinks is billed, and streamed in part or not at all."""
    kind = text(thinking, "type")
    return kind != "disabled" and (kind is not None or thinks_unasked(model))


def _stored(body: Mapping[str, Any]) -> bool:
    """Whether input is billed that stands elsewhere: a conversation that the server keeps, a container's skills."""
    thread = fields(given(body, "thread"))
    return text(thread, "type") == "continue" or given(body, "container") is not None


def _fallbacks(body: Mapping[str, Any]) -> int:
    """How many models may be asked after the first; "default" leaves it to the server, and it asks one."""
    named = given(body, "fallbacks")
    return len(items(named)) if not isinstance(named, str) else 1


def _others(body: Mapping[str, Any]) -> Sequence[str]:
    """Other models that may answer instead, as far as the body names them ("default" leaves them to the server)."""
    named = (text(fields(entry), "model") for entry in items(given(body, "fallbacks")))
    return tuple(dict.fromkeys(filter(None, named)))
