"""
What the calls of a key, a team, a user or a customer may come to, and the budgets that hold them to it.

The budgets are rules as any other, so a limit is as hard over a fleet as the store that counts it: a rate is a budget
of requests or tokens in a rolling minute, `parallel` one of the calls that are open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, TypeAlias

from ...budgets.periods import Period
from ...budgets.rules import Budget
from ...budgets.said.checks import parse_limit, require_fraction, require_fractions, require_models
from ...errors import ConfigError
from ...ledger import Unit
from ...money import Money, Nano, parse_dollars
from .models import require_glob

OwnerKind: TypeAlias = Literal["key", "team", "user", "end_user"]
"""Who has limits: the tag of calls that says whose they are."""

RATE = "rolling 1m"
"""The period of a limit a minute."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """Dollars for a period, of all models or of those that a glob names."""

    limit: Nano
    period: str = "forever"
    timezone: str = "UTC"
    model: str = ""
    """A glob of models; "": all together."""


@dataclass(frozen=True, slots=True)
class OwnerLimits:
    """What calls may come to; what is `None`, or not there, is not limited."""

    dollars: tuple[Allowance, ...] = ()
    rpm: int | None = None
    """Requests in any minute."""
    tpm: int | None = None
    """Tokens in any minute."""
    parallel: int | None = None
    """Calls at once."""
    fallback: tuple[str, ...] = ()
    """Models that are asked where one of these has no room for dollars or tokens."""
    degrade_at: float | None = None
    """The part of such a limit from which on they are asked at once."""
    warn_at: tuple[float, ...] = ()
    """The parts of a limit in dollars at which somebody is told."""


NO_LIMITS = OwnerLimits()


def allowance(limit: object, period: str | None = None, timezone: str | None = None, model: str = "") -> Allowance:
    """Dollars (a number, or text such as "5") for a period, checked; raises `ConfigError` for what is none."""
    if model:
        require_glob(model)
    parsed = Period.parse(period, timezone)
    return Allowance(parse_dollars(limit, name="budget"), parsed.name, parsed.timezone, model)


def owner_limits(
    dollars: Iterable[Allowance] = (),
    *,
    rpm: object = None,
    tpm: object = None,
    parallel: object = None,
    fallback: object = (),
    degrade_at: object = None,
    warn_at: object = (),
) -> OwnerLimits:
    """Limits, checked: raises `ConfigError` that names what is wrong."""
    known = tuple(dollars)
    for (period, model), times in Counter((each.period, each.model) for each in known).items():
        if times > 1:
            told = f" for {model!r}" if model else ""
            raise ConfigError(f"budget: there are {times} for the period {period!r}{told}; give one of each period")
    rates = _whole(rpm, "rpm", "requests"), _whole(tpm, "tpm", "tokens"), _whole(parallel, "parallel", "parallel")
    part = None if degrade_at is None else require_fraction(degrade_at, "degrade_at")
    warned = require_fractions(warn_at, "warn_at")
    made = OwnerLimits(known, *rates, require_models(fallback, "fallback"), part, warned)
    if part is not None and not made.fallback:
        raise ConfigError(f"degrade_at={degrade_at!r}: say which model is asked from then on, as in fallback=...")
    rules_of("key", made)  # what no budget can be made of is said now
    return made


@lru_cache(maxsize=16_384)
def rules_of(kind: OwnerKind, limits: OwnerLimits) -> tuple[Budget, ...]:
    """
    The budgets of everybody of a kind who has these limits, each counting by the kind's tag; the same ones each time.

    What was spent stays when a limit changes; with another period, or another glob of models, it is counted anew.
    """
    rules = [_dollars(kind, each, limits) for each in limits.dollars]
    counted: list[tuple[int | None, Any, str | None]] = [
        (limits.rpm, "requests", RATE),
        (limits.tpm, "tokens", RATE),
        (limits.parallel, "parallel", None),
    ]
    for limit, unit, period in counted:
        if limit is not None:
            others, part = (limits.fallback, limits.degrade_at) if unit == "tokens" else ((), None)
            rules.append(Budget(kind, limit, period, per=(kind,), unit=unit, fallback=others, degrade_at=part))
    return tuple(rules)


def _dollars(kind: OwnerKind, each: Allowance, limits: OwnerLimits) -> Budget:
    return Budget(
        f"{kind} {each.model}" if each.model else kind,
        Money(each.limit),
        Period(each.period, each.timezone),
        match={"model": each.model} if each.model else None,
        per=(kind,),
        fallback=limits.fallback,
        degrade_at=limits.degrade_at,
        warn_at=limits.warn_at,
        on_expire="charge",  # a call of a gateway that was killed may have been answered
    )


def _whole(value: object, name: str, unit: Unit) -> int | None:
    return None if value is None else parse_limit(value, unit, name=name)
