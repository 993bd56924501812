"""`projects`: what a store has the books of."""

from __future__ import annotations

from typing import NamedTuple

from ...budgets.rules import USERS
from ...config import Config, load_config
from ...ledger import Entry, Millis, Query, Store
from ...money import Nano
from ...reports.cube.zones import month_named
from ...reports.spent import added
from ...stores import open_store, projects_in, shown
from ..common.options import CsvOption, JsonOption, StoreOption, require_there
from ..common.show import console, in_csv, iso, moment, money, print_csv, print_json, when
from ..common.tables import Column, table


class ProjectShown(NamedTuple):
    """One project of a store."""

    project: str
    users: int
    """Who has a budget of their own."""
    month: Nano
    """What this month of UTC cost by now."""
    cost: Nano
    entries: int
    last_ms: Millis | None
    """When the last call was settled."""


COLUMNS = (
    Column("project"),
    Column("users", number=True, drop=3),
    Column("this month", number=True),
    Column("in all", number=True, drop=1),
    Column("entries", number=True, drop=2),
    Column("last call", drop=4),
)


def projects(store: StoreOption = None, as_json: JsonOption = False, as_csv: CsvOption = False) -> None:
    """
    The projects of a store: their users, what they spent this month (UTC), and when they were last called.

    Example: budgetguard projects --store sqlite:///budgets.db
    """
    config = load_config(store=store)
    require_there(config)
    found = [_project(config, name) for name in _names(config)]
    if as_json:
        print_json([{**each._asdict(), "last_at": iso(each.last_ms)} for each in found])
    elif as_csv:
        header = ("project", "users", "month", "cost", "entries", "last_at")
        rows = [
            (*each[:2], in_csv(each.month), in_csv(each.cost), each.entries, iso(each.last_ms) or "") for each in found
        ]
        print_csv(header, rows)
    elif found:
        console().print(table(COLUMNS, [_row(each) for each in found]))
    else:
        console().print(f"{shown(config.url)} has no project yet: the first call of a program makes one.")


def _names(config: Config) -> list[str]:
    books = open_store(config.url, namespace=config.project, headers=config.headers())
    try:
        return projects_in(books)
    finally:
        books.close()


def _project(config: Config, name: str) -> ProjectShown:
    books = open_store(config.url, namespace=name, headers=config.headers())
    try:
        month = month_named(f"{when(books.now_ms()):%Y-%m}", "UTC")
        month_cost, _ = _spent(books, Query(since_ms=month.start_ms))
        cost, entries = _spent(books, Query())
        users = sum(terms.body is not None for terms in books.all_terms(USERS))
        return ProjectShown(name, users, month_cost, cost, entries, last_call_ms(books) if entries else None)
    finally:
        books.close()


def _spent(books: Store, query: Query) -> tuple[Nano, int]:
    whole = added(books.totals((), query))
    return whole.cost, whole.calls


def last_call_ms(books: Store) -> Millis | None:
    """When the newest entry was made: a history is read the oldest first, so its end is found by halves."""
    found, end_ms = _first(books, 0), books.now_ms() + 1
    last = None if found is None else found.at_ms
    while last is not None and last + 1 < end_ms:
        middle = (last + 1 + end_ms) // 2
        later = _first(books, middle)
        if later is None:
            end_ms = middle
        else:
            last = later.at_ms
    return last


def _first(books: Store, since_ms: Millis) -> Entry | None:
    return next(iter(books.entries(Query(since_ms=since_ms, limit=1))), None)


def _row(each: ProjectShown) -> list[str]:
    return [
        each.project,
        f"{each.users:,}",
        money(each.month),
        money(each.cost),
        f"{each.entries:,}",
        moment(each.last_ms),
    ]
