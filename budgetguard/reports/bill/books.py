"""The books' side of a bill: entries of one provider, by day and model."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ...ledger import Entry
from .facts import BooksSide
from .pricing import BillPrices, day_at

BilledPlace: TypeAlias = tuple[str, str]
"""A day and a model; "": tools and fees."""
_MARKS: Final = ("estimated", "expired", "late", "unpriced", "manual")


@dataclass(slots=True)
class _Sums:
    """The entries of a day that have one provider, model and kind, added up."""

    cost: int = 0
    calls: int = 0
    usage: Counter[str] = field(default_factory=Counter)
    marks: Counter[str] = field(default_factory=Counter)


class EntrySums:
    """Reads entries one by one, and says both sides of them by day and model."""

    def __init__(self, provider: str, prices: BillPrices, *, fees_apart: bool) -> None:
        self._provider = provider
        self._prices = prices
        self._fees_apart = fees_apart
        self._sums: dict[tuple[str, str, str, str], _Sums] = {}
        self._fees: Counter[str] = Counter()
        self.nameless = 0
        """Calls that name no provider, and are taken for this one's, as it sells their model."""

    def read(self, entries: Iterable[Entry]) -> EntrySums:
        """Add entries up; those of other providers are left out."""
        for entry in entries:
            if self._is_ours(entry):
                self._add(entry)
        return self

    def sides(self) -> Mapping[BilledPlace, BooksSide]:
        """By day and model."""
        found: dict[BilledPlace, BooksSide] = {}
        for (day, provider, model, kind), sums in self._sums.items():
            place = (day, self._prices.name(model))
            side = self._side(day, provider, model, kind, sums)
            found[place] = found.get(place, BooksSide()).plus(side)
        for day, cost in self._fees.items():  # their calls are counted where their models are
            found[day, ""] = found.get((day, ""), BooksSide()).plus(BooksSide(exact=cost))
        return found

    def _is_ours(self, entry: Entry) -> bool:
        if entry.provider:
            return entry.provider.partition("/")[0] == self._provider
        ours = bool(entry.model) and self._prices.sold(entry.model)
        self.nameless += ours
        return ours

    def _add(self, entry: Entry) -> None:
        day, kind = day_at(entry.at_ms), _kind(entry)
        sums = self._sums.setdefault((day, entry.provider, entry.model, kind), _Sums())
        cost = entry.cost
        if self._fees_apart and kind == "exact":
            fees = min(self._prices.tools(entry.provider, entry.model, day, entry.usage), cost)
            if fees:
                self._fees[day] += fees
                cost -= fees
        sums.cost += cost
        sums.calls += entry.amounts()["requests"]
        sums.usage.update(entry.usage)
        for mark in _MARKS:
            if mark in entry.flags:
                sums.marks[mark] += 1

    def _side(self, day: str, provider: str, model: str, kind: str, sums: _Sums) -> BooksSide:
        listed = self._prices.listed(provider, model, day, sums.usage)
        sure = kind in {"exact", "unpriced"}
        return BooksSide(
            exact=sums.cost if sure else 0,
            listed=(listed or 0) if kind == "exact" else 0,
            worth=(listed or 0) if kind == "unpriced" else 0,
            estimated=sums.cost if kind == "estimated" else 0,
            expired=sums.cost if kind == "expired" else 0,
            unlisted=sums.calls if listed is None else 0,
            calls=sums.calls,
            input_tokens=sums.usage["input_tokens"] if sure else 0,
            output_tokens=sums.usage["output_tokens"] if sure else 0,
            marks=dict(sums.marks),
        )


def _kind(entry: Entry) -> str:
    """What is known of an entry's cost."""
    for mark in ("expired", "unpriced", "estimated"):
        if mark in entry.flags:
            return mark
    return "exact"
