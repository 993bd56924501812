"""
Calls one by one, the newest first: what is held, what was paid, and what was cut.

A store reads its history the oldest first, so that a page is found by times: the cube knows how many calls each hour
has, and as much of an hour is read as should have the calls that a page lacks.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final, NamedTuple

from ...budgets.rules import unescape
from ...errors import ConfigError
from ...ledger import Entry, Millis, OpenHold, Query, Store
from ..cube.blocks import DAY_HOURS, HOUR_MS, Hour, start_of
from ..cube.cube import Cube
from ..cube.packed import FIXED, FLAGS, unpacked
from ..cube.sums import Only, dearest, summed, totals
from ..shown.figures import HistoryRead
from ..shown.lists import CallShown, CallsQuery, CallsShown, CutBudget, CutShown, CutsShown, HoldShown, HoldsShown

MOST_LOOKED_AT: Final = 20_000
"""Entries: a page is given out by then, with what was found."""
_LEAST_MS: Final[Millis] = 1_000
_CUTS: Final = 20


class _Place(NamedTuple):
    """A call in the order of the history."""

    at_ms: Millis
    id: str

    @classmethod
    def of(cls, text: str) -> _Place:
        at_ms, _, name = text.partition("-")
        if not at_ms.isdigit():
            raise ConfigError(f"before={text!r}: the `next` of the page before is needed")
        return cls(int(at_ms), name)

    def __str__(self) -> str:
        return f"{self.at_ms}-{self.id}"


def calls(store: Store, cube: Cube, query: CallsQuery, read: HistoryRead) -> CallsShown:
    """See `Reports.calls`."""
    place = None if query.before is None else _Place.of(query.before)
    until_ms = query.until_ms if place is None else min(place.at_ms + 1, query.until_ms or place.at_ms + 1)
    rows, looked = list[Entry](), 0
    for since_ms, end_ms in _windows(cube, query, until_ms, read):
        found = list(store.entries(_asked(query, since_ms, end_ms)))
        looked += len(found)
        fitting = [entry for entry in reversed(found) if _fits(entry, query)]
        rows += [entry for entry in fitting if place is None or (entry.at_ms, entry.hold_id) < place]
        if len(rows) > query.limit:
            rows = rows[: query.limit]
            return CallsShown(tuple(map(call_shown, rows)), str(_Place(rows[-1].at_ms, rows[-1].hold_id)))
        if looked >= MOST_LOOKED_AT:
            return CallsShown(tuple(map(call_shown, rows)), str(_Place(since_ms, "")), since_ms)
    return CallsShown(tuple(map(call_shown, rows)), None)


def _windows(
    cube: Cube, query: CallsQuery, until_ms: Millis | None, read: HistoryRead
) -> Iterator[tuple[Millis, Millis]]:
    """Times to look at, from the newest on, each short enough not to have many more calls than a page."""
    said = [("model", query.model), ("provider", query.provider)]
    only = {name: (value,) for name, value in [*query.tags.items(), *said] if value is not None}
    end_ms = cube.store.now_ms() + DAY_HOURS * HOUR_MS if until_ms is None else until_ms
    for hour, count in _hours(cube, only, query, end_ms, read):
        since_ms, upper_ms = hour * HOUR_MS, min((hour + 1) * HOUR_MS, end_ms)
        step = max(HOUR_MS * 2 * (query.limit + 1) // max(count, 1), _LEAST_MS)
        while upper_ms > max(since_ms, query.since_ms or 0):
            lower_ms = max(upper_ms - step, since_ms, query.since_ms or 0)
            yield lower_ms, upper_ms
            upper_ms = lower_ms


def _hours(cube: Cube, only: Only, query: CallsQuery, end_ms: Millis, read: HistoryRead) -> Iterator[tuple[Hour, int]]:
    """Hours that may have calls which fit, the newest first, and about how many they have."""
    unknown_ms = 0 if read.complete or read.since_ms is None else read.since_ms
    places = [FIXED.index(flag) for flag in query.flags if flag in FLAGS]
    first_ms = query.since_ms or 0
    with cube.locked():
        days = [day for day in cube.known_days() if start_of(day) < end_ms and start_of(day + 1) > first_ms]
    days = sorted({*days, *[day for day in cube.missing if start_of(day) < end_ms and start_of(day + 1) > first_ms]})
    newest = end_ms // HOUR_MS
    for day in reversed(days):
        hours = range(min((day + 1) * DAY_HOURS - 1, newest), day * DAY_HOURS - 1, -1)
        sums = totals(cube, [(hour, hour + 1) for hour in hours], only)
        for hour, packed in zip(hours, sums, strict=True):
            values = [*unpacked(packed), *[0] * len(FIXED)]
            if hour * HOUR_MS < unknown_ms or (packed and all(values[place] for place in places)):
                yield hour, min([values[1], *[values[place] for place in places]])


def _asked(query: CallsQuery, since_ms: Millis, until_ms: Millis) -> Query:
    tags = {name: value for name, value in query.tags.items() if value}
    return Query(since_ms=since_ms, until_ms=until_ms, tags=tags, model=query.model)


def _fits(entry: Entry, query: CallsQuery) -> bool:
    return (
        query.flags <= entry.flags
        and (query.provider is None or entry.provider == query.provider)
        and all(entry.tags.get(name, "") == value for name, value in query.tags.items())
        and (query.account is None or any(key.startswith(query.account) for key in entry.accounts))
    )


def call_shown(entry: Entry) -> CallShown:
    """An entry of the history, for people."""
    usage = entry.usage
    return CallShown(
        id=entry.hold_id,
        at_ms=entry.at_ms,
        user=entry.tags.get("user", ""),
        tags=dict(entry.tags),
        provider=entry.provider,
        model=entry.model,
        cost=entry.cost,
        input_tokens=usage.get("input_tokens", 0),
        output_tokens=usage.get("output_tokens", 0),
        usage=dict(usage),
        flags=tuple(sorted(entry.flags)),
        accounts=entry.accounts,
        units=dict(entry.units),
    )


def holds(found: list[OpenHold], now_ms: Millis, offset: int, limit: int) -> HoldsShown:
    """See `Reports.holds`."""
    rows = tuple([_hold_shown(each, now_ms) for each in found[offset : offset + limit]])
    return HoldsShown(rows, len(found), sum([each.amount for each in found]))


def _hold_shown(hold: OpenHold, now_ms: Millis) -> HoldShown:
    return HoldShown(
        id=hold.id,
        placed_ms=hold.placed_ms,
        age_ms=max(now_ms - hold.placed_ms, 0),
        expires_ms=hold.expires_ms,
        cost=hold.amount,
        units=dict(hold.units),
        user=hold.tags.get("user", ""),
        tags=dict(hold.tags),
        provider=hold.provider,
        model=hold.model,
        accounts=hold.accounts,
    )


def cuts(store: Store, cube: Cube, hours: tuple[Hour, Hour], read: HistoryRead) -> CutsShown:
    """See `Reports.cuts`."""
    found = dearest(summed(cube, ("model", "provider"), *hours).items())
    models = [(names, cube.kinds.figures(packed)) for names, packed in found]
    query = CallsQuery(since_ms=hours[0] * HOUR_MS, flags=frozenset({"cut"}), limit=1_000)
    newest = calls(store, cube, query, read).rows
    charged = Counter([name for call in newest for name in {key.partition("/")[0] for key in call.accounts}])
    shown = [
        CutShown(model, provider, figures.cut, figures.calls, figures.cost)
        for (model, provider), figures in models
        if figures.cut
    ]
    return CutsShown(
        tuple(sorted(shown, key=lambda each: (-each.cut, each.model))),
        tuple([CutBudget(unescape(name), cut) for name, cut in charged.most_common() if name != "models"]),
        newest[:_CUTS],
        read,
    )
