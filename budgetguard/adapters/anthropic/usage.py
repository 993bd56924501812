"""
Anthropic's usage objects, read as counts.

`input_tokens` there is what was neither read from a cache nor written to one; here it is all input. `output_tokens` has
thinking inside. What is not said stays out of the counts: it is unknown, not 0.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from ...calls import Usage
from ..common.bodies import text
from ..common.numbers import fields, number, number_of

TEXT_TOTALS = ("input_tokens", "output_tokens")

_READ = "cache_read_input_tokens"
_WRITTEN = "cache_creation_input_tokens"
_INPUT = ("input_tokens", _WRITTEN, _READ)


def token_usage(usage: Any) -> dict[str, int] | None:
    """The counts of a message; `None` if there are none, or some that make no sense."""
    said = fields(usage)
    plain, written, read = (number(said.get(name)) for name in _INPUT)
    output = number(said.get("output_tokens"))
    if all(count is None for count in (plain, written, read, output)):
        return None
    if min(plain or 0, written or 0, read or 0, output or 0) < 0:
        return None
    counts: dict[str, int] = {}
    wrote = _add_writes(said, written or 0, counts)
    if read:
        counts["cache_read_tokens"] = read
    if plain is not None and plain + wrote + (read or 0):
        counts["input_tokens"] = plain + wrote + (read or 0)
    if output is not None:
        counts["output_tokens"] = output
        if thought := number_of(said.get("output_tokens_details"), "thinking_tokens"):
            counts["output_reasoning_tokens"] = thought
    if searches := number_of(said.get("server_tool_use"), "web_search_requests"):
        counts["web_searches"] = searches
    return counts


def _add_writes(said: Mapping[str, Any], written: int, counts: dict[str, int]) -> int:
    """Add what was written to the cache; of what is not broken down, all is kept an hour where any of it is."""
    parts = said.get("cache_creation")
    short, long = number_of(parts, "ephemeral_5m_input_tokens"), number_of(parts, "ephemeral_1h_input_tokens")
    total = max(written, short + long)
    if total:
        counts["cache_write_tokens"] = total
    if long:
        counts["cache_write_1h_tokens"] = total - short
    return total


def unsaid(counts: Usage, wrote: bool) -> Sequence[str]:
    """What a usage lacks of its two totals. No output is no count of it where something was written."""
    return tuple(kind for kind in TEXT_TOTALS if kind not in counts or (wrote and not counts[kind]))


def answering(usage: Mapping[str, Any], model: str | None) -> str | None:
    """The model whose use the totals are: a stream begins with the one that was asked, and another may go on."""
    served = (text(said, "model") for said in _iterations(usage) if said.get("type") == "fallback_message")
    return next(served, None) or model


def beside(usage: Mapping[str, Any], model: str | None) -> tuple[tuple[str, Usage], ...]:
    """
    What other models, and summaries, used: entries of `iterations` that the totals leave out.

    Those of type "message" and "fallback_message" are in the totals, but for a model that declined to go on: what it
    had written is billed, at its own prices (https://github.com/BerriAI/litellm/pull/39294 compares a bill,
    2026-09-02). One that declined before it wrote anything is free (platform.claude.com, "Release notes").
    """
    also = []
    for said in _iterations(usage):
        kind, by = said.get("type"), text(said, "model") or model
        declined = kind == "message" and not _same(by, model) and number_of(said, "output_tokens") > 0
        if kind == "compaction":
            by = model
        if (kind in {"advisor_message", "compaction"} or declined) and by and (counts := token_usage(said)):
            also.append((by, counts))
    return tuple(also)


def _iterations(usage: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    entries = usage.get("iterations")
    return map(fields, entries if isinstance(entries, list | tuple) else ())


def _same(one: str | None, other: str | None) -> bool:
    """Whether two names are of one model: one of them may have a date."""
    return not one or not other or one.startswith(other) or other.startswith(one)


def completed(earlier: Mapping[str, Any], later: Any) -> dict[str, Any]:
    """
    The usage of a stream so far, with what a later event says of it: every count there is cumulative.

    What it does not say, or says to be null, stays. The three counts of the input go together: a part that is read
    from the cache at the end may have been plain input at the start. All of them at 0 say nothing.
    """
    said = {name: value for name, value in fields(later).items() if value is not None}
    if not any(number_of(said, name) for name in _INPUT):
        said = {name: value for name, value in said.items() if name not in _INPUT}
    return {**earlier, **said}
