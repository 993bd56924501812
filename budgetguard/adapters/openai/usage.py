"""
Usage objects, of OpenAI and of everybody who answers in its format, read as counts and a stated cost.

Counts may be text, null, negative or left out; cached input may stand inside the prompt's count or beside it, reasoning
inside the completion's or only in the total. What is not said stays out of the counts: it is unknown, not 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any

from ...calls import read

MOST = 10**12
"""Above every count of a real reply; keeps costs within 64 bits."""

TEXT_TOTALS = ("input_tokens", "output_tokens")

_NANO = 1_000_000_000
_MOST_DOLLARS = 9_000_000
_NANO_A_TICK = Decimal("0.1")
"""xAI's `cost_in_usd_ticks`: 10**10 are a dollar."""

COSTS = frozenset({"cost", "estimated_cost", "cost_in_usd_ticks", "cost_details"})
"""The fields in which a cost is stated."""

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
}
"""Details inside of details."""

_FAR = Decimal(10) ** 30


def fields(item: Any, names: Sequence[str] = ()) -> Mapping[str, Any]:
    """All fields of plain JSON or of an SDK object; of another object its own attributes, or those of these names."""
    if type(item) is dict:
        return item
    try:
        own, extra = item.__dict__, item.__pydantic_extra__
    except AttributeError:
        if names:
            return {name: read(item, name) for name in names}
        own, extra = getattr(item, "__dict__", None), None
    if type(own) is not dict:
        return item if isinstance(item, Mapping) else {}
    return {**own, **extra} if extra and isinstance(extra, dict) else own


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
    total = _number(said.get("total_tokens")) or 0
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
    asked, given = _number(said.get("prompt_tokens")), _number(said.get("completion_tokens"))
    return _larger(asked, _number(said.get("input_tokens"))), _larger(given, _number(said.get("output_tokens")))


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
            _add(fields(value), inner[name], _INNER, counts)
        elif name in kinds and (number := _number(value) or 0) > 0:
            kind = kinds[name]
            counts[kind] = max(counts.get(kind, 0), number)


def number_of(item: Any, name: str) -> int:
    """A count, within what a reply can mean; 0 where it is missing or makes no sense."""
    return max(_number(read(item, name)) or 0, 0)


def _number(value: Any) -> int | None:
    """A count, rounded up; `None` for what is no number."""
    if type(value) is int:
        return value if value <= MOST else MOST
    exact = _decimal(value)
    if exact is None:
        return None
    return int(min(max(exact, -_FAR), Decimal(MOST)).to_integral_value(ROUND_CEILING))


def _decimal(value: Any) -> Decimal | None:
    """A finite number, be it text."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    text = value.strip().removeprefix("$") if isinstance(value, str) else str(value)
    try:
        exact = Decimal(text[:64])
    except InvalidOperation:
        return None
    return exact if exact.is_finite() else None


# --- over the items of a stream


def merged(old: Mapping[str, Any], new: Any) -> dict[str, Any]:
    """
    Two usage objects of one answer, the later of which completes the earlier: the larger of two numbers, and of
    everything else what was said last.
    """
    whole = dict(old)
    for name, value in fields(new).items():
        if value is None:
            continue
        before = whole.get(name)
        inner = value if isinstance(value, bool | int | float | str) else fields(value)
        if before is None:
            whole[name] = inner or value
        elif isinstance(before, Mapping) and isinstance(inner, Mapping):
            whole[name] = merged(before, inner)
        elif isinstance(value, bool) or not _is_less(value, before):
            whole[name] = inner or value
    return whole


def _is_less(value: Any, than: Any) -> bool:
    later, earlier = _decimal(value), _decimal(than)
    return later is not None and earlier is not None and later < earlier


# --- what a provider says that it costs


def stated_cost(usage: Any) -> tuple[int | None, int]:
    """
    The cost that a provider states, in nano-dollars, and a fee that comes on top of the usage where only that is said.

    `cost` is a number (OpenRouter, a LiteLLM proxy), text, or an object (Perplexity); xAI says ticks, DeepInfra
    `estimated_cost`. With a key of one's own, OpenRouter's `cost` is its fee, beside the upstream's bill: where that
    is not said, the usage is priced. A stated 0 says nothing: proxies put it where they know no price.
    """
    said = usage if type(usage) is dict else fields(usage)
    if COSTS.isdisjoint(said):
        return None, 0
    cost = _dollars(said.get("cost")) or _dollars(said.get("estimated_cost")) or _ticks(said.get("cost_in_usd_ticks"))
    upstream = _dollars(read(said.get("cost_details"), "upstream_inference_cost"))
    own_key = said.get("is_byok")
    if own_key is True and not upstream:
        return None, cost
    # Where it is not said whose key it was: a fee is a few percent of the upstream's bill, a price is all of it.
    if own_key is True or (own_key is None and cost < upstream):
        cost += upstream
    return cost or None, 0


def _dollars(value: Any) -> int:
    """Dollars in nano-dollars, also the sum in an object of costs; 0 for what is no amount."""
    if value is None or isinstance(value, int | float | str | Decimal):
        return _nano(_decimal(value), _NANO)
    parts = {name: _nano(_decimal(part), _NANO) for name, part in fields(value).items() if name.endswith("_cost")}
    return parts.get("total_cost") or sum(parts.values())


def _ticks(value: Any) -> int:
    return _nano(_decimal(value), _NANO_A_TICK)


def _nano(amount: Decimal | None, nano: int | Decimal) -> int:
    """An amount times its unit in nano-dollars, rounded up; 0 where it cannot be one."""
    if amount is None or not 0 <= amount <= _FAR or amount * nano > _MOST_DOLLARS * _NANO:
        return 0
    return int((amount * nano).to_integral_value(ROUND_CEILING))
