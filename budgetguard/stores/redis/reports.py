"""
What people ask of a store in Redis: lists, totals, and whether the books add up.

Read a page at a time, so that no call waits for a report.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Any

from ...ledger import (
    Amounts,
    Balance,
    Carried,
    Difference,
    Entry,
    Millis,
    OpenHold,
    Query,
    Record,
    RecordQuery,
    Terms,
    unit_of,
)
from ..encoding import from_raw, key_range, raw
from ..rules import matches
from .rows import entry_of, namespace_of, open_hold_of, record_of, terms_of

PAGE = 500
"""Rows read at a time."""

LATER = 2**52
"""How much later than they are due holds stand that count more than dollars: see `common.lua`."""

CHECKS = 3
"""How often what differs is looked at."""

Read = Callable[..., Any]
"""Runs a script that reads."""


def _keyed(prefix: str, after: str | None, page: Callable[[bytes, bytes], Sequence[Any]]) -> Iterator[Any]:
    """All rows of a listing by key that starts with a prefix, behind another; `page` reads from a key to a key."""
    begin, comparison, end = key_range(prefix, after)
    first, last = (b"[" if comparison == ">=" else b"(") + begin, b"(" + end
    while True:
        rows = page(first, last)
        yield from rows
        if len(rows) < PAGE:
            return
        first = b"(" + rows[-1][0]


def accounts(read: Read, now: Callable[[], str], prefix: str, after: str | None) -> Iterator[Balance]:
    """See `Store.accounts`."""
    for key, settled, charged, held, due, *_ in _keyed(
        prefix, after, lambda a, b: read("reports/accounts", now(), a, b, PAGE)
    ):
        yield Balance(from_raw(key), int(settled) + sum(charged), int(held) - sum(due))


def carried(read: Read, after: str | None) -> Iterator[Carried]:
    """See `Store.carried`."""
    for key, _, _, _, _, end_ms, pruned in _keyed("", after, lambda a, b: read("reports/accounts", "0", a, b, PAGE)):
        yield Carried(from_raw(key), None if end_ms is None else int(end_ms), int(pruned))


def all_terms(read: Read, prefix: str, after: str | None) -> Iterator[Terms]:
    """See `Store.all_terms`."""
    for row in _keyed(prefix, after, lambda a, b: read("reports/terms", a, b, PAGE)):
        terms = terms_of(row)
        if terms.body is not None:
            yield terms


def namespaces(client: Any) -> list[str]:
    """See `Store.namespaces`: their accounts, terms and entries are each listed under one key."""
    tags = set()
    for key in client.scan_iter(match=b"budgetguard:{*}:[ekt]", count=PAGE):
        tag, _, rest = key.removeprefix(b"budgetguard:{").partition(b"}:")
        if len(rest) == 1:  # not a key that ends as these do
            tags.add(tag)
    return sorted(map(namespace_of, tags))


def holds(read: Read, now_ms: Millis) -> Iterator[OpenHold]:
    """Those that are open and not due; the ones in other units than dollars have later places."""
    for first, last in ((f"({now_ms}", f"({LATER}"), (f"({LATER + now_ms}", "+inf")):
        yield from [hold for hold in _open_holds(read, first, last) if hold is not None]


def _open_holds(read: Read, first: str, last: str) -> Iterator[OpenHold | None]:
    """The holds in places from the first to the last, in ZRANGEBYSCORE's way; `None` for an id that has ended."""
    passed = 0
    while True:
        rows = read("reports/holds", first, last, passed, PAGE)
        for row in rows:
            yield open_hold_of(row) if len(row) > 2 else None
        if len(rows) < PAGE:
            return
        passed += len(rows)


def entries(read: Read, query: Query, after_ms: Millis) -> Iterator[Entry]:
    """See `Store.entries`."""
    return islice((entry for entry in _entries(read, query, after_ms) if matches(entry, query)), query.limit)


def _entries(read: Read, query: Query, after_ms: Millis) -> Iterator[Entry]:
    since = "" if query.since_ms is None else query.since_ms
    until = "" if query.until_ms is None else query.until_ms
    after: tuple[Any, Any] = (after_ms, "" if query.after is None else raw(query.after))
    while True:
        rows = read("reports/entries", since, until, *after, PAGE)
        yield from map(entry_of, rows)
        if len(rows) < PAGE:
            return
        after = (rows[-1][1], rows[-1][0])


def check(read: Read) -> list[Difference]:
    """See `Store.check`: only what differs in the same way each time is no call in between."""
    found = _differences(read)
    for _ in range(CHECKS - 1):
        if not found:
            break
        again = {(d.key, d.kind): d.booked - d.summed for d in _differences(read)}
        found = [d for d in found if again.get((d.key, d.kind)) == d.booked - d.summed]
    return found


def _differences(read: Read) -> list[Difference]:
    sums: dict[str, list[int]] = {}
    for entry in _entries(read, Query(), 0):
        used = entry.amounts()
        for key in entry.accounts:
            sums.setdefault(key, [0, 0])[0] += used[unit_of(key)]
    for hold in _open_holds(read, "-inf", "+inf"):
        if hold is not None:
            amounts: Amounts = {**hold.units, "dollars": hold.amount}
            for key in hold.accounts:
                sums.setdefault(key, [0, 0])[1] += amounts[unit_of(key)]
    books = {}
    for key, settled, _, held, _, _, pruned in _keyed("", None, lambda a, b: read("reports/accounts", "0", a, b, PAGE)):
        books[from_raw(key)] = int(settled) - int(pruned), int(held), int(pruned)
    found = []
    for key in sorted(books.keys() | sums.keys()):
        settled, held, pruned = books.get(key, (0, 0, 0))
        spent, open_ = sums.get(key, (0, 0))
        if settled != spent:
            found.append(Difference(key, "settled", settled + pruned, spent + pruned))
        if held != open_:
            found.append(Difference(key, "held", held, open_))
    return found


def noted(read: Read, query: RecordQuery) -> Iterator[Record]:
    """See `Store.noted`."""
    return islice(_noted(read, query), None if query.limit is None else max(0, query.limit))


def _noted(read: Read, query: RecordQuery) -> Iterator[Record]:
    first = b"-" if query.after is None else b"(" + raw(query.after)
    last = b"+" if query.before is None else b"(" + raw(query.before)
    size = PAGE if query.limit is None else min(PAGE, query.limit)
    while size > 0:
        rows = read("records/noted", query.kind, first, last, size, 1 if query.newest else 0)
        for row in rows:
            yield record_of(query.kind, row)
        if len(rows) < size:
            return
        end = b"(" + rows[-1][0]
        first, last = (first, end) if query.newest else (end, last)


def prune(write: Read, before_ms: Millis) -> int:
    """See `Store.prune`."""
    while write("records/prune", before_ms, PAGE) == PAGE:
        pass
    pruned = 0
    while True:
        rows: int = write("prune", before_ms, PAGE)
        pruned += rows
        if rows < PAGE:
            break
    last = b"-"
    while True:
        key = write("prune_accounts", before_ms, last, PAGE)
        if key is None:
            return pruned
        last = b"(" + key
