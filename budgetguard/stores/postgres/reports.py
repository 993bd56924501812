"""
What people ask of PostgreSQL: lists, totals, and whether the books add up.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

from ...errors import ConfigError
from ...ledger import (
    Balance,
    Carried,
    Difference,
    Entry,
    Millis,
    OpenHold,
    Query,
    Terms,
    Total,
    beside_dollars,
)
from ..encoding import KeyRange, day_text, flags_of_text, from_raw, key_range, raw
from ..rules import MS_PER_DAY
from .rows import counted, texts

PAGE = 1000
"""Rows read at a time."""

Select: TypeAlias = Callable[..., list[tuple[Any, ...]]]
"""Runs a statement with its values; the rows."""

NOW = "budgetguard.now_ms(%s)"

# What is due and not yet reaped: to add to settled, and to take from held.
EXPIRED = """
SELECT each.key, sum(each.settled)::bigint AS settled, sum(each.held)::bigint AS held
FROM (
    SELECT k.key, (budgetguard.booked(h))[budgetguard.unit(k.key)] AS settled,
           (budgetguard.amounts(h))[budgetguard.unit(k.key)] AS held
    FROM budgetguard.holds AS h CROSS JOIN LATERAL unnest(h.accounts) AS k (key)
    WHERE h.ns = %s AND h.due_ms <= (SELECT budgetguard.now_ms(%s)) AND NOT h.ended
) AS each GROUP BY each.key"""

BALANCES = f"""
SELECT a.key, a.settled + coalesce(x.settled, 0), a.held - coalesce(x.held, 0)
FROM budgetguard.accounts AS a LEFT JOIN ({EXPIRED}) AS x ON x.key = a.key WHERE a.ns = %s"""

HOLDS = """
SELECT id, amount, accounts, placed_ms, due_ms, tag_names, tag_values, provider, model, tokens, requests
FROM budgetguard.holds
WHERE ns = %s AND due_ms > (SELECT budgetguard.now_ms(%s)) AND NOT ended ORDER BY placed_ms, id"""

ENTRIES = """
SELECT id, cost, accounts, at_ms, tag_names, tag_values, provider, model, usage, flags, late, expired, tokens,
       requests
FROM budgetguard.entries WHERE"""

CHECK = """
SELECT key, coalesce(a.settled, 0), coalesce(a.held, 0), coalesce(s.settled, 0) + coalesce(a.pruned, 0),
       coalesce(s.held, 0)
FROM (SELECT * FROM budgetguard.accounts WHERE ns = %s) AS a
FULL JOIN (
    SELECT key, sum(settled)::bigint AS settled, sum(held)::bigint AS held FROM (
        SELECT k.key, (budgetguard.amounts(e))[budgetguard.unit(k.key)] AS settled, 0 AS held
        FROM budgetguard.entries AS e CROSS JOIN LATERAL unnest(e.accounts) AS k (key) WHERE e.ns = %s
        UNION ALL
        SELECT k.key, 0, (budgetguard.amounts(h))[budgetguard.unit(k.key)]
        FROM budgetguard.holds AS h CROSS JOIN LATERAL unnest(h.accounts) AS k (key) WHERE h.ns = %s AND NOT h.ended
    ) AS each GROUP BY key
) AS s USING (key)
WHERE coalesce(a.settled, 0) <> coalesce(s.settled, 0) + coalesce(a.pruned, 0)
    OR coalesce(a.held, 0) <> coalesce(s.held, 0)
ORDER BY key"""


def balances(ask: Select, ns: int, keys: Sequence[str], now: int) -> list[Balance]:
    """See `Store.balances`."""
    rows = ask(BALANCES + " AND a.key = ANY (%s)", (ns, now, ns, texts([raw(key) for key in keys])))
    found = {from_raw(key): (settled, held) for key, settled, held in rows}
    return [Balance(key, *found.get(key, (0, 0))) for key in keys]


def accounts(ask: Select, ns: int, prefix: str, after: str | None, now: int) -> Iterator[Balance]:
    """See `Store.accounts`."""
    for key, settled, held in _keyed(ask, BALANCES, "a.key", (ns, now, ns), key_range(prefix, after)):
        yield Balance(from_raw(key), settled, held)


def carried(ask: Select, ns: int, after: str | None) -> Iterator[Carried]:
    """See `Store.carried`."""
    select = "SELECT key, end_ms, pruned FROM budgetguard.accounts WHERE ns = %s"
    for key, end_ms, pruned in _keyed(ask, select, "key", (ns,), key_range("", after)):
        yield Carried(from_raw(key), end_ms, pruned)


def all_terms(ask: Select, ns: int, prefix: str, after: str | None) -> Iterator[Terms]:
    """See `Store.all_terms`."""
    select = "SELECT key, version, body FROM budgetguard.terms WHERE ns = %s AND body IS NOT NULL"
    for key, version, body in _keyed(ask, select, "key", (ns,), key_range(prefix, after)):
        yield Terms(from_raw(key), version, from_raw(body))


def namespaces(ask: Select) -> list[str]:
    """See `Store.namespaces`."""
    there = [f"EXISTS (SELECT FROM budgetguard.{table} WHERE ns = n.ns)" for table in ("terms", "accounts", "entries")]
    rows = ask(f"SELECT name FROM budgetguard.namespaces AS n WHERE {' OR '.join(there)} ORDER BY name", ())
    return [from_raw(name) for (name,) in rows]


def find_terms(ask: Select, ns: int, keys: Sequence[str]) -> list[Terms]:
    """The terms under these keys, of those that there are."""
    rows = ask(
        "SELECT key, version, body FROM budgetguard.terms WHERE ns = %s AND key = ANY (%s)",
        (ns, texts([raw(key) for key in keys])),
    )
    return [Terms(from_raw(key), version, None if body is None else from_raw(body)) for key, version, body in rows]


def holds(ask: Select, ns: int, now: int) -> list[OpenHold]:
    """See `Store.holds`."""
    return [_open_hold(row) for row in ask(HOLDS, (ns, now))]


def _open_hold(row: tuple[Any, ...]) -> OpenHold:
    id_, amount, keys, placed, due, names, values, by, model, tokens, requests = row
    tags, accounts = _tags(names, values), _keys(keys)
    units = counted(accounts, tokens, requests)
    return OpenHold(from_raw(id_), amount, accounts, placed, due, tags, from_raw(by), from_raw(model), units)


def entries(ask: Select, ns: int, query: Query) -> Iterator[Entry]:
    """See `Store.entries`."""
    where, values = _where(ask, ns, query)
    return _pages(ask, where, values, query.limit)


def totals(ask: Select, ns: int, by: Sequence[str], query: Query) -> list[Total]:
    """See `Store.totals`."""
    where, values = _where(ask, ns, query)
    columns: list[str] = []
    names: list[bytes] = []
    for name in by:
        if name in {"model", "provider"}:
            columns.append(name)
        elif name == "day":
            columns.append(f"at_ms / {MS_PER_DAY}")
        else:
            columns.append("tag_values[array_position(tag_names, %b)]")
            names.append(raw(name))
    groups = "".join([f"{column} AS g{place}, " for place, column in enumerate(columns)])
    listed = ", ".join([f"g{place}" for place in range(len(columns))])
    page = "" if query.limit is None else f" ORDER BY at_ms, id LIMIT {max(0, query.limit):d}"
    sql = (
        f"SELECT {listed + ', ' if listed else ''}sum(cost), count(*), sum(input), sum(output), "
        f"sum(estimated::integer), sum((position(' cut '::bytea IN flags) > 0)::integer) "
        f"FROM (SELECT {groups}cost, input, output, estimated, flags "
        f"FROM budgetguard.entries WHERE {where}{page}) AS each "
        f"{'GROUP BY ' + listed if listed else 'HAVING count(*) > 0'}"
    )
    found = [
        Total(tuple(map(_group, by, row[: len(by)])), *map(int, row[len(by) :])) for row in ask(sql, (*names, *values))
    ]
    return sorted(found, key=lambda total: total.group)


def check(ask: Select, ns: int) -> list[Difference]:
    """See `Store.check`."""
    found = []
    for key, settled, held, spent, open_ in ask(CHECK, (ns, ns, ns)):
        if settled != spent:
            found.append(Difference(from_raw(key), "settled", settled, spent))
        if held != open_:
            found.append(Difference(from_raw(key), "held", held, open_))
    return found


def _keyed(ask: Select, select: str, column: str, values: tuple[Any, ...], keys: KeyRange) -> Iterator[tuple[Any, ...]]:
    """Rows in the order of their keys, which come first."""
    last, comparison, end = keys
    while True:
        sql = f"{select} AND {column} {comparison} %b AND {column} < %b ORDER BY {column} LIMIT {PAGE}"
        rows = ask(sql, (*values, last, end))
        yield from rows
        if len(rows) < PAGE:
            return
        last, comparison = rows[-1][0], ">"


def _where(ask: Select, ns: int, query: Query) -> tuple[str, list[Any]]:
    """The condition of a query, and its values."""
    conditions, values = ["ns = %s"], list[Any]([ns])
    if query.since_ms is not None:
        conditions.append("at_ms >= %s")
        values.append(query.since_ms)
    if query.until_ms is not None:
        conditions.append("at_ms < %s")
        values.append(query.until_ms)
    if query.model is not None:
        conditions.append("model = %b")
        values.append(raw(query.model))
    for name, value in query.tags.items():
        conditions.append("tag_values[array_position(tag_names, %b)] = %b")
        values += [raw(name), raw(value)]
    if query.after is not None:
        conditions.append("(at_ms, id) > (%s, %b)")
        values += _place_of(ask, ns, query.after)
    return " AND ".join(conditions), values


def _place_of(ask: Select, ns: int, hold_id: str) -> tuple[Millis, bytes]:
    rows = ask("SELECT at_ms, id FROM budgetguard.entries WHERE ns = %s AND id = %b", (ns, raw(hold_id)))
    if not rows:
        raise ConfigError(f"after={hold_id!r}: no entry has this hold id; begin with the first page again")
    return rows[0][0], rows[0][1]


def _pages(ask: Select, where: str, values: list[Any], limit: int | None) -> Iterator[Entry]:
    place: tuple[Any, ...] = ()
    left = limit
    while left is None or left > 0:
        size = PAGE if left is None else min(PAGE, left)
        behind = " AND (at_ms, id) > (%s, %b)" if place else ""
        rows = ask(f"{ENTRIES} {where}{behind} ORDER BY at_ms, id LIMIT {size}", (*values, *place))
        for row in rows:
            yield _entry(row)
        if len(rows) < size:
            return
        place = (rows[-1][3], rows[-1][0])
        left = None if left is None else left - size


def _entry(row: tuple[Any, ...]) -> Entry:
    hold_id, cost, keys, at_ms, names, values, provider, model, usage, flags, late, expired, tokens, requests = row
    said = flags_of_text(from_raw(flags)) | ({"late"} if late else set()) | ({"expired"} if expired else set())
    return Entry(
        from_raw(hold_id),
        cost,
        _keys(keys),
        at_ms,
        _tags(names, values),
        from_raw(provider),
        from_raw(model),
        json.loads(usage),
        frozenset(said),
        beside_dollars({"tokens": tokens, "requests": requests}),
    )


def _keys(keys: Sequence[bytes]) -> tuple[str, ...]:
    return tuple([from_raw(key) for key in keys])


def _tags(names: Sequence[bytes], values: Sequence[bytes]) -> dict[str, str]:
    return {from_raw(name): from_raw(value) for name, value in zip(names, values, strict=True)}


def _group(name: str, value: Any) -> str:
    if name == "day":
        return day_text(value)
    return "" if value is None else from_raw(value)
