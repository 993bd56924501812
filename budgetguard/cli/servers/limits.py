"""
What the options of `keys`, `teams` and `customers` say: limits, models, tags.

What is not said stays as it is, and an empty value ('') takes away what was there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import ConfigError
from ...money import Money
from ...reports.amounts import readable_in
from ..common.options import parse_tags
from ..common.show import console, moment, print_json
from ..common.tables import Column, table

if TYPE_CHECKING:
    from ...server.keys import Key, Owner
    from ...server.keys.limits import Allowance, OwnerLimits
    from ...server.keys.standings import LimitStanding

ModelsOption = Annotated[
    list[str] | None, typer.Option("--models", metavar="GLOB", help="Models that may be called: 'gpt-4o*', 'openai/*'.")
]
BudgetOption = Annotated[str | None, typer.Option("--budget", metavar="DOLLARS", help="Dollars for --period.")]
PeriodOption = Annotated[
    str | None, typer.Option("--period", help="daily, weekly, monthly, yearly, 'rolling 7d'; none: for ever.")
]
TimezoneOption = Annotated[str | None, typer.Option("--timezone", help="Where a day begins, such as Europe/Berlin.")]
ModelBudgetOption = Annotated[
    list[str] | None,
    typer.Option("--model-budget", metavar="GLOB=DOLLARS/PERIOD", help="Dollars for some models: 'o3*=1/daily'."),
]
RpmOption = Annotated[str | None, typer.Option("--rpm", metavar="N", help="Requests in any minute.")]
TpmOption = Annotated[str | None, typer.Option("--tpm", metavar="N", help="Tokens in any minute.")]
FallbackOption = Annotated[
    list[str] | None,
    typer.Option("--fallback", metavar="MODEL", help="Asked where dollars or tokens have no room; in order."),
]
WarnOption = Annotated[
    list[str] | None,
    typer.Option("--warn-at", metavar="PART", help="Tell somebody at 0.8 of a limit in dollars; may be repeated."),
]
DegradeOption = Annotated[
    str | None, typer.Option("--degrade-at", metavar="PART", help="From 0.8 of a limit on, ask --fallback at once.")
]
ParallelOption = Annotated[str | None, typer.Option("--parallel", metavar="N", help="Calls at once.")]


@dataclass(frozen=True, slots=True)
class SaidLimits:
    """The options that limit somebody, as they were typed."""

    budget: str | None
    period: str | None
    timezone: str | None
    model_budgets: Sequence[str]
    rpm: str | None
    tpm: str | None
    parallel: str | None
    fallback: Sequence[str] | None = None
    degrade_at: str | None = None
    warn_at: Sequence[str] | None = None

    def changed(self, old: OwnerLimits) -> OwnerLimits:
        """The limits with what was said; raises `ConfigError` for what is none."""
        from ...server.keys.limits import owner_limits

        dollars = [*self._in_all([each for each in old.dollars if not each.model])]
        dollars += _by_model([each for each in old.dollars if each.model], self.model_budgets)
        return owner_limits(
            dollars,
            rpm=_said(self.rpm, old.rpm),
            tpm=_said(self.tpm, old.tpm),
            parallel=_said(self.parallel, old.parallel),
            fallback=changed_texts(self.fallback, old.fallback),
            degrade_at=_part(self.degrade_at, old.degrade_at),
            warn_at=[_part(each, None) for each in changed_texts(self.warn_at, tuple(map(str, old.warn_at)))],
        )

    def _in_all(self, old: list[Allowance]) -> list[Allowance]:
        from ...server.keys.limits import allowance

        if self.budget == "":
            return []
        if self.budget is None and self.period is None and self.timezone is None:
            return old
        if self.budget is None and len(old) != 1:
            raise ConfigError("--period: say of which dollars, as in --budget 5 --period monthly")
        limit = Money(old[0].limit) if self.budget is None else self.budget
        period, timezone = (old[0].period, old[0].timezone) if len(old) == 1 else (None, None)
        return [allowance(limit, self.period or period, self.timezone or timezone)]


def _by_model(old: list[Allowance], said: Sequence[str]) -> list[Allowance]:
    from ...server.keys.limits import allowance

    for text in said:
        model, separator, rest = text.rpartition("=")
        limit, _, period = rest.partition("/")
        if not (separator and model):
            raise ConfigError(f"--model-budget {text!r}: write GLOB=DOLLARS/PERIOD, such as 'o3*=1/daily'")
        old = [each for each in old if each.model != model]
        old += [allowance(limit, period or None, model=model)] if limit else []
    return old


def _part(value: str | None, old: float | None) -> object:
    try:
        return old if value is None else float(value) if value else None
    except ValueError:
        return value


def _said(value: str | None, old: int | None) -> object:
    return old if value is None else value or None


def changed_texts(said: Sequence[str] | None, old: tuple[str, ...]) -> tuple[str, ...]:
    """Several values, each its own option or divided by commas, in place of those there were."""
    if said is None:
        return old
    return tuple(part.strip() for text in said for part in text.split(",") if part.strip())


def changed_tags(said: Sequence[str] | None, old: dict[str, str]) -> dict[str, str]:
    """The tags with those that were said; `NAME=` takes one away."""
    tags = {**old, **parse_tags(list(said or ()))}
    return {name: value for name, value in tags.items() if value}


def limits_in_short(limits: OwnerLimits) -> str:
    """Limits for people, in one cell of a table; "-" without any."""
    said = []
    for each in limits.dollars:
        amount = readable_in(each.limit, "dollars")
        said.append(f"{each.model + ': ' if each.model else ''}{amount} {each.period}")
    pairs = (limits.rpm, "rpm"), (limits.tpm, "tpm"), (limits.parallel, "at once")
    said += [f"{limit:,} {name}" for limit, name in pairs if limit is not None]
    part = "" if limits.degrade_at is None else f" from {limits.degrade_at:g} on"
    said += [f"tells at {', '.join(f'{part:g}' for part in limits.warn_at)}"] if limits.warn_at else []
    said += [f"else {', '.join(limits.fallback)}{part}"] if limits.fallback else []
    return ", ".join(said) or "-"


def print_shown(it: Key | Owner, standings: Sequence[LimitStanding] | None = None) -> None:
    """A key or an owner as JSON, with what was taken of the limits where that is known."""
    from ...server.keys import Key
    from ...server.keys.shown import shown_key, shown_owner, shown_standings

    told = shown_key(it) if isinstance(it, Key) else shown_owner(it)
    print_json(told if standings is None else {**told, "standings": shown_standings(standings)})


def print_standings(standings: Sequence[LimitStanding]) -> None:
    """What was taken of limits, for people."""
    columns = [
        Column("limit of"),
        Column("models", drop=3),
        Column("spent", number=True, drop=1),
        Column("held", number=True, drop=4),
        Column("limit", number=True),
    ]
    columns += [Column("left", number=True), Column("period", drop=2), Column("begins again", drop=5)]
    rows = []
    for each in standings:
        rule = each.rule
        amounts = [readable_in(amount, rule.unit) for amount in (each.taken, each.held, rule.limit, each.left)]
        of, models = f"{each.owner.tag} {each.owner.name}", rule.match.get("model", "all")
        rows.append([of, models, *amounts, rule.period.name, moment(each.resets_ms)])
    console().print(table(columns, rows) if rows else "Nothing is limited.")


def with_name(value: str | None, old: str | None) -> str | None:
    """A name in place of another; an empty one takes it away."""
    return old if value is None else value or None
