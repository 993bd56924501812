"""
The numbers of replies, of whatever type they are: counts, and the cost that a provider states itself.

A count may be text, null or negative. What makes no sense is not said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any

from ...calls import read

MOST = 10**12
"""Above every count of a real reply; keeps costs within 64 bits."""

_NANO = 1_000_000_000
_MOST_DOLLARS = 9_000_000
_NANO_A_TICK = Decimal("0.1")
"""xAI's `cost_in_usd_ticks`: 10**10 are a dollar."""

COSTS = frozenset({"cost", "estimated_cost", "cost_in_usd_ticks", "cost_details"})
"""The fields in which a cost is stated."""

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


def number_of(item: Any, name: str) -> int:
    """A count, within what a reply can mean; 0 where it is missing or makes no sense."""
    return max(number(read(item, name)) or 0, 0)


def number(value: Any) -> int | None:
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
