"""What PostgreSQL keeps beside the books: how records are said to it, and read a page at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ...ledger import Record, RecordQuery
from ..encoding import from_raw, raw
from ..rules import over_ms
from .reports import PAGE, Select
from .rows import Numbers, Texts, numbers, texts

NOTE = "SELECT budgetguard.note(%s::integer, %b, %b, %s::boolean)"
PRUNE = "SELECT budgetguard.prune_records(%s::integer, %s::bigint, %s::integer)"


def pack_records(records: Sequence[Record]) -> tuple[Texts, Numbers]:
    """Records as `budgetguard.note` takes them."""
    words = [word.encode("utf-8", "surrogatepass") for each in records for word in (each.kind, each.id, each.body)]
    said = [number for each in records for number in (each.at_ms, _until(each), over_ms(each))]
    return texts(words), numbers(*said)


def _until(record: Record) -> int:
    return -1 if record.until_ms is None else record.until_ms


def noted(ask: Select, ns: int, query: RecordQuery) -> Iterator[Record]:
    """See `Store.noted`."""
    after = None if query.after is None else raw(query.after)
    before = None if query.before is None else raw(query.before)
    left = query.limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        page = _page(ask, (ns, raw(query.kind)), (after, before), size, query.newest)
        for id_, body, at_ms, until_ms in page:
            yield Record(query.kind, from_raw(id_), at_ms, from_raw(body), until_ms)
        if len(page) < size:
            return
        last = page[-1][0]
        after, before = (after, last) if query.newest else (last, before)
        left = None if left is None else left - size


def _page(
    ask: Select, of: tuple[int, bytes], between: tuple[bytes | None, bytes | None], size: int, newest: bool
) -> list[tuple[bytes, bytes, int, int | None]]:
    after, before = between
    bounds = "" if after is None else " AND id > %b"
    bounds += "" if before is None else " AND id < %b"
    order = "DESC" if newest else "ASC"
    sql = (
        "SELECT id, body, at_ms, until_ms FROM budgetguard.records "
        f"WHERE ns = %s AND kind = %b{bounds} ORDER BY id {order} LIMIT {size}"
    )
    return ask(sql, (*of, *[each for each in (after, before) if each is not None]))
