"""LiteLLM's fields of limits as what a key or an owner may come to, and back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from msgspec import UNSET

from ....budgets.rules import Budget
from ....errors import ConfigError
from ....ledger import Millis
from ....money import DOLLAR, Money
from ...api.dollars.fields import iso
from ...keys.limits import Allowance, OwnerKind, OwnerLimits, allowance, owner_limits, rules_of
from ...problems import Refused
from .durations import period_of
from .said import Limiting

_LENGTHS = {"daily": "1d", "weekly": "7d", "monthly": "30d", "yearly": "12mo"}
_WINDOW = {"budget_duration", "time_period", "max_budget", "budget_limit", "reset_at"}


def limits_with(before: OwnerLimits, said: Limiting) -> OwnerLimits:
    """
    Limits as they are with what was said of them: `null` takes one away, what was not said stays.

    Raises `Refused`, or `ConfigError`, for what cannot be.
    """
    main, windows = _split(before)
    by_model = [each for each in before.dollars if each.model]
    if said.budget_limits is not UNSET:
        windows = [_window(each, f"budget_limits[{place}]") for place, each in enumerate(said.budget_limits or ())]
    if said.model_max_budget is not UNSET:
        by_model = [_of_model(model, each) for model, each in (said.model_max_budget or {}).items()]
    return owner_limits(
        [each for each in (_main(main, said), *windows, *by_model) if each is not None],
        rpm=before.rpm if said.rpm_limit is UNSET else said.rpm_limit,
        tpm=before.tpm if said.tpm_limit is UNSET else said.tpm_limit,
        parallel=before.parallel if said.max_parallel_requests is UNSET else said.max_parallel_requests,
    )


def _split(limits: OwnerLimits) -> tuple[Allowance | None, list[Allowance]]:
    """What `max_budget` is, and what are further `budget_limits`."""
    known = [each for each in limits.dollars if not each.model]
    return (known[0], known[1:]) if known else (None, [])


def _main(before: Allowance | None, said: Limiting) -> Allowance | None:
    """The dollars of `max_budget` and `budget_duration`, either of which may have been said alone."""
    period = None if before is None else before.period
    if said.budget_duration is not UNSET:
        period = None if said.budget_duration is None else period_of(said.budget_duration, "budget_duration")
    if said.max_budget is UNSET:
        return None if before is None else replace(before, period=period or "forever")
    return None if said.max_budget is None else allowance(said.max_budget, period)


def _window(raw: Any, name: str, model: str = "") -> Allowance:
    """One of several budgets, in any spelling of LiteLLM's."""
    if isinstance(raw, int | float | str) and not isinstance(raw, bool):
        return allowance(raw, None, model=model)
    if not isinstance(raw, Mapping):
        raise Refused(422, f"{name}: an object with max_budget and budget_duration is needed", param=name)
    for other in set(raw) - _WINDOW:
        if raw[other] is not None:
            raise Refused(422, f"{name}.{other}: only dollars are limited so; give it for the whole key", param=name)
    limit, duration = raw.get("max_budget", raw.get("budget_limit")), raw.get("budget_duration", raw.get("time_period"))
    if limit is None or not isinstance(duration, str | None):
        raise Refused(422, f"{name}: max_budget in dollars, and budget_duration as text, are needed", param=name)
    return allowance(limit, None if duration is None else period_of(duration, f"{name}.budget_duration"), model=model)


def _of_model(model: str, raw: Any) -> Allowance:
    if not model:
        raise Refused(422, "model_max_budget: the name of a model is needed", param="model_max_budget")
    return _window(raw, f"model_max_budget[{model[:100]!r}]", model)


def following(limits: OwnerLimits, before: OwnerLimits, now: OwnerLimits) -> OwnerLimits:
    """
    Limits of somebody whose budget became another: each that is as the budget before had it, or is not there, becomes
    as the budget has it now. What is somebody's own stays.
    """
    own = [each for each in limits.dollars if each not in before.dollars]
    taken = {(each.period, each.model) for each in own}
    whole = any(not each.model for each in own)
    new = [each for each in now.dollars if (each.period, each.model) not in taken and not (whole and not each.model)]
    return owner_limits(
        [*own, *new],
        rpm=_following(limits.rpm, before.rpm, now.rpm),
        tpm=_following(limits.tpm, before.tpm, now.tpm),
        parallel=_following(limits.parallel, before.parallel, now.parallel),
    )


def _following(own: int | None, before: int | None, now: int | None) -> int | None:
    return now if own is None or own == before else own


def main_rule(kind: OwnerKind, limits: OwnerLimits) -> Budget | None:
    """The budget that `max_budget` is; `None` without one."""
    return next((rule for rule in rules_of(kind, limits) if rule.unit == "dollars" and not rule.match), None)


def shown_limits(limits: OwnerLimits, now_ms: Millis) -> dict[str, Any]:
    """Limits in LiteLLM's fields."""
    main, windows = _split(limits)
    made: dict[str, Any] = {
        **dollars_of(main, now_ms),
        "model_max_budget": {each.model: _window_of(each) for each in limits.dollars if each.model},
        "tpm_limit": limits.tpm,
        "rpm_limit": limits.rpm,
        "max_parallel_requests": limits.parallel,
    }
    return {**made, "budget_limits": [_window_of(each) for each in windows]} if windows else made


def dollars_of(main: Allowance | None, now_ms: Millis) -> dict[str, Any]:
    """`max_budget` and when it begins again."""
    if main is None:
        return {"max_budget": None, "budget_duration": None, "budget_reset_at": None}
    resets_ms = Budget("key", Money(main.limit), main.period, timezone=main.timezone).window(now_ms).resets_ms
    return {
        "max_budget": main.limit / DOLLAR,
        "budget_duration": duration_of(main.period),
        "budget_reset_at": None if resets_ms is None else iso(resets_ms),
    }


def _window_of(each: Allowance) -> dict[str, Any]:
    return {"max_budget": each.limit / DOLLAR, "budget_duration": duration_of(each.period)}


def duration_of(period: str) -> str | None:
    """A period as LiteLLM writes it; `None` for ever."""
    return None if period == "forever" else _LENGTHS.get(period, period.removeprefix("rolling "))


def sum_of_money(value: object, name: str) -> int:
    """Dollars that were spent elsewhere, in nano-dollars; raises `Refused` (422)."""
    try:
        return allowance(0 if value is None else value).limit
    except ConfigError as error:
        raise Refused(422, f"{name}: {str(error).partition(': ')[2] or error}", param=name) from None


def require_same_spend(said: object, spend: float) -> None:
    """Raise `Refused` (422) where somebody says that another sum was spent: the books are changed by calls only."""
    if sum_of_money(said, "spend") != sum_of_money(spend, "spend"):
        told = "what was spent is not unsaid. Raise max_budget, or make a new one"
        raise Refused(422, f"spend: {told}.", param="spend")
