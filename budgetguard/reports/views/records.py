"""What the store keeps beside its books, for people: refusals, alerts and changes by hand."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Mapping
from heapq import nlargest
from itertools import islice
from typing import Any, Final, NamedTuple

from ...budgets.rules import escape
from ...concurrency.locks import mutex
from ...errors import ConfigError
from ...ledger import Millis, Record, RecordQuery, Store, id_at
from ..cube.blocks import HOUR_MS, Hour
from ..cube.zones import span_of
from ..shown.lists import (
    AlertShown,
    AlertsShown,
    ChangeShown,
    ChangesShown,
    RefusalGroup,
    RefusalShown,
    RefusalsShown,
)
from ..shown.money import RefusedSum

MOST_HOURS: Final = 24 * 100
"""Hours of which the refusals are kept added up."""
STILL_MS: Final[Millis] = 60_000
"""Records of an hour may change for so long after it: alike refusals are counted up."""
REFUSAL_FIELDS: Final = ("hour", "day", "budget", "user", "model")


class RefusedKey(NamedTuple):
    """What refusals are added up by."""

    budget: str
    user: str
    model: str


class RefusalSums:
    """Refusals by the hour: those of hours that are over are added up once."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = mutex("sums of refusals")
        self._hours: OrderedDict[Hour, dict[RefusedKey, list[int]]] = OrderedDict()
        self._from: Hour | None = None
        """All hours in [this, `_until`) are there, those without refusals left out."""
        self._until: Hour = 0

    def between(self, first: Hour, end: Hour) -> dict[Hour, dict[RefusedKey, list[int]]]:
        """The sums of the hours in [first, end)."""
        with self._lock:
            over = min(end, (self._store.now_ms() - STILL_MS) // HOUR_MS)
            if self._from is None or first > self._until:
                self._hours.clear()
                self._from, self._until = first, first
            if first < self._from:
                self._hours.update(self._read(first, self._from))
                self._from = first
            if over > self._until:
                self._hours.update(self._read(self._until, over))
                self._until = over
            found = {hour: sums for hour, sums in self._hours.items() if first <= hour < end}
            if end > self._until:
                found |= self._read(self._until, end)
            self._forget()
            return found

    def total(self, first: Hour, end: Hour) -> RefusedSum:
        """All refusals of these hours."""
        sums = [each for hour in self.between(first, end).values() for each in hour.values()]
        times, cost, busy = [sum([each[place] for each in sums]) for place in range(3)]
        return RefusedSum(times, cost, busy)

    def _read(self, first: Hour, end: Hour) -> dict[Hour, dict[RefusedKey, list[int]]]:
        found: dict[Hour, dict[RefusedKey, list[int]]] = {}
        asked = RecordQuery("refusal", after=id_at(first * HOUR_MS), before=id_at(end * HOUR_MS))
        for record in self._store.noted(asked):
            said = refusal_shown(record)
            key = RefusedKey(said.budget, said.user, said.model)
            sums = found.setdefault(said.at_ms // HOUR_MS, {}).setdefault(key, [0, 0, 0])
            sums[0] += said.times
            sums[1] += said.wanted * said.times if said.unit == "dollars" else 0
            sums[2] += said.times if said.busy else 0
        return found

    def _forget(self) -> None:
        """Let go of the oldest hours: they are read again when they are asked for."""
        if self._from is not None and self._until - self._from > MOST_HOURS:
            self._from = self._until - MOST_HOURS
            for hour in [hour for hour in self._hours if hour < self._from]:
                del self._hours[hour]


def refusals(
    store: Store, sums: RefusalSums, by: str, hours: tuple[Hour, Hour], page: tuple[str | None, int, str]
) -> RefusalsShown:
    """See `Reports.refusals`; `page` is before, limit and the zone."""
    before, limit, zone = page
    if by not in REFUSAL_FIELDS:
        raise ConfigError(f"by={by!r}: one of {', '.join(REFUSAL_FIELDS)} is needed")
    found: dict[str, list[int]] = {}
    for hour, groups in sorted(sums.between(*hours).items()):
        label = span_of(by, hour, zone).label if by in {"hour", "day"} else ""
        for key, each in groups.items():
            name = label or key[("budget", "user", "model").index(by)]
            whole = found.setdefault(name, [0, 0, 0])
            for place, amount in enumerate(each):
                whole[place] += amount
    named = [RefusalGroup(name, *each) for name, each in found.items()]
    if by not in {"hour", "day"}:
        named.sort(key=lambda each: (-each.times, each.name))
    last = id_at(hours[1] * HOUR_MS)
    asked = RecordQuery("refusal", id_at(hours[0] * HOUR_MS), min(before or last, last), limit + 1, newest=True)
    rows = [refusal_shown(record) for record in store.noted(asked)]
    return RefusalsShown(
        by,
        tuple(named),
        tuple(rows[:limit]),
        sum([each.times for each in named]),
        sum([each.cost for each in named]),
        rows[limit - 1].id if len(rows) > limit else None,
    )


def refusals_of(store: Store, tag: tuple[str, str], limit: int, most: int = 5_000) -> tuple[RefusalShown, ...]:
    """The newest refusals of calls with a tag, of the last `most` of all."""
    name, value = tag
    newest = map(refusal_shown, store.noted(RecordQuery("refusal", limit=most, newest=True)))
    found = [each for each in newest if (each.user if name == "user" else each.tags.get(name)) == value]
    return tuple(found[:limit])


def refusal_shown(record: Record) -> RefusalShown:
    """A record of refusals, for people."""
    said = _said(record)
    return RefusalShown(
        id=record.id,
        at_ms=record.at_ms,
        last_ms=said.get("last_ms") or record.at_ms,
        times=said.get("count", 1),
        budget=said.get("budget") or "",
        subject=said.get("subject") or "",
        account=said.get("account") or "",
        unit=said.get("unit") or "dollars",
        user=said.get("user") or "",
        tags=said.get("tags") or {},
        model=said.get("model") or "",
        provider=said.get("provider") or "",
        busy=bool(said.get("busy")),
        spent=said.get("spent") or 0,
        held=said.get("held") or 0,
        limit=said.get("limit"),
        wanted=said.get("wanted") or 0,
        room=said.get("room") or 0,
    )


def alerts(store: Store, before: str | None, limit: int) -> AlertsShown:
    """See `Reports.alerts`. Their ids are no times, so that all are looked at."""
    last = None if before is None else _place(before)
    found = (each for each in store.noted(RecordQuery("alert")) if last is None or (each.at_ms, each.id) < last)
    newest = nlargest(limit + 1, found, key=lambda each: (each.at_ms, each.id))
    following = f"{newest[limit - 1].at_ms}-{newest[limit - 1].id}" if len(newest) > limit else None
    return AlertsShown(tuple(map(_alert_shown, newest[:limit])), following)


def _alert_shown(record: Record) -> AlertShown:
    said = _said(record)
    return AlertShown(
        id=record.id,
        at_ms=record.at_ms,
        what=said.get("what") or "",
        budget=said.get("budget") or "",
        subject=said.get("subject") or "",
        account=said.get("account") or "",
        unit=said.get("unit") or "dollars",
        part=said.get("part"),
        settled=said.get("settled") or 0,
        held=said.get("held") or 0,
        limit=said.get("limit"),
        text=said.get("text") or "",
        sinks=tuple(said.get("sinks") or ()),
    )


def changes(store: Store, of: tuple[str | None, str | None], before: str | None, limit: int) -> ChangesShown:
    """See `Reports.changes`; `of` are the subject and the budget that are meant."""
    subject, budget = of
    subjects = None if subject is None else {subject, escape(subject)}
    newest = store.noted(RecordQuery("change", before=before, newest=True))
    wanted = (
        each
        for each in map(_change_shown, newest)
        if (subjects is None or each.subject in subjects) and (budget is None or each.budget == budget)
    )
    rows = list(islice(wanted, limit + 1))
    return ChangesShown(tuple(rows[:limit]), rows[limit - 1].id if len(rows) > limit else None)


def _change_shown(record: Record) -> ChangeShown:
    said = _said(record)
    return ChangeShown(
        id=record.id,
        at_ms=record.at_ms,
        who=said.get("who") or "",
        via=said.get("via") or "",
        what=said.get("what") or "",
        budget=said.get("budget") or "",
        subject=said.get("subject") or "",
        before=json.dumps(said.get("before")),
        after=json.dumps(said.get("after")),
        note=said.get("note") or "",
    )


def _said(record: Record) -> Mapping[str, Any]:
    """A body; what is none says nothing, as it may be of anybody who writes to the store."""
    try:
        said = json.loads(record.body)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _place(text: str) -> tuple[Millis, str]:
    at_ms, _, name = text.partition("-")
    if not at_ms.isdigit():
        raise ConfigError(f"before={text!r}: the `next` of the page before is needed")
    return int(at_ms), name
