"""`/v1/users`, `/v1/entries` and `/v1/spend`: who spent how much, on what, and when."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import dropwhile, islice
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from ....ledger import Entry, Millis, Query, Store, Total
from ....money import DOLLAR
from ...problems import Refused
from ..action import Action, Ask, Raw
from .fields import PAGE, READERS, PageQuery, PageSize, Short, iso

_CSV_PAGE = 1_000
_CSV_COLUMNS = ("at", "user", "provider", "model", "cost", "input_tokens", "output_tokens", "flags", "tags", "hold_id")


class UserOut(Struct, frozen=True):
    """Somebody who has a budget, or spent something."""

    user: str
    has_budget: bool
    spent: float
    calls: int


class UsersPage(Struct, frozen=True):
    """Users, by name."""

    users: list[UserOut]
    next: str | None


class EntriesQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """Which entries; `tag` is name=value and may be repeated; times are [since, until)."""

    user: Short | None = None
    model: Short | None = None
    tag: Annotated[list[Short], Meta(max_length=20)] = []
    since: Short | None = None
    until: Short | None = None
    after: Short | None = None
    limit: PageSize | None = None
    format: Literal["json", "csv"] = "json"


class EntryShown(Struct, frozen=True, kw_only=True):
    """One call."""

    hold_id: str
    at: str
    cost: float
    cost_nano: int
    user: str | None
    provider: str
    model: str
    tags: dict[str, str]
    usage: dict[str, int]
    units: dict[str, int]
    flags: list[str]
    accounts: list[str]


class EntriesOut(Struct, frozen=True):
    """Entries, the oldest first."""

    entries: list[EntryShown]
    next: str | None


class SpendQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """How to group (`by`, may be repeated), and which entries."""

    by: Annotated[list[Annotated[str, Meta(min_length=1, max_length=500)]], Meta(max_length=20)] = []
    user: Short | None = None
    model: Short | None = None
    tag: Annotated[list[Short], Meta(max_length=20)] = []
    since: Short | None = None
    until: Short | None = None


class SpendGroup(Struct, frozen=True):
    """What one group adds up to."""

    group: dict[str, str]
    cost: float
    calls: int
    input_tokens: int
    output_tokens: int
    estimated: int
    cut: int


class SpendOut(Struct, frozen=True):
    """The groups, and all of them together."""

    by: list[str]
    groups: list[SpendGroup]
    cost: float


def list_users(ask: Ask) -> UsersPage:
    """Everybody who has a budget, or spent something: how much and in how many calls, ever."""
    asked: PageQuery = ask.query
    store = ask.project.store
    users = {total.group[0]: total for total in store.totals(["user"]) if total.group[0]}
    with_budget = {own.user for own in ask.project.users.all()}
    names: Iterable[str] = sorted({*users, *with_budget})
    if asked.after is not None:
        after = asked.after
        names = dropwhile(lambda name: name <= after, names)
    page = list(islice(names, asked.limit))
    nothing = Total((), 0, 0, 0, 0, 0)
    shown = [
        UserOut(name, name in with_budget, users.get(name, nothing).cost / DOLLAR, users.get(name, nothing).calls)
        for name in page
    ]
    return UsersPage(shown, page[-1] if len(page) == asked.limit else None)


def list_entries(ask: Ask) -> EntriesOut | Raw:
    """The history, the oldest first: a page of JSON, or all of it as CSV."""
    asked: EntriesQuery = ask.query
    query = _query(asked, asked.user)
    if asked.format == "csv":
        first = list(ask.project.store.entries(replace(query, limit=_page_size(asked.limit))))
        name = (b"content-disposition", b'attachment; filename="entries.csv"')
        return Raw("text/csv; charset=utf-8", _csv(ask.project.store, query, first, asked.limit), (name,))
    limit = asked.limit or PAGE
    found = list(ask.project.store.entries(replace(query, limit=limit)))
    return EntriesOut([_entry(each) for each in found], found[-1].hold_id if len(found) == limit else None)


def spend(ask: Ask) -> SpendOut:
    """What was spent, grouped by user, model, provider, day or any tag."""
    asked: SpendQuery = ask.query
    by = asked.by or ["user"]
    totals = ask.project.store.totals(by, _query(asked, asked.user))
    groups = [
        SpendGroup(
            dict(zip(by, total.group, strict=True)),
            total.cost / DOLLAR,
            total.calls,
            total.input_tokens,
            total.output_tokens,
            total.estimated,
            total.cut,
        )
        for total in totals
    ]
    return SpendOut(by, groups, sum(total.cost for total in totals) / DOLLAR)


def _query(asked: EntriesQuery | SpendQuery, user: str | None) -> Query:
    tags: dict[str, str] = {}
    for pair in asked.tag:
        name, separator, value = pair.partition("=")
        if not (separator and name):
            raise Refused(422, f"tag={pair!r}: write name=value, such as team=search", param="tag")
        tags[name] = value
    if user is not None:
        tags["user"] = user
    after = asked.after if isinstance(asked, EntriesQuery) else None
    return Query(_moment(asked.since, "since"), _moment(asked.until, "until"), tags, asked.model, after)


def _moment(text: str | None, name: str) -> Millis | None:
    """A time in ISO 8601 (UTC unless it says otherwise), in milliseconds."""
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise Refused(422, f"{name}={text!r}: write a day (2026-01-31) or a time in ISO 8601", param=name) from None


def _entry(entry: Entry) -> EntryShown:
    return EntryShown(
        hold_id=entry.hold_id,
        at=iso(entry.at_ms),
        cost=entry.cost / DOLLAR,
        cost_nano=entry.cost,
        user=entry.tags.get("user"),
        provider=entry.provider,
        model=entry.model,
        tags=dict(entry.tags),
        usage=dict(entry.usage),
        units={str(unit): used for unit, used in entry.units.items()},
        flags=sorted(entry.flags),
        accounts=list(entry.accounts),
    )


def _csv(store: Store, query: Query, page: list[Entry], limit: int | None) -> Iterator[bytes]:
    """The head, and a piece for every page of entries."""
    yield _rows([_CSV_COLUMNS])
    left = limit
    while page:
        yield _rows(_row(entry) for entry in page)
        left = None if left is None else left - len(page)
        if left == 0 or len(page) < _CSV_PAGE:
            return
        page = list(store.entries(replace(query, after=page[-1].hold_id, limit=_page_size(left))))


def _page_size(left: int | None) -> int:
    return _CSV_PAGE if left is None else min(left, _CSV_PAGE)


def _row(entry: Entry) -> list[Any]:
    return [
        iso(entry.at_ms),
        entry.tags.get("user", ""),
        entry.provider,
        entry.model,
        f"{entry.cost / DOLLAR:.9f}",
        entry.usage.get("input_tokens", 0),
        entry.usage.get("output_tokens", 0),
        " ".join(sorted(entry.flags)),
        ";".join(f"{name}={value}" for name, value in sorted(entry.tags.items())),
        entry.hold_id,
    ]


def _rows(rows: Iterable[Iterable[Any]]) -> bytes:
    made = io.StringIO()
    csv.writer(made).writerows([_cell(cell) for cell in row] for row in rows)
    return made.getvalue().encode("utf-8", "backslashreplace")


def _cell(value: Any) -> Any:
    """A text that a spreadsheet would take for a formula begins with an apostrophe: users choose their names."""
    return f"'{value}" if isinstance(value, str) and value[:1] in {"=", "+", "-", "@", "\t", "\r"} else value


ENDPOINTS = [
    Action("GET", "/v1/users", list_users, UsersPage, READERS, query=PageQuery, slow=True),
    Action("GET", "/v1/entries", list_entries, EntriesOut, READERS, query=EntriesQuery, slow=True, also=("text/csv",)),
    Action("GET", "/v1/spend", spend, SpendOut, READERS, query=SpendQuery, slow=True),
]
