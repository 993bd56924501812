"""
Old entries go, and the sums of their days stay: what has to be so before entries are pruned.

A day's sums are kept in the store once it is over. So whoever prunes reads the history to its end first, compares it
with the store's own sums, and looks whether each day is there; only then the entries may go, by whole days of UTC.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

from ..errors import ConfigError, StoreError
from ..ledger import Millis, Query, RecordQuery, Store
from ..money import Nano
from ..stores.encoding import day_text
from .cube.blocks import Day, day_of, start_of
from .cube.kept import KIND
from .cube.reading import OVER_MS, HistoryReader

HearPruned: TypeAlias = Callable[[float], object]
"""It hears which part of the work is done, from 0 to 1."""

STEPS: Final = 50
"""A long history goes in so many steps, between which it can be stopped."""
_MOMENT_S: Final = 0.2


class OldEntries(NamedTuple):
    """The entries of a store from before a day."""

    before_ms: Millis
    """The beginning of that day, in UTC."""
    first_ms: Millis | None
    """When the oldest was; `None`: there are none."""
    calls: int
    cost: Nano


def old_entries(store: Store, before_ms: Millis) -> OldEntries:
    """What there is to prune; raises `ConfigError` for a time that includes a day which is not over."""
    before, over = day_of(before_ms), day_of(store.now_ms() - OVER_MS)
    if before > over:
        raise ConfigError(
            f"{day_text(before)}: only days that are over can be pruned: name {day_text(over)}, or a day before it"
        )
    cut_ms = start_of(before)
    first = next(iter(store.entries(Query(until_ms=cut_ms, limit=1))), None)
    total = next(iter(store.totals((), Query(until_ms=cut_ms))), None) if first is not None else None
    if first is None or total is None:
        return OldEntries(cut_ms, None, 0, 0)
    return OldEntries(cut_ms, first.at_ms, total.calls, total.cost)


def keep_sums(reader: HistoryReader, old: OldEntries, told: HearPruned) -> None:
    """
    Have the store keep the sums of these entries' days, and see that it has; then they may be pruned.

    Raises `StoreError` if it has not.
    """
    if old.first_ms is None:
        return
    while (done := reader.refresh(_MOMENT_S)) < 1:
        told(done)
    reader.check(old.first_ms, old.before_ms)
    store = reader.cube.store
    asked = RecordQuery(KIND, after=day_text(day_of(old.first_ms) - 1), before=day_text(day_of(old.before_ms)))
    kept = {record.id for record in store.noted(asked)}
    for day in range(day_of(old.first_ms), day_of(old.before_ms)):
        if day_text(day) not in kept and _has_entries(store, day):
            raise StoreError(f"the store does not keep the sums of {day_text(day)}, so nothing was pruned")


def prune(store: Store, old: OldEntries, told: HearPruned = lambda done: None) -> int:
    """Prune these entries, the oldest first; how many went. What is older than they are of other records goes, too."""
    first_ms = old.before_ms if old.first_ms is None else old.first_ms
    days = day_of(old.before_ms) - day_of(first_ms)
    went, step = 0, max(days // STEPS, 1)
    for day in range(day_of(first_ms) + step, day_of(old.before_ms), step):
        went += store.prune(start_of(day))
        told((day - day_of(first_ms)) / days)
    return went + store.prune(old.before_ms)


def _has_entries(store: Store, day: Day) -> bool:
    asked = Query(since_ms=start_of(day), until_ms=start_of(day + 1), limit=1)
    return next(iter(store.entries(asked)), None) is not None
