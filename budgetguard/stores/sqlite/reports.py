"""
What people ask of a SQLite file: lists, totals, and whether the books add up.

They read on a connection of their own, a page at a time, so that no call waits for a report.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

from ...errors import ConfigError
from ...ledger import (
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
    Total,
    Unit,
    beside_dollars,
    once_booked,
    unit_of,
)
from ..encoding import KeyRange, day_text, flags_of_text, key_range, raw
from ..rules import MS_PER_DAY, Sums
from .link import SQLiteFile
from .rows import amounts_held, beside_of_hold, due_key, keys_of_json, tag_json, tag_path, text

PAGE = 1000
"""Rows read at a time."""

_CACHED = 16_384

UNITS: tuple[Unit, ...] = ("dollars", "tokens", "requests")
"""The columns of amounts."""

EXPIRED = """
SELECT hold.accounts, hold.charge, hold.dollars, hold.tokens, hold.requests
FROM holds AS due CROSS JOIN holds AS hold ON hold.ns = due.ns AND hold.key = due.id AND hold.id = ''
WHERE due.ns = ? AND due.key BETWEEN x'' AND ? AND NOT hold.ended"""

OPEN = """
SELECT hold.key, hold.accounts, hold.placed_ms, hold.due_ms, hold.tags, hold.provider, hold.model,
       hold.dollars, hold.tokens, hold.requests
FROM holds AS due CROSS JOIN holds AS hold ON hold.ns = due.ns AND hold.key = due.id AND hold.id = ''
WHERE due.ns = ? AND due.key > ? AND NOT hold.ended ORDER BY hold.placed_ms, hold.key"""

COLUMNS = "id, dollars, accounts, at_ms, tags, provider, model, usage, flags, tokens, requests"


def expired(connection: sqlite3.Connection, ns: int, now: Millis) -> dict[str, Sums]:
    """What is due and not yet reaped, by account: what to add to settled, and to take from held."""
    found: dict[str, Sums] = {}
    for accounts, charge, *held in connection.execute(EXPIRED, (ns, due_key(now))):
        amounts = amounts_held(accounts, *held)
        booked = once_booked(amounts) if charge else {}
        for key in keys_of_json(accounts):
            unit, (settled, taken) = unit_of(key), found.get(key, (0, 0))
            found[key] = (settled + booked.get(unit, 0), taken + amounts[unit])
    return found


def accounts(file: SQLiteFile, prefix: str, after: str | None, now: Millis) -> Iterator[Balance]:
    """See `Store.accounts`."""
    for key, settled, held, adjust in _keyed(file, "accounts", "key, settled, held", key_range(prefix, after), now):
        charged, taken = adjust.get(key, (0, 0))
        yield Balance(key, settled + charged, held - taken)


def carried(file: SQLiteFile, after: str | None) -> Iterator[Carried]:
    """See `Store.carried`."""
    for key, end_ms, pruned, _ in _keyed(file, "accounts", "key, end_ms, pruned", key_range("", after)):
        yield Carried(key, end_ms, pruned)


def all_terms(file: SQLiteFile, prefix: str, after: str | None) -> Iterator[Terms]:
    """See `Store.all_terms`."""
    for key, version, body, _ in _keyed(file, "terms", "key, version, body", key_range(prefix, after)):
        if body is not None:
            yield Terms(key, version, body)


def holds(file: SQLiteFile, now: Millis) -> list[OpenHold]:
    """See `Store.holds`."""
    with file.read(file.reporter) as connection:
        if connection is None:
            return []
        rows = connection.execute(OPEN, (file.ns, due_key(now))).fetchall()
    return [_open_hold(*row) for row in rows]


def _open_hold(hold_id: str, keys: str, placed: Millis, due: Millis, tags: str, *said: Any) -> OpenHold:
    provider, model, *held = said
    amounts, named = amounts_held(keys, *held), tuple(keys_of_json(keys))
    units = beside_of_hold(amounts)
    return OpenHold(hold_id, amounts["dollars"], named, placed, due, json.loads(tags), provider, model, units)


def entries(file: SQLiteFile, query: Query) -> Iterator[Entry]:
    """See `Store.entries`."""
    where, values = _where(file, query)
    return _pages(file, where, values, query.limit)


def totals(file: SQLiteFile, by: Sequence[str], query: Query) -> list[Total]:
    """See `Store.totals`."""
    where, values = _where(file, query)
    columns, paths = [], []
    for name in by:
        if name in {"model", "provider"}:
            columns.append(name)
        elif name == "day":
            columns.append(f"at_ms / {MS_PER_DAY}")
        else:
            columns.append("tags -> ?")
            paths.append(tag_path(name))
    groups = "".join([f"{column} AS g{place}, " for place, column in enumerate(columns)])
    names = ", ".join([f"g{place}" for place in range(len(columns))])
    page = "" if query.limit is None else f" ORDER BY at_ms, id LIMIT {max(0, query.limit):d}"
    sql = (
        f"SELECT {names + ', ' if names else ''}sum(dollars), count(*), sum(estimated), sum(cut), {_halves('input')}, "
        f"{_halves('output')} FROM (SELECT {groups}dollars, usage ->> '$.input_tokens' AS input, "
        "usage ->> '$.output_tokens' AS output, instr(flags, ' estimated ') > 0 AS estimated, "
        "instr(flags, ' cut ') > 0 AS cut "
        f"FROM entries WHERE {where}{page}) {'GROUP BY ' + names if names else 'HAVING count(*) > 0'}"
    )
    with file.read(file.reporter) as connection:
        rows = [] if connection is None else connection.execute(sql, (*paths, file.ns, *values)).fetchall()
    return sorted([_total(by, row) for row in rows], key=lambda total: total.group)


def _halves(column: str) -> str:
    """The sums of the upper and of the lower halves of numbers: a sum of large ones would end in an error."""
    return f"coalesce(sum({column} >> 32), 0), coalesce(sum({column} & 4294967295), 0)"


def _wholes(halves: Sequence[int]) -> list[int]:
    """The sums of which these are the halves."""
    return [(upper << 32) + lower for upper, lower in zip(halves[::2], halves[1::2], strict=True)]


def _total(by: Sequence[str], row: Sequence[Any]) -> Total:
    cost, calls, estimated, cut, *halves = row[len(by) :]
    input_tokens, output_tokens = _wholes(halves)
    return Total(tuple(map(_group, by, row[: len(by)])), cost, calls, input_tokens, output_tokens, estimated, cut)


def noted(file: SQLiteFile, query: RecordQuery) -> Iterator[Record]:
    """See `Store.noted`."""
    after, before, left = query.after, query.before, query.limit
    while left is None or left > 0:
        page = PAGE if left is None else min(PAGE, left)
        sql, values = _record_page(query, after, before, page)
        with file.read(file.reporter) as connection:
            rows = [] if connection is None else connection.execute(sql, (file.ns, *values)).fetchall()
        for record_id, at_ms, until_ms, body in rows:
            yield Record(query.kind, record_id, at_ms, body, until_ms)
        if len(rows) < page:
            return
        left = None if left is None else left - page
        if query.newest:
            before = rows[-1][0]
        else:
            after = rows[-1][0]


def _record_page(query: RecordQuery, after: str | None, before: str | None, page: int) -> tuple[str, list[Any]]:
    conditions, values = ["kind = CAST(? AS TEXT)"], [text(query.kind)]
    if after is not None:
        conditions.append("id > CAST(? AS TEXT)")
        values.append(text(after))
    if before is not None:
        conditions.append("id < CAST(? AS TEXT)")
        values.append(text(before))
    order = "id DESC" if query.newest else "id"
    sql = f"SELECT id, at_ms, until_ms, body FROM records WHERE ns = ? AND {' AND '.join(conditions)} "
    return f"{sql}ORDER BY {order} LIMIT {page:d}", values


def check(file: SQLiteFile) -> list[Difference]:
    """See `Store.check`."""
    with file.read(file.reporter) as connection:
        if connection is None:
            return []
        books = connection.execute(
            "SELECT key, settled, held, pruned FROM accounts WHERE ns = ?", (file.ns,)
        ).fetchall()
        sums: dict[str, list[int]] = {}
        for place, table in enumerate(("entries WHERE ns = ?", "holds WHERE ns = ? AND NOT ended")):
            halves = ", ".join([_halves(unit) for unit in UNITS])
            for keys, rows, *summed in connection.execute(
                f"SELECT accounts, count(*), {halves} FROM {table} GROUP BY accounts", (file.ns,)
            ):
                amounts: dict[Unit, int] = dict(zip(UNITS, _wholes(summed), strict=True))
                amounts["parallel"] = place * rows  # one each, while it is held
                for key in keys_of_json(keys):
                    sums.setdefault(key, [0, 0])[place] += amounts[unit_of(key)]
    found = []
    missing = [(key, 0, 0, 0) for key in sums.keys() - {row[0] for row in books}]
    for key, settled, held, pruned in sorted([*books, *missing]):
        spent, open_ = sums.get(key, (0, 0))
        if settled != spent + pruned:
            found.append(Difference(key, "settled", settled, spent + pruned))
        if held != open_:
            found.append(Difference(key, "held", held, open_))
    return found


def namespaces(file: SQLiteFile) -> list[str]:
    """See `Store.namespaces`."""
    there = [f"EXISTS (SELECT 1 FROM {table} WHERE ns = n.id)" for table in ("terms", "accounts", "entries")]
    sql = f"SELECT name FROM namespaces AS n WHERE {' OR '.join(there)} ORDER BY name"
    with file.read(file.reporter, others=True) as connection:
        return [] if connection is None else [name for (name,) in connection.execute(sql).fetchall()]


def _keyed(file: SQLiteFile, table: str, columns: str, keys: KeyRange, now: Millis = 0) -> Iterator[tuple[Any, ...]]:
    """The rows of a table by key, each with what is expired at a moment."""
    last, comparison, end = keys
    while True:
        with file.read(file.reporter) as connection:
            if connection is None:
                return
            rows = connection.execute(
                f"SELECT {columns} FROM {table} WHERE ns = ? AND key {comparison} CAST(? AS TEXT) "
                "AND key < CAST(? AS TEXT) ORDER BY key LIMIT ?",
                (file.ns, last, end, PAGE),
            ).fetchall()
            adjust = expired(connection, file.ns, now) if now else {}
        for row in rows:
            yield (*row, adjust)
        if len(rows) < PAGE:
            return
        last, comparison = raw(rows[-1][0]), ">"


def _where(file: SQLiteFile, query: Query) -> tuple[str, list[Any]]:
    """The condition of a query behind "ns = ?", and its values."""
    conditions, values = ["ns = ?"], list[Any]()
    if query.since_ms is not None:
        conditions.append("at_ms >= ?")
        values.append(query.since_ms)
    if query.until_ms is not None:
        conditions.append("at_ms < ?")
        values.append(query.until_ms)
    if query.model is not None:
        conditions.append("model = CAST(? AS TEXT)")
        values.append(text(query.model))
    for name, value in query.tags.items():
        conditions.append("tags -> ? = ?")
        values += [tag_path(name), tag_json(value)]
    if query.after is not None:
        conditions.append("(at_ms, id) > (?, ?)")
        values += _place_of(file, query.after)
    return " AND ".join(conditions), values


def _place_of(file: SQLiteFile, hold_id: str) -> tuple[Millis, str]:
    sql = "SELECT at_ms FROM holds WHERE ns = ? AND key = ? AND id = '' AND at_ms IS NOT NULL"
    with file.read(file.reporter) as connection:
        rows = [] if connection is None else connection.execute(sql, (file.ns, hold_id)).fetchall()
    if not rows:
        raise ConfigError(f"after={hold_id!r}: no entry has this hold id; begin with the first page again")
    return rows[0][0], hold_id


def _pages(file: SQLiteFile, where: str, values: list[Any], limit: int | None) -> Iterator[Entry]:
    place: tuple[Any, ...] = ()
    left = limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        behind = "AND (at_ms, id) > (?, ?) " if place else ""
        with file.read(file.reporter) as connection:
            if connection is None:
                return
            sql = f"SELECT {COLUMNS} FROM entries WHERE {where} {behind}ORDER BY at_ms, id LIMIT ?"
            rows = connection.execute(sql, (file.ns, *values, *place, size)).fetchall()
        for row in rows:
            yield _entry(row)
        if len(rows) < size:
            return
        place = (rows[-1][3], rows[-1][0])
        left = None if left is None else left - size


def _entry(row: tuple[Any, ...]) -> Entry:
    hold_id, cost, keys, at_ms, tags, provider, model, usage, flags, tokens, requests = row
    charged, named = _charged(keys), dict(_named(tags))
    units = beside_dollars({"tokens": tokens, "requests": requests})
    return Entry(hold_id, cost, charged, at_ms, named, provider, model, json.loads(usage), flags_of_text(flags), units)


@lru_cache(_CACHED)
def _charged(keys: str) -> tuple[str, ...]:
    """The accounts of many entries: those of a user, on a day, are the same."""
    return tuple(keys_of_json(keys))


@lru_cache(_CACHED)
def _named(tags: str) -> tuple[tuple[str, str], ...]:
    """The tags of many entries: their text is read once."""
    return tuple(json.loads(tags).items())


def _group(name: str, value: Any) -> str:
    if name == "day":
        return day_text(value)
    if name in {"model", "provider"}:
        return str(value)
    return "" if value is None else str(json.loads(value))
