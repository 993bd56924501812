"""
How the history comes into the cube: today's as it happens, the days before it once, the newest first.

Entries are in the order of their times, but those of several processes may land a moment out of order: each reading
begins a minute before the last, and knows by their ids the calls that it has. What changes later than that (a hold that
expired into a charge and is corrected, a lease that becomes smaller, books that are loaded) is found by comparing a day
with the store's own sums.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Final, NamedTuple

from ...concurrency.locks import mutex, take
from ...ledger import Entry, Millis, Query
from ..shown.figures import HistoryRead
from .blocks import HOUR_MS, Day, DayBlocks, Hour, RowPlace, day_of, start_of
from .check import Compared, check_day, check_span
from .cube import Cube
from .kept import blocks_of, find_day, first_day

OVERLAP_MS: Final[Millis] = 60_000
OVER_MS: Final[Millis] = 10 * 60_000
"""So long after midnight the day before is over."""
CHUNK: Final = 500
CHECK_S: Final = 20.0
"""In the background a day is compared with the store's sums so often."""
MOST_COMPARED: Final = 16
"""Times that are remembered with the store's sum of them."""
RECOUNT_S: Final = 60.0
"""Calls that came late have the last hours read again, no more often than this."""


class _Taken(NamedTuple):
    """A call that may be met again."""

    at_ms: Millis
    place: RowPlace


class HistoryReader:
    """Reads for one cube; one thread at a time, a piece after the other, so that it can be stopped at any moment."""

    def __init__(self, cube: Cube, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.cube = cube
        self._monotonic = monotonic
        self._turn = mutex("reading of the history")
        self._from_ms: Millis = 0
        self._taken: dict[str, _Taken] = {}
        self._open: Iterator[None] | None = None
        self._past: Iterator[None] | None = None
        self._opened = False
        """Whether all of the days that are not over was read once."""
        self._days = 0
        """How many days there were to read."""
        self._late = False
        self._recounted_s = -RECOUNT_S
        self._checked_s = self._monotonic()
        self._to_check: list[Day] = []
        self._compared: dict[tuple[Millis, Millis], tuple[Compared, float]] = {}

    def refresh(self, budget_s: float | None = None, *, check: bool = False) -> float:
        """
        Read for so long, `None`: to the end; the part of the history that is read.

        With `check` one of the days, each in its turn, is compared with the store's sums if none was lately. While
        another thread reads, that one's reading has to do: this one waits for it as long.
        """
        until_s = None if budget_s is None else self._monotonic() + budget_s
        if not take(self._turn, -1 if budget_s is None else budget_s):
            return self.read().done
        try:
            self._run(until_s)
            if check and self._monotonic() - self._checked_s >= CHECK_S and self.read().complete:
                self._check_next()
        finally:
            self._turn.release()
        return self.read().done

    def read(self) -> HistoryRead:
        """How much of the history there is."""
        missing = list(self.cube.missing)
        if not self._opened:
            return HistoryRead(False, 0.0, "reading the history: 0 %", self.cube.store.now_ms())
        if not missing:
            return HistoryRead()
        done = 1 - len(missing) / max(self._days, 1)
        return HistoryRead(False, done, f"reading the history: {100 * done:.0f} %", start_of(missing[-1] + 1))

    @property
    def hour(self) -> Hour:
        """The first hour that is not known to be complete."""
        return self._from_ms // HOUR_MS

    def check(self, since_ms: Millis, until_ms: Millis, *, age_s: float = 0.0) -> Compared:
        """
        Make sure that what was read of a time is what the store has; the store's own sum.

        To compare it the store adds up every entry of the time: what was compared so lately is not compared again.
        """
        with self._turn:
            self._run(None)
            asked, now_s = (since_ms, min(until_ms, self.hour * HOUR_MS)), self._monotonic()
            compared, at_s = self._compared.get(asked, (None, 0.0))
            if compared is None or now_s - at_s >= age_s:
                compared = check_span(self.cube, since_ms, until_ms, self._from_ms)
                if len(self._compared) >= MOST_COMPARED:
                    self._compared.clear()
                self._compared[asked] = compared, now_s
            return compared

    def _run(self, until_s: float | None) -> None:
        if self._open is None:
            self._open = self._read_open()
        if not self._spent(self._open, until_s):
            return
        self._open = None
        if self._past is None and self.cube.missing:
            self._past = self._read_past()
        if self._past is not None and self._spent(self._past, until_s):
            self._past = None

    def _spent(self, work: Iterator[None], until_s: float | None) -> bool:
        """Whether all of it was done in time."""
        return all(until_s is None or self._monotonic() < until_s for _ in work)

    # -- days that are not over ------------------------------------------------------------------------------------

    def _read_open(self) -> Iterator[None]:
        now_ms = self.cube.store.now_ms()
        if self.cube.open_from is None:
            self._begin(now_ms)
        entries = self.cube.store.entries(Query(since_ms=self._from_ms))
        while chunk := list(islice(entries, CHUNK)):
            with self.cube.locked():
                for entry in chunk:
                    self._take(entry)
            yield
        self._from_ms = max(self._from_ms, now_ms - OVERLAP_MS)
        self._taken = {name: taken for name, taken in self._taken.items() if taken.at_ms >= self._from_ms}
        if self._late and self._monotonic() - self._recounted_s >= RECOUNT_S:
            yield from self._recount()
        self._opened = True
        self._end_days()

    def _begin(self, now_ms: Millis) -> None:
        """Find out how long the history is."""
        store = self.cube.store
        opened = day_of(now_ms - OVER_MS)
        self._from_ms = start_of(opened)
        entry, kept = next(iter(store.entries(Query(limit=1))), None), first_day(store)
        firsts = [day_of(entry.at_ms)] if entry is not None else []
        firsts += [kept] if kept is not None else []
        with self.cube.locked():
            self.cube.open_from = opened
            self.cube.missing = list(range(min([*firsts, opened]), opened))
        self._days = len(self.cube.missing)

    def _take(self, entry: Entry) -> None:
        cube, there = self.cube, self._taken.get(entry.hold_id)
        if there is not None:
            if there.at_ms == entry.at_ms and there.place.packed == cube.kinds.pack(entry):
                return
            cube.day(day_of(there.at_ms)).take_back(there.place)
        elif "late" in entry.flags:
            self._late = True
        place = cube.day(day_of(entry.at_ms)).add(entry, cube.codes, cube.kinds)
        self._taken[entry.hold_id] = _Taken(entry.at_ms, place)

    def _recount(self) -> Iterator[None]:
        """Read this hour and the one before again: a call that came late may have been in them under another time."""
        assert self.cube.open_from is not None, "reading began"
        since_ms = max((self._from_ms // HOUR_MS - 1) * HOUR_MS, start_of(self.cube.open_from))
        days, taken = dict[Day, DayBlocks](), dict[str, _Taken]()
        entries = self.cube.store.entries(Query(since_ms=since_ms))
        while chunk := list(islice(entries, CHUNK)):
            for entry in chunk:
                with self.cube.locked():
                    day = day_of(entry.at_ms)
                    place = days.setdefault(day, DayBlocks(day)).add(entry, self.cube.codes, self.cube.kinds)
                taken[entry.hold_id] = _Taken(entry.at_ms, place)
            yield
        with self.cube.locked():
            for day in {*days, *[day for day in self.cube.known_days() if start_of(day + 1) > since_ms]}:
                there = self.cube.day(day)
                for hour in [hour for hour in there.hours if hour * HOUR_MS >= since_ms]:
                    del there.hours[hour]
                if day in days:
                    there.hours.update(days[day].hours)
        self._taken = {name: one for name, one in taken.items() if one.at_ms >= self._from_ms}
        self._late, self._recounted_s = False, self._monotonic()
        self._to_check += [day_of(since_ms) - 1, day_of(since_ms)]

    def _end_days(self) -> None:
        """Have the store keep the days that are over by now."""
        opened = self.cube.open_from
        assert opened is not None, "reading began"
        while start_of(opened + 1) + OVER_MS <= self._from_ms:
            check_day(self.cube, opened, self._from_ms)
            self.cube.keep(self.cube.day(opened), self._from_ms)
            opened += 1
            with self.cube.locked():
                self.cube.open_from = opened

    # -- days that are over ----------------------------------------------------------------------------------------

    def _read_past(self) -> Iterator[None]:
        cube = self.cube
        while cube.missing:
            day = cube.missing[-1]
            record = find_day(cube.store, day)
            with cube.locked():
                blocks = None if record is None else blocks_of(day, record.body, cube.codes, cube.kinds)
            if blocks is None:
                blocks = DayBlocks(day)
                entries = cube.store.entries(Query(since_ms=start_of(day), until_ms=start_of(day + 1)))
                while chunk := list(islice(entries, CHUNK)):
                    with cube.locked():
                        for entry in chunk:
                            blocks.add(entry, cube.codes, cube.kinds)
                    yield
                if blocks.hours:
                    cube.keep(blocks, cube.store.now_ms())
            with cube.locked():
                if blocks.hours:
                    cube.install(blocks)
                cube.missing.pop()
            yield

    def _check_next(self) -> None:
        """Compare one day, the newest first, and begin again behind the oldest."""
        self._to_check = self._to_check or self.cube.known_days()
        if self._to_check:
            check_day(self.cube, self._to_check.pop(), self._from_ms)
        self._checked_s = self._monotonic()
