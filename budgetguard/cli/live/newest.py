"""
Calls and refusals by time, without reading the history.

A store reads its entries the oldest first. The newest are found from behind, in spans of time that grow while they have
few calls and shrink where they have many, so that twenty lines cost the same on twenty calls and on a million.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from heapq import merge
from itertools import islice
from typing import Final, TypeAlias

from ...ledger import Entry, Millis, Query, RecordQuery, Store, id_at
from ...money import Nano
from ...reports.shown.lists import CallShown, RefusalShown
from ...reports.views.calls import call_shown
from ...reports.views.records import refusal_shown

Logged: TypeAlias = CallShown | RefusalShown

REFUSAL: Final = "refusal"
MOST: Final = 2_000
"""Entries that are read at once on the way back."""
_FIRST_MS: Final[Millis] = 60_000
_GROWS, _SHRINKS = 4, 8
_GLOB: Final = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class LogQuery:
    """Which lines: all that match every field that is set. Times are [since_ms, until_ms)."""

    since_ms: Millis | None = None
    until_ms: Millis | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    """The user among them; "" for lines without the tag."""
    model: str | None = None
    """A glob."""
    provider: str | None = None
    flags: frozenset[str] = frozenset()
    """Calls that have all of these."""
    min_cost: Nano | None = None
    calls: bool = True
    refusals: bool = True

    def asked(self, since_ms: Millis | None, until_ms: Millis | None, limit: int | None = None) -> Query:
        """What the store is asked for; `takes` looks at the rest."""
        tags = {name: value for name, value in self.tags.items() if value}
        exact = self.model if self.model is not None and not _GLOB & set(self.model) else None
        return Query(since_ms=since_ms, until_ms=until_ms, tags=tags, model=exact, limit=limit)

    def takes(self, entry: Entry) -> bool:
        """Whether a call is a line."""
        return (
            self.flags <= entry.flags
            and (self.min_cost is None or entry.cost >= self.min_cost)
            and self._fits(entry.tags, entry.model, entry.provider)
        )

    def takes_refusal(self, refusal: RefusalShown) -> bool:
        """Whether a refusal is a line."""
        tags = {"user": refusal.user, **refusal.tags}
        return self._fits(tags, refusal.model, refusal.provider)

    def _fits(self, tags: Mapping[str, str], model: str, provider: str) -> bool:
        return (
            (self.model is None or fnmatchcase(model, self.model))
            and (self.provider is None or provider == self.provider)
            and all(tags.get(name, "") == value for name, value in self.tags.items())
        )


def newest(store: Store, query: LogQuery, limit: int) -> list[Logged]:
    """The newest lines, the newest last."""
    found: list[Logged] = []
    if query.calls:
        found += islice(_calls_back(store, query), limit)
    if query.refusals:
        found += islice(_refusals(store, query, newest=True), limit)
    return sorted(found, key=place)[len(found) - min(limit, len(found)) :]


def listed(store: Store, query: LogQuery) -> Iterator[Logged]:
    """All lines, the oldest first, as they are read."""
    return merge(
        _calls(store, query) if query.calls else (), _refusals(store, query) if query.refusals else (), key=place
    )


def place(line: Logged) -> tuple[Millis, str]:
    """Where a line stands in time."""
    return line.at_ms, line.id


def _calls(store: Store, query: LogQuery) -> Iterator[CallShown]:
    for entry in store.entries(query.asked(query.since_ms, query.until_ms)):
        if query.takes(entry):
            yield call_shown(entry)


def _calls_back(store: Store, query: LogQuery) -> Iterator[CallShown]:
    """Calls that match, the newest first."""
    first = next(iter(store.entries(Query(limit=1))), None)
    if first is None:
        return
    oldest = max(first.at_ms, query.since_ms or first.at_ms)
    end, span = _end(store, query), _FIRST_MS
    while end > oldest:
        since = max(end - span, oldest)
        limit = MOST + 1 if end - since > 1 else None  # all of one millisecond, however many they are
        found = list(store.entries(query.asked(since, end, limit)))
        if limit is not None and len(found) == limit:
            span = max((end - since) // _SHRINKS, 1)
            continue
        yield from [call_shown(each) for each in reversed(found) if query.takes(each)]
        end = since
        if len(found) * _GROWS < MOST:
            span *= _GROWS


def _end(store: Store, query: LogQuery) -> Millis:
    """Behind the newest entry: it may be of a clock that is fast."""
    now_ms, step = store.now_ms(), _FIRST_MS
    if query.until_ms is not None and query.until_ms <= now_ms:
        return query.until_ms
    while next(iter(store.entries(Query(since_ms=now_ms + step, limit=1))), None) is not None:
        step *= _SHRINKS
    return now_ms + step if query.until_ms is None else min(now_ms + step, query.until_ms)


def _refusals(store: Store, query: LogQuery, *, newest: bool = False) -> Iterator[RefusalShown]:
    after = None if query.since_ms is None else id_at(query.since_ms)
    before = None if query.until_ms is None else id_at(query.until_ms)
    for record in store.noted(RecordQuery(REFUSAL, after=after, before=before, newest=newest)):
        refusal = refusal_shown(record)
        if query.takes_refusal(refusal):
            yield refusal
