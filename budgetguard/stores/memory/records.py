"""The records of a memory store; runs under its lock."""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort

from ...ledger import Millis, Record, RecordQuery
from ..rules import over_ms


class MemoryRecords:
    """By their kinds, in the order of their ids."""

    def __init__(self) -> None:
        self._found: dict[str, dict[str, Record]] = {}
        self._ids: dict[str, list[str]] = {}

    def put(self, record: Record, *, replace: bool) -> bool:
        """See `Store.note`."""
        there = self._found.setdefault(record.kind, {})
        new = record.id not in there
        if new:
            insort(self._ids.setdefault(record.kind, []), record.id)
        if new or replace:
            there[record.id] = record
        return new

    def find(self, query: RecordQuery) -> list[Record]:
        """See `Store.noted`."""
        ids = self._ids.get(query.kind, [])
        begin = 0 if query.after is None else bisect_right(ids, query.after)
        end = len(ids) if query.before is None else bisect_left(ids, query.before)
        if query.limit is not None:
            some = max(0, query.limit)
            begin, end = (max(begin, end - some), end) if query.newest else (begin, min(end, begin + some))
        there = self._found.get(query.kind, {})
        wanted = [there[each] for each in ids[begin : max(begin, end)]]
        return wanted[::-1] if query.newest else wanted

    def prune(self, before_ms: Millis) -> None:
        """See `Store.prune`."""
        for kind, there in self._found.items():
            kept = {each.id: each for each in there.values() if over_ms(each) >= before_ms}
            self._found[kind], self._ids[kind] = kept, sorted(kept)
