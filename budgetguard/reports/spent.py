"""
What was spent, as the store itself adds it up: by fields, and by hours, days, weeks or months of any zone.

Stores know days of UTC and no other time. So each span of time is a question of its own, from its first millisecond to
its last: every engine answers alike, and a sum here is the store's own. Days without a call are not asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple

from ..budgets.periods import Period, zone
from ..errors import ConfigError
from ..ledger import Millis, Query, Store, Total
from .cube.zones import MOST_SPANS, TIMES

_DAY_MS: Final = 86_400_000
_HOUR_MS: Final = 3_600_000
_PERIODS: Final = {"day": "daily", "week": "weekly", "month": "monthly"}


@dataclass(frozen=True, slots=True)
class SpentQuery:
    """
    Which calls, and by what: fields are "user", "model", "provider", "hour", "day", "week", "month" or any tag.

    One of them at most is a time. Times are [since_ms, until_ms), to the millisecond.
    """

    by: tuple[str, ...] = ("user",)
    since_ms: Millis | None = None
    until_ms: Millis | None = None
    zone: str = "UTC"
    tags: Mapping[str, str] = field(default_factory=dict)
    model: str | None = None
    provider: str | None = None


class CalendarSpan(NamedTuple):
    """An hour, day, week or month of a zone, to the millisecond."""

    label: str
    start_ms: Millis
    end_ms: Millis


def spent(store: Store, query: SpentQuery, told: Callable[[float], None] = lambda done: None) -> list[Total]:
    """
    The sums, times in their order and then by names; raises `ConfigError` for a question that cannot be answered.

    `told` hears which part of the work is done, from 0 to 1.
    """
    times = [name for name in query.by if name in TIMES]
    zone(query.zone)
    if len(times) > 1 or len(set(query.by)) != len(query.by):
        raise ConfigError(f"by={query.by!r}: each field once, and at most one of {', '.join(TIMES)}")
    asked = Query(query.since_ms, query.until_ms, query.tags, query.model)
    if not times or (times == ["day"] and query.zone == "UTC"):
        return _totals(store, query.by, asked, query.provider)
    others = [name for name in query.by if name not in TIMES]
    place, found = query.by.index(times[0]), list[Total]()
    asking = list(_spans(times[0], _days(store, asked), query))
    for number, span in enumerate(asking):
        part = Query(span.start_ms, span.end_ms, query.tags, query.model)
        for total in _totals(store, others, part, query.provider):
            found.append(regrouped(total, (*total.group[:place], span.label, *total.group[place:])))
        told((number + 1) / len(asking))
    return found


def added(totals: Sequence[Total], group: tuple[str, ...] = ()) -> Total:
    """What they come to together."""
    return Total(
        group,
        cost=sum([each.cost for each in totals]),
        calls=sum([each.calls for each in totals]),
        input_tokens=sum([each.input_tokens for each in totals]),
        output_tokens=sum([each.output_tokens for each in totals]),
        estimated=sum([each.estimated for each in totals]),
        cut=sum([each.cut for each in totals]),
    )


def regrouped(total: Total, group: tuple[str, ...]) -> Total:
    """The same sums under another name."""
    return added([total], group)


def _totals(store: Store, by: Sequence[str], query: Query, provider: str | None) -> list[Total]:
    """The store's own sums, of one provider if that is asked for, which is no filter of a store's."""
    if provider is None:
        return store.totals(by, query)
    groups: dict[tuple[str, ...], list[Total]] = {}
    for total in store.totals([*by, "provider"], query):
        if total.group[-1] == provider:
            groups.setdefault(total.group[:-1], []).append(total)
    return [added(totals, group) for group, totals in groups.items()]


def _days(store: Store, query: Query) -> Iterator[CalendarSpan]:
    """The days of UTC that have calls, as far as they are asked for."""
    for total in store.totals(("day",), query):
        [label] = total.group
        start_ms = round(datetime.fromisoformat(label).replace(tzinfo=UTC).timestamp() * 1000)
        yield CalendarSpan(label, start_ms, start_ms + _DAY_MS)


def _spans(kind: str, days: Iterator[CalendarSpan], query: SpentQuery) -> Iterator[CalendarSpan]:
    """The spans of a kind in which these days are, cut to what is asked for."""
    over_ms, count = -(2**62), 0
    since_ms = over_ms if query.since_ms is None else query.since_ms
    for day in days:
        while (at_ms := max(over_ms, day.start_ms)) < day.end_ms:
            span = _span_at(kind, at_ms, query.zone)
            start_ms = max(span.start_ms, since_ms, over_ms)
            end_ms = span.end_ms if query.until_ms is None else min(span.end_ms, query.until_ms)
            over_ms, count = span.end_ms, count + 1
            if count > MOST_SPANS:
                raise ConfigError(f"by={kind!r}: that is more than {MOST_SPANS:,} of them; ask for a shorter time")
            if start_ms < end_ms:
                yield CalendarSpan(span.label, start_ms, end_ms)


def _span_at(kind: str, at_ms: Millis, zone_name: str) -> CalendarSpan:
    if kind != "hour":
        window = Period(_PERIODS[kind], zone_name).window(at_ms)
        assert window.start_ms is not None, "calendar periods have both"
        assert window.end_ms is not None
        return CalendarSpan(window.label, window.start_ms, window.end_ms)
    local = datetime.fromtimestamp(at_ms / 1000, zone(zone_name))
    offset = local.utcoffset() or timedelta()
    behind_ms = (at_ms + offset // timedelta(milliseconds=1)) % _HOUR_MS
    label = f"{local:%Y-%m-%d %H}:00" + ("" if zone_name == "UTC" else f"{local:%z}")
    return CalendarSpan(label, at_ms - behind_ms, at_ms - behind_ms + _HOUR_MS)
