"""What PostgreSQL keeps beside the books: how records are said to it, and read a page at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...ledger import Record, RecordQuery
from ..encoding import from_raw, raw
from ..rules import over_ms
from .reports import PAGE, Select
from .rows import Numbers, Texts, numbers, texts

NOTE = "SELECT budgetguard.note(%s::integer, %b, %b, %s::boolean)"
NOTED = "SELECT * FROM budgetguard.noted(%s::integer, %b, %b, %b, %s::integer, %s::boolean)"
PRUNE = "SELECT budgetguard.prune_records(%s::integer, %s::bigint, %s::integer)"

_BEHIND_ALL = b"\xff"
"""No text has this byte."""


def pack_records(records: Sequence[Record]) -> tuple[Texts, Numbers]:
    """Records as `budgetguard.note` takes them."""
    words = [word.encode("utf-8", "surrogatepass") for each in records for word in (each.kind, each.id, each.body)]
    said = [number for each in records for number in (each.at_ms, _until(each), over_ms(each))]
    return texts(words), numbers(*said)


def _until(record: Record) -> int:
    return -1 if record.until_ms is None else record.until_ms


def noted(ask: Select, ns: int, query: RecordQuery) -> Iterator[Record]:
    """See `Store.noted`."""
    first = b"" if query.after is None else _behind(raw(query.after))
    end = _BEHIND_ALL if query.before is None else raw(query.before)
    left = query.limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        page = ask(NOTED, (ns, raw(query.kind), first, end, size, query.newest))
        for id_, body, at_ms, until_ms in page:
            yield Record(query.kind, from_raw(id_), at_ms, from_raw(body), until_ms)
        if len(page) < size:
            return
        last = page[-1][0]
        first, end = (first, last) if query.newest else (_behind(last), end)
        left = None if left is None else left - size


def _behind(id_: bytes) -> bytes:
    """The first text behind another."""
    return id_ + b"\0"
