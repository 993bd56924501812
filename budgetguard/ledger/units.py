"""
Units: what an account counts. Dollars, the tokens that calls use, the calls themselves, or those in flight at once.

**The unit of an account is the end of its key**: `calls/ann/29x60000#requests`, `daily//2027-01-01#tokens`; a key that
ends in no unit is in dollars. So whoever knows a key, a file or another process included, knows what it counts, and no
two can disagree about it. (No name that a user chooses can end so: `budgets.rules.escape` writes "#" as "%23".)

A call is one request, unless something else is said; what it holds and uses of tokens has to be said. And it takes one
place among those in flight, "parallel", whatever is said: held from its reserve to its end, however it ends, and never
spent. So nothing of it is kept but the end of the key.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal, NamedTuple, TypeAlias

from ..money import format_nano

Unit: TypeAlias = Literal["dollars", "tokens", "requests", "parallel"]

Amounts: TypeAlias = Mapping[Unit, int]
"""How much in each unit: whole nano-dollars, whole tokens, whole requests, places."""

MARK: Final = "#"
USUAL: Final[Amounts] = MappingProxyType({"tokens": 0, "requests": 1, "parallel": 0})
"""What a call counts for beside dollars, where nothing is said."""

ELASTIC: Final[frozenset[Unit]] = frozenset({"dollars", "tokens"})
"""What a call can be made to use less of: it is one request and in flight, whatever it asks for."""

NOTHING_SAID: Final[Amounts] = MappingProxyType({})


class Wanted(NamedTuple):
    """How much of a unit a hold wants; see the fields of `Hold` that are called so."""

    amount: int
    least: int | None = None
    useful: int = 0


ONE_REQUEST: Final = Wanted(1)
ONE_PLACE: Final = Wanted(1)
NOTHING_WANTED: Final[Mapping[Unit, Wanted]] = MappingProxyType({})


def key_in(unit: Unit, key: str) -> str:
    """The key of an account that counts in a unit."""
    return key if unit == "dollars" else f"{key}{MARK}{unit}"


def unit_of(key: str) -> Unit:
    """What the account with this key counts."""
    if key.endswith("#tokens"):
        return "tokens"
    if key.endswith("#requests"):
        return "requests"
    return "parallel" if key.endswith("#parallel") else "dollars"


def while_held(amounts: Amounts) -> dict[Unit, int]:
    """Amounts as a call in flight holds them: with a place, where places are counted."""
    return {**amounts, "parallel": 1} if "parallel" in amounts else dict(amounts)


def once_booked(amounts: Amounts) -> dict[Unit, int]:
    """Amounts as they are booked: the place that a call had is nobody's."""
    return {**amounts, "parallel": 0} if "parallel" in amounts else dict(amounts)


def beside_dollars(amounts: Amounts) -> dict[Unit, int]:
    """What has to be said of the amounts of an entry beside dollars: what is not `USUAL`."""
    return {unit: amounts[unit] for unit, usual in USUAL.items() if amounts.get(unit, usual) != usual}


def show_amount(amount: int, unit: Unit) -> str:
    """An amount for people: "$0.0023", "1,200 tokens", "1 request", "4 calls at once"."""
    if unit == "dollars":
        return format_nano(amount)
    if unit == "parallel":
        return f"{amount:,} {'calls' if amount != 1 else 'call'} at once"
    return f"{amount:,} {unit if amount != 1 else unit[:-1]}"
