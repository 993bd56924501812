"""The records of a hosted store, a page at a time; and what becomes of them where its server keeps none."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from ...concurrency.locks import mutex
from ...errors import StoreError
from ...ledger import Record, RecordQuery
from ...ledger.as_json import plain
from ..deadlines import CHANGE_S, READ_S
from . import rows as wire

log = logging.getLogger("budgetguard")

MOST_RECORDS = 1_000
"""In one request, and in one answer."""

MOST_CHARACTERS = 1_000_000
"""Of bodies, in one request."""

MOST_KNOWN = 10_000
"""Names that are remembered in place of a server that keeps none."""


_KEEPS_NONE = (
    "keeps no records: alerts come from every process, and refusals and changes are not written down; "
    "upgrade the server"
)


class NotOfferedError(StoreError):
    """The server is of a version that does not know an operation."""


class HttpRecords:
    """What is asked of a server about records; `ask` sends a request and has its answer heard."""

    def __init__(self, name: str, ask: Callable[[str, Any, float, Callable[[Any], Any]], Any]) -> None:
        self._name = name
        self._ask = ask
        self._lock = mutex("http records")
        self._known: OrderedDict[tuple[str, str], None] | None = None
        """What this process noted, the latest last, since a server said that it keeps no records."""

    def note(self, records: Sequence[Record], replace: bool) -> list[bool]:
        """
        See `Store.note`; in as few requests as fit.

        At a server of a version that keeps no records, one is new to each process that notes it. So an alert is sent
        by every process, and not by one of them: several are better than none.
        """
        new: list[bool] = []
        for batch in _batches(records):
            said = {"records": [plain(each) for each in batch], "replace": replace}
            try:
                new += self._ask("ledger/note", said, CHANGE_S, lambda answer: [bool(each) for each in answer["new"]])
            except NotOfferedError:
                new += self._note_here(batch)
        return new

    def noted(self, query: RecordQuery) -> Iterator[Record]:
        """See `Store.noted`, read page by page; none at a server of a version that keeps none."""
        try:
            first = self._page(query, query.after, query.before, query.limit)
        except NotOfferedError:
            with self._lock:
                self._begin()
            return iter(())
        return self._pages(query, first)

    def examine(self) -> list[str]:
        """What people should know of the server: that it is of a version that keeps none, if it is."""
        try:
            self._page(RecordQuery("alert"), None, None, 1)
        except NotOfferedError:
            return [f"{self._name} {_KEEPS_NONE}"]
        return []

    def _page(self, query: RecordQuery, after: str | None, before: str | None, left: int | None) -> list[Record]:
        size = MOST_RECORDS if left is None else min(MOST_RECORDS, left)
        if size <= 0:
            return []
        said = {"kind": query.kind, "after": after, "before": before, "limit": size, "newest": query.newest}
        found: list[Record] = self._ask(
            "ledger/noted", said, READ_S, lambda answer: wire.hear_all(answer["records"], Record)
        )
        return found

    def _pages(self, query: RecordQuery, page: list[Record]) -> Iterator[Record]:
        after, before, left = query.after, query.before, query.limit
        while page:
            yield from page
            left = None if left is None else left - len(page)
            if len(page) < MOST_RECORDS or left == 0:
                return
            after, before = (after, page[-1].id) if query.newest else (page[-1].id, before)
            page = self._page(query, after, before, left)

    def _note_here(self, records: Sequence[Record]) -> list[bool]:
        new = []
        with self._lock:
            known = self._begin()
            for each in records:
                name = each.kind, each.id
                new.append(name not in known)
                known[name] = None
                known.move_to_end(name)
                if len(known) > MOST_KNOWN:
                    known.popitem(last=False)
        return new

    def _begin(self) -> OrderedDict[tuple[str, str], None]:
        """What this process noted; said once that it counts."""
        if self._known is None:
            self._known = OrderedDict()
            log.warning("%s %s", self._name, _KEEPS_NONE)
        return self._known


def _batches(records: Sequence[Record]) -> Iterator[Sequence[Record]]:
    """The same, in as many at a time as a request may have."""
    start = size = 0
    for place, each in enumerate(records):
        size += len(each.body)
        if place > start and (place - start == MOST_RECORDS or size > MOST_CHARACTERS):
            yield records[start:place]
            start, size = place, len(each.body)
    if records:
        yield records[start:]
