"""
Usage objects, of OpenAI and of everybody who answers in its format, read as counts and a stated cost.

Counts may be text, null, negative or left out; cached input may stand inside the prompt's count or beside it, reasoning
inside the completion's or only in the total. What is not said stays out of the counts: it is unknown, not 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..common.numbers import MOST, fields, number

TEXT_TOTALS = ("input_tokens", "output_tokens")

_READ = "cache_read_tokens"
_WRITE = "cache_write_tokens"
_REASONING = "output_reasoning_tokens"

_CACHE_NAMES = {
    "cached_tokens": _READ,
    "cache_read_tokens": _READ,
    "cache_read_input_tokens": _READ,
    "prompt_cache_hit_tokens": _READ,
    "num_cached_tokens": _READ,
    "cache_write_tokens": _WRITE,
    "cache_creation_tokens": _WRITE,
    "cache_creation_input_tokens": _WRITE,
    "cached_creation_tokens": _WRITE,
    "cache_write_input_tokens": _WRITE,
}
"""
OpenAI's names; Claude's, which LiteLLM, Databricks and DashScope pass on (`cache_..._input_tokens`); DeepSeek's
(`prompt_cache_hit_tokens`), Mistral's (`num_cached_tokens`), and those of relays.
"""
_BESIDE = {**_CACHE_NAMES, "reasoning_tokens": _REASONING}
"""Counts that may stand beside the totals instead of in their details."""

_INPUT_DETAILS = {**_CACHE_NAMES, "audio_tokens": "input_audio_tokens", "image_tokens": "input_image_tokens"}
_OUTPUT_DETAILS = {
    "reasoning_tokens": _REASONING,
    "audio_tokens": "output_audio_tokens",
    "image_tokens": "output_image_tokens",
}
_KEPT_LONG = {"ephemeral_1h_input_tokens": "cache_write_1h_tokens", "ttl_12h_tokens": "cache_write_12h_tokens"}
"""Writes to a cache that keeps longer than minutes: Claude's, and OpenAI's."""

_DETAILS = {
    "prompt_tokens_details": _INPUT_DETAILS,
    "input_tokens_details": _INPUT_DETAILS,
    "input_token_details": _INPUT_DETAILS,
    "completion_tokens_details": _OUTPUT_DETAILS,
    "output_tokens_details": _OUTPUT_DETAILS,
    "output_token_details": _OUTPUT_DETAILS,
    "cached_tokens_details": {"cached_image_tokens": "cache_image_read_tokens"},
    "cache_creation": _KEPT_LONG,
}
_INNER = {
    "cache_write_tokens_details": _KEPT_LONG,
    "cache_creation_token_details": _KEPT_LONG,
    "cache_creation": _KEPT_LONG,
    "cached_tokens_details": {"audio_tokens": "cache_audio_read_tokens", "image_tokens": "cache_image_read_tokens"},
}
"""Details inside of details."""


def media_usage(usage: Any) -> dict[str, int] | None:
    """
    The counts of pictures and sound as they are said; `None` if there are none.

    Their totals say nothing more.
    """
    said = fields(usage)
    asked, given = _totals(said)
    if (asked is None and given is None) or min(asked or 0, given or 0) < 0:
        return None
    counts = {"input_tokens": asked or 0, "output_tokens": given or 0}
    _add(said, _BESIDE, _DETAILS, counts)
    return counts


def token_usage(usage: Any) -> dict[str, int] | None:
    """
    The counts of an operation that reads and writes text: `None` if there are none.

    Chat says `prompt_tokens`, Responses `input_tokens`, both with details.
    `total_tokens` shows what is billed beside the parts: cached input where it is as much as that, else output.
    A total that is not said, or leaves no room, changes nothing. `input_tokens` and `output_tokens` are missing where
    they are not known; with `total_tokens` in their place, they come to that together.
    """
    said = usage if type(usage) is dict else fields(usage)
    asked, given, total = said.get("prompt_tokens"), said.get("completion_tokens"), said.get("total_tokens")
    if asked is None and given is None:
        asked, given = said.get("input_tokens"), said.get("output_tokens")
    if not (type(asked) is int and type(given) is int and 0 < asked <= MOST and 0 < given <= MOST):
        return _odd_usage(said)
    if total != asked + given:
        return _odd_usage(said)
    counts = {"input_tokens": asked, "output_tokens": given}  # as nearly everybody says it
    _add(said, _BESIDE, _DETAILS, counts)
    if _READ in counts or _WRITE in counts:
        cached = counts.get(_READ, 0) + counts.get(_WRITE, 0)
        if cached > asked:
            counts["input_tokens"] += cached
    return counts


def _odd_usage(said: Mapping[str, Any]) -> dict[str, int] | None:
    """The same for a usage whose numbers have to be put together."""
    asked, given = _totals(said)
    total = number(said.get("total_tokens")) or 0
    if min(asked or 0, given or 0) < 0 or (asked is None and given is None and total <= 0):
        return None
    counts: dict[str, int] = {}
    _add(said, _BESIDE, _DETAILS, counts)
    sent, written = asked or 0, given or 0
    if sent or written:
        sent += _cached_beside(said, counts, sent, written, total)
    rest = max(total - sent - written, 0)
    if sent:
        counts["input_tokens"] = sent
        if given is not None or total > 0:
            counts["output_tokens"] = written + rest
    elif written:
        counts["output_tokens"] = written
        if rest:
            counts["input_tokens"] = rest
    elif total > 0:
        counts["total_tokens"] = total
    return counts


def _cached_beside(said: Mapping[str, Any], parts: Mapping[str, int], asked: int, given: int, total: int) -> int:
    """
    The cached input that the prompt's count leaves out, as Claude's own does: what is more than the prompt, and what
    the total counts beside it.
    """
    reads, writes = parts.get(_READ, 0), parts.get(_WRITE, 0)
    cached = reads + writes
    rest, thought = total - asked - given, parts.get(_REASONING, 0)
    if rest > 0 and rest != thought:
        for beside in (cached, reads, writes):
            if beside and rest - beside in (0, thought):
                return beside
    native = total <= 0 and "prompt_tokens" not in said and "input_tokens_details" not in said
    if cached > asked or (native and ("cache_read_input_tokens" in said or "cache_creation_input_tokens" in said)):
        return cached
    return 0


def _totals(said: Mapping[str, Any]) -> tuple[int | None, int | None]:
    """Input and output as they are said, by the larger of two names; below 0 for what makes no sense."""
    asked, given = number(said.get("prompt_tokens")), number(said.get("completion_tokens"))
    return _larger(asked, number(said.get("input_tokens"))), _larger(given, number(said.get("output_tokens")))


def _larger(first: int | None, second: int | None) -> int | None:
    return second if first is None else first if second is None else max(first, second)


def _add(
    said: Mapping[str, Any], kinds: Mapping[str, str], inner: Mapping[str, Mapping[str, str]], counts: dict[str, int]
) -> None:
    """
    Add the parts of the totals, each by the largest of the names that it is said by.

    `kinds` are the names that count here; `inner` are those of details, with the names in them.
    """
    for name, value in said.items():
        if not value:
            continue
        if name in inner:
            details = fields(value)
            if any(details.values()):
                _add(details, inner[name], _INNER, counts)
        elif name in kinds and (counted := number(value) or 0) > 0:
            kind = kinds[name]
            counts[kind] = max(counts.get(kind, 0), counted)
