"""
New lines as they come, from any process on the store: none twice, none lost.

Entries of several processes land out of order: one that took its time first may be written last. So each look begins
some seconds before the last one, and knows what it has by the ids. Every few seconds the store's own sum of the last
minutes is compared with the sum of what was seen of them; where they differ, all of it is read again. What lands later
than that is not followed.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from ...ledger import Entry, Millis, RecordQuery, Store, id_at
from ...money import Nano
from ...reports.shown.lists import RefusalShown
from ...reports.views.calls import call_shown
from ...reports.views.records import refusal_shown
from .newest import REFUSAL, Logged, LogQuery, place

TAIL_MS: Final[Millis] = 10_000
"""What a look reads again: refusals that are alike are counted up for some seconds."""
SWEPT_MS: Final[Millis] = 5 * 60_000
"""So late a line may land."""
SWEEP_S: Final = 5.0
KEPT: Final = 100_000
"""Ids that are known at least, as a clock may be set back."""


class _Seen(NamedTuple):
    """A call as it was when it was seen; one that was corrected since is another."""

    at_ms: Millis
    cost: Nano


class _Look(NamedTuple):
    """What one look found; nothing is marked as seen before all of it was read."""

    now_ms: Millis
    calls: Sequence[Entry]
    refusals: Sequence[RefusalShown]
    swept: bool


class Follower:
    """What was seen of one store. `monotonic` says when it is time to sweep."""

    def __init__(self, store: Store, query: LogQuery, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._query = query
        self._monotonic = monotonic
        self._calls: dict[str, _Seen] = {}
        self._times: dict[str, int] = {}
        """How many of each refusal were told."""
        self._read_ms = self._swept_ms = store.now_ms()
        self._swept_s = monotonic()

    def begin(self) -> None:
        """Take what is there as seen."""
        since_ms = self._read_ms - 2 * SWEPT_MS  # more than is looked at: a clock may be set back a little
        self._take(_Look(self._read_ms, self._entries(since_ms), self._refusals(since_ms), swept=True))

    def skip(self, lines: Iterable[Logged]) -> None:
        """Take these as seen, too: they were shown."""
        for line in lines:
            if isinstance(line, RefusalShown):
                self._times[line.id] = max(line.times, self._times.get(line.id, 0))
            else:
                self._calls[line.id] = _Seen(line.at_ms, line.cost)

    def poll(self) -> list[Logged]:
        """What is new, in the order of time. Raises `StoreError`: nothing is lost by it, the next look has it."""
        return sorted(self._take(self._look()), key=place)

    def _look(self) -> _Look:
        now_ms = self._store.now_ms()
        since_ms = min(now_ms, self._read_ms) - TAIL_MS
        if self._monotonic() - self._swept_s < SWEEP_S:
            return _Look(now_ms, self._entries(since_ms), self._refusals(since_ms), swept=False)
        begin_ms = min(now_ms, self._swept_ms) - SWEPT_MS
        late = () if self._agrees(begin_ms, since_ms) else self._entries(begin_ms, since_ms)
        return _Look(now_ms, [*late, *self._entries(since_ms)], self._refusals(begin_ms), swept=True)

    def _entries(self, since_ms: Millis, until_ms: Millis | None = None) -> Sequence[Entry]:
        return list(self._store.entries(self._query.asked(since_ms, until_ms))) if self._query.calls else ()

    def _agrees(self, since_ms: Millis, until_ms: Millis) -> bool:
        """Whether the calls of some time add up to what was seen of it."""
        if not self._query.calls:
            return True
        totals = self._store.totals((), self._query.asked(since_ms, until_ms))
        seen = [each.cost for each in self._calls.values() if since_ms <= each.at_ms < until_ms]
        return ([(total.calls, total.cost) for total in totals] or [(0, 0)]) == [(len(seen), sum(seen))]

    def _refusals(self, since_ms: Millis) -> Sequence[RefusalShown]:
        if not self._query.refusals:
            return ()
        return list(map(refusal_shown, self._store.noted(RecordQuery(REFUSAL, after=id_at(since_ms)))))

    def _take(self, look: _Look) -> list[Logged]:
        found: list[Logged] = []
        for entry in look.calls:
            seen = _Seen(entry.at_ms, entry.cost)
            if self._calls.get(entry.hold_id) != seen:
                self._calls[entry.hold_id] = seen
                if self._query.takes(entry):
                    found.append(call_shown(entry))
        for refusal in look.refusals:
            told = self._times.get(refusal.id, 0)
            if refusal.times > told:
                self._times[refusal.id] = refusal.times
                if self._query.takes_refusal(refusal):
                    found.append(_rest_of(refusal, told))
        self._read_ms = look.now_ms
        if look.swept:
            self._swept_ms, self._swept_s = look.now_ms, self._monotonic()
            self._forget(look.now_ms - 2 * SWEPT_MS)
        return found

    def _forget(self, before_ms: Millis) -> None:
        """Let go of the oldest ids, down to so many."""
        if len(self._calls) > KEPT:
            kept = dict(list(self._calls.items())[-KEPT:])
            self._calls = kept | {name: seen for name, seen in self._calls.items() if seen.at_ms >= before_ms}
        if len(self._times) > KEPT:
            self._times = _newest_of(self._times, id_at(before_ms))


def _rest_of(refusal: RefusalShown, told: int) -> RefusalShown:
    """Those of alike refusals that were not told yet."""
    return replace(refusal, times=refusal.times - told, at_ms=refusal.last_ms) if told else refusal


def _newest_of(times: Mapping[str, int], least: str) -> dict[str, int]:
    return {name: count for name, count in times.items() if name >= least}
