"""
What several views show: what calls add up to, by whom and when, and how much of the history was read for it.

Every amount is a whole number: nano-dollars unless a `unit` beside it says otherwise. Formatting is the reader's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields

from ...ledger import Millis
from ...money import Nano


@dataclass(frozen=True, slots=True)
class Figures:
    """What calls add up to. A call is an entry of the history: one hold that was settled, whatever became of it."""

    cost: Nano = 0
    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    estimated: int = 0
    """How many of the calls were settled on an estimate, as no usage was reported."""
    cut: int = 0
    """How many answers ended at an output cap that a budget added."""
    fallback: int = 0
    """How many went to another model than was asked for, as that one did not fit."""
    late: int = 0
    expired: int = 0
    unpriced: int = 0
    usage: Mapping[str, int] = field(default_factory=dict)
    """Tokens, and whatever else is billed, by kind: all that the entries say, the two above among them."""

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


NO_FIGURES = Figures()


def sum_of_figures(all_of: Sequence[Figures]) -> Figures:
    """What several come to together."""
    counted = [each.name for each in fields(Figures) if each.name != "usage"]
    usage: dict[str, int] = {}
    for one in all_of:
        for kind, count in one.usage.items():
            usage[kind] = usage.get(kind, 0) + count
    return Figures(**{name: sum([getattr(one, name) for one in all_of]) for name in counted}, usage=usage)


@dataclass(frozen=True, slots=True)
class HistoryRead:
    """How much of the history is in the figures of a view: all of it, but while it is read for the first time."""

    complete: bool = True
    done: float = 1.0
    """The part of the time that is read, from 0 to 1."""
    text: str = ""
    """ "reading the history: 43 %"; "" once it is complete."""
    since_ms: Millis | None = None
    """Before this moment nothing is known yet; `None`: nothing is missing."""


@dataclass(frozen=True, slots=True)
class GroupShown:
    """One group of calls: its names, in the order of what was grouped by, and its figures."""

    names: tuple[str, ...]
    """ "" where a call has no such tag."""
    figures: Figures
    share: float = 0.0
    """Its part of the cost of the whole, from 0 to 1; 0 where nothing was spent."""
    before: Figures | None = None
    """The same in the span before, where that was asked for."""

    @property
    def change(self) -> float | None:
        """What the cost changed by since the span before, as a part of that: 0.5 is half more; `None`: it was 0."""
        if self.before is None or not self.before.cost:
            return None
        return (self.figures.cost - self.before.cost) / self.before.cost


@dataclass(frozen=True, slots=True)
class Bucket:
    """One span of time on a chart, [start_ms, end_ms), and what each series cost in it."""

    label: str
    """ "2026-11-29", "2026-11-29 14:00", "2026-W48", "2026-11"."""
    start_ms: Millis
    end_ms: Millis
    costs: tuple[Nano, ...]
    """By series, in the order of `Stacked.names`."""
    figures: Figures


@dataclass(frozen=True, slots=True)
class Stacked:
    """Spend over time, stacked by one field: its largest groups, and the rest as the last series."""

    by: str
    """ "model", "user", "provider", or the name of a tag."""
    names: tuple[str, ...]
    """Of the series, the dearest first; without the rest."""
    other: bool
    """Whether the last of the costs of each bucket is that of all others together."""
    buckets: tuple[Bucket, ...]


@dataclass(frozen=True, slots=True)
class Forecast:
    """What a span that is not over will come to, in the unit of what it is of. The method is in docs/reports.md."""

    amount: int | None
    """At the end of the span; `None`: too little of it is over to say (less than an hour)."""
    spent: int
    rate_per_day: int
    """What it is taken to be spent from now on, a day."""
    days: float
    """Of how many days the rate is the mean."""
    end_ms: Millis | None
    ends_ms: Millis | None = None
    """When a limit will be reached at this rate, if that is before the end of the span; `None`: it is not."""
