"""The cube of one store: days in memory, the least used of which are let go of, and what is known of the history."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ...concurrency.locks import mutex
from ...errors import StoreError
from ...ledger import Millis, Query, Store
from .blocks import DAY_HOURS, Day, DayBlocks, Hour, HourBlock, bounds_of
from .codes import AllCodes
from .kept import blocks_of, find_day, record_of
from .packed import UsageKinds

log = logging.getLogger("budgetguard")

MOST_ROWS: Final = 2_000_000
"""Rows in memory, of about a hundred bytes each."""


class Cube:
    """Everything that is looked at or changed under one lock: a question sees one state of all of it."""

    def __init__(self, store: Store, *, most_rows: int = MOST_ROWS) -> None:
        self.store = store
        self.codes = AllCodes()
        self.kinds = UsageKinds()
        self.most_rows = most_rows
        self._lock = mutex("cube of the history")
        self._days: OrderedDict[Day, DayBlocks] = OrderedDict()
        """Those in memory, the least used first."""
        self._resting: set[Day] = set()
        """Days that only the store has, as a record."""
        self.open_from: Day | None = None
        """The first day that is not over; `None` until reading began."""
        self.missing: list[Day] = []
        """Days that are still to be read, the newest last."""
        self._told = False

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Nothing changes meanwhile."""
        with self._lock:
            yield

    def day(self, day: Day) -> DayBlocks:
        """A day to add to; made if need be."""
        blocks = self._find(day)
        if blocks is None:
            blocks = self._days[day] = DayBlocks(day)
        return blocks

    def known_days(self) -> list[Day]:
        """All days that have rows, in order."""
        return sorted({*self._days, *self._resting})

    def install(self, blocks: DayBlocks) -> None:
        """Put a day in the place of what was known of it."""
        with self._lock:
            self._resting.discard(blocks.day)
            self._days[blocks.day] = blocks
            self._days.move_to_end(blocks.day)

    def keep(self, blocks: DayBlocks, at_ms: Millis) -> None:
        """Have the store keep a day that is over. Where it cannot be written to, the day is read again another time."""
        blocks.close()
        try:
            with self._lock:
                record = record_of(blocks, self.codes, self.kinds, at_ms)
            self.store.note([record], replace=True)
        except StoreError as error:
            if not self._told:
                self._told = True
                log.warning("sums of days cannot be kept in the store, and are made again by each process: %s", error)
            return
        self._trim()

    def hours(self, first: Hour, end: Hour) -> Iterator[HourBlock]:
        """The blocks of the hours in [first, end), in order."""
        for _, block in self.numbered(first, end):
            yield block

    def numbered(self, first: Hour, end: Hour) -> Iterator[tuple[Hour, HourBlock]]:
        """The same, each with its hour."""
        for day in self.known_days():
            if day * DAY_HOURS >= end or (day + 1) * DAY_HOURS <= first:
                continue
            blocks = self._find(day)
            if blocks is not None:
                for hour in sorted(blocks.hours):
                    if first <= hour < end:
                        yield hour, blocks.hours[hour]

    def _find(self, day: Day) -> DayBlocks | None:
        blocks = self._days.get(day)
        if blocks is not None:
            self._days.move_to_end(day)
        elif day in self._resting:
            blocks = self._days[day] = self._fetched(day)
            self._resting.discard(day)
            self._trim()
        return blocks

    def _fetched(self, day: Day) -> DayBlocks:
        """A day that was let go of, from its record, or from its entries if that is gone."""
        record = find_day(self.store, day)
        blocks = None if record is None else blocks_of(day, record.body, self.codes, self.kinds)
        return read_day(self.store, day, self.codes, self.kinds) if blocks is None else blocks

    def _trim(self) -> None:
        """Let go of the days that were used longest ago, which the store has."""
        with self._lock:
            rows = sum([blocks.rows for blocks in self._days.values()])
            for day in list(self._days):
                if rows <= self.most_rows:
                    return
                if self.open_from is not None and day < self.open_from:
                    rows -= self._days.pop(day).rows
                    self._resting.add(day)


def read_day(store: Store, day: Day, codes: AllCodes, kinds: UsageKinds) -> DayBlocks:
    """A day from its entries."""
    since_ms, until_ms = bounds_of(day)
    blocks = DayBlocks(day)
    for entry in store.entries(Query(since_ms=since_ms, until_ms=until_ms)):
        blocks.add(entry, codes, kinds)
    blocks.close()
    return blocks
