"""What the views of money show: the overview, the explorer, and the statement of a month."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ...ledger import Millis
from ...money import Nano
from .budgets import BudgetShown
from .figures import Figures, Forecast, GroupShown, HistoryRead, Stacked


@dataclass(frozen=True, slots=True)
class RefusedSum:
    """What was refused: how often, and what the calls would have cost at most."""

    times: int = 0
    cost: Nano = 0
    """The projected cost of what budgets in dollars refused; those in other units count only as times."""
    busy: int = 0
    """How many of them found room that was only held by others."""


@dataclass(frozen=True, slots=True)
class Overview:
    """The first page: where we stand, where it will end, and who it is."""

    at_ms: Millis
    zone: str
    today: Figures
    yesterday: Figures
    """All of it."""
    month: Figures
    """To date."""
    last_month: Figures
    """All of it."""
    last_month_by_now: Figures
    """To the same day and hour."""
    forecast: Forecast
    """Of this month's cost."""
    tightest: BudgetShown | None
    """The budget that will be spent first, if one will be before it begins again: its `forecast.ends_ms` is when."""
    held: Nano
    holds: int
    refused: RefusedSum
    """This month."""
    without_user: Figures
    """Calls of this month that say no user."""
    by_day: Stacked
    """This month's days, stacked; days to come are there, with nothing."""
    behind: tuple[Nano, ...]
    """What each day of last month cost, from its first, as many as it has."""
    top: tuple[GroupShown, ...]
    """This month's dearest, with what they had cost by the same moment of last month."""
    other: GroupShown | None
    """All others together."""
    by: str
    read: HistoryRead


@dataclass(frozen=True, slots=True)
class ExploreQuery:
    """
    A question to the history.

    Each field of `by`, two at most, is "user", "model", "provider", "hour", "day", "week", "month" or the name of a
    tag. `only` has the values that a field may have, "" for calls without it. Times are whole hours.
    """

    by: tuple[str, ...] = ("model",)
    since_ms: Millis | None = None
    until_ms: Millis | None = None
    zone: str = "UTC"
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    top: int = 20
    """So many groups of each field that is no time; the rest is "other"."""
    before: bool = False
    """Whether to compare with the span of the same length before."""


@dataclass(frozen=True, slots=True)
class Explored:
    """The answer: groups, the dearest first, or in the order of time where the first field is one."""

    query: ExploreQuery
    groups: tuple[GroupShown, ...]
    other: GroupShown | None
    """What is beyond the top, together."""
    total: GroupShown
    count: int
    """How many groups there are, those in `other` included."""
    chart: Stacked | None
    """Where one of the fields is a time: what each span cost, stacked by the other field."""
    read: HistoryRead


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One line of a statement."""

    names: tuple[str, ...]
    cents: int
    """Rounded so that the lines add up to the total in cents: to the nearest, but for some that are one off."""
    figures: Figures


@dataclass(frozen=True, slots=True)
class Statement:
    """What a month cost, line by line, compared with the store's own sum before it is given out."""

    month: str
    """ "2026-11"."""
    zone: str
    by: tuple[str, ...]
    start_ms: Millis
    end_ms: Millis
    final: bool
    """Whether the month is over: later corrections of its entries still show."""
    lines: tuple[StatementLine, ...]
    total: Figures
    total_cents: int
    store_cost: Nano | None
    """What the store itself adds up to over the same time; `None`: some of its entries were pruned."""
    read: HistoryRead

    @property
    def agrees(self) -> bool:
        """Whether it is what the store says, to the nano-dollar, or cannot be compared any more."""
        return self.store_cost is None or self.store_cost == self.total.cost
