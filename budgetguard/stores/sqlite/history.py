"""
What operators do to the books of a SQLite file: set terms, take over the books of another store, forget the old;
and what is written down beside the books.
"""

from __future__ import annotations

from collections.abc import Sequence

from ...ledger import Carried, Entry, Millis, Record, Terms, unit_of
from ..rules import over_ms
from .accounts import ADD
from .books import DELETE_ENTRY, DELETE_HOLD, ENTER, RECORD, SQLiteBooks
from .rows import EntryLine, entry_row, find_terms, keys_of_json, text

PRUNE_ROWS = 2000
"""Entries deleted in one transaction: others wait for it."""

CARRY = """
INSERT INTO accounts (ns, key, settled, pruned, end_ms) VALUES (?, CAST(? AS TEXT), ?, ?, ?)
ON CONFLICT DO UPDATE SET
    settled = settled - pruned + excluded.pruned, pruned = excluded.pruned, end_ms = excluded.end_ms"""

SET_TERMS = "REPLACE INTO terms (ns, key, version, body) VALUES (?, CAST(? AS TEXT), ?, CAST(? AS TEXT))"

PUT_TERMS = """
INSERT INTO terms (ns, key, version, body) VALUES (?, CAST(? AS TEXT), ?, CAST(? AS TEXT))
ON CONFLICT DO UPDATE SET version = excluded.version, body = excluded.body WHERE excluded.version > version"""

DELETE_ACCOUNTS = """
DELETE FROM accounts WHERE ns = ? AND end_ms <= ? AND settled = pruned AND held = 0 AND key NOT IN (
    SELECT each.value
    FROM holds AS due CROSS JOIN holds AS hold ON hold.ns = due.ns AND hold.key = due.id AND hold.id = '',
         json_each(hold.accounts) AS each
    WHERE due.ns = ? AND due.key >= x'' AND NOT hold.ended
          AND (hold.dollars = 0 OR hold.tokens = 0 OR hold.requests = 0))"""


NOTE = """
INSERT INTO records (ns, kind, id, at_ms, until_ms, over_ms, body)
VALUES (?, CAST(? AS TEXT), CAST(? AS TEXT), ?, ?, ?, CAST(? AS TEXT)) ON CONFLICT DO """
ONCE = NOTE + "NOTHING"
OVER = f"""{NOTE}
UPDATE SET at_ms = excluded.at_ms, until_ms = excluded.until_ms, over_ms = excluded.over_ms, body = excluded.body"""

IS_THERE = "SELECT 1 FROM records WHERE ns = ? AND kind = CAST(? AS TEXT) AND id = CAST(? AS TEXT)"

DELETE_RECORDS = """
DELETE FROM records WHERE (ns, kind, id) IN (
    SELECT ns, kind, id FROM records WHERE ns = ? AND over_ms < ? ORDER BY over_ms LIMIT ?)"""


def put_terms(books: SQLiteBooks, key: str, body: str | None, expected: int | None) -> Terms | None:
    """See `Store.put_terms`."""
    there = find_terms(books.execute, books.ns, key)
    version = 0 if there is None else there.version
    if expected is not None and expected != version:
        return None
    books.execute(
        SET_TERMS,
        (books.ns, text(key), version + 1, None if body is None else text(body)),
    )
    return Terms(key, version + 1, body)


def load(books: SQLiteBooks, terms: Sequence[Terms], accounts: Sequence[Carried], entries: Sequence[Entry]) -> None:
    """See `Store.load`."""
    ns = books.ns
    books.cursor.executemany(
        PUT_TERMS,
        [(ns, text(each.key), each.version, None if each.body is None else text(each.body)) for each in terms],
    )
    books.cursor.executemany(CARRY, [(ns, text(each.key), each.pruned, each.pruned, each.end_ms) for each in accounts])
    sums: dict[str, int] = {}
    for entry in entries:
        held = books.find(entry.hold_id)
        if held is None or books.take_back(entry.hold_id, held):
            keys, used = tuple(dict.fromkeys(entry.accounts)), entry.amounts()
            books.execute(ENTER, (ns, entry.hold_id, entry.at_ms))
            books.execute(RECORD, entry_row(ns, entry, entry.at_ms, entry.flags, keys))
            for key in keys:
                sums[key] = sums.get(key, 0) + used[unit_of(key)]
    books.cursor.executemany(ADD, [(ns, text(key), sum_, 0, None) for key, sum_ in sums.items()])


def note(books: SQLiteBooks, records: Sequence[Record], replace: bool) -> list[bool]:
    """See `Store.note`."""
    execute, ns, found = books.execute, books.ns, []
    for each in records:
        found.append(execute(IS_THERE, (ns, text(each.kind), text(each.id))).fetchone() is None)
        row = (ns, text(each.kind), text(each.id), each.at_ms, each.until_ms, over_ms(each), text(each.body))
        execute(OVER if replace else ONCE, row)
    return found


def prune_records(books: SQLiteBooks, before_ms: Millis) -> int:
    """A part of `Store.prune`: at most `PRUNE_ROWS` records."""
    return books.execute(DELETE_RECORDS, (books.ns, before_ms, PRUNE_ROWS)).rowcount


def prune(books: SQLiteBooks, before_ms: Millis) -> int:
    """A part of `Store.prune`: at most `PRUNE_ROWS` entries, and the accounts once fewer than that are left."""
    execute, ns = books.execute, books.ns
    rows = execute(
        "SELECT id, at_ms, flags, accounts, dollars, tokens, requests FROM entries WHERE ns = ? AND at_ms < ? "
        "ORDER BY at_ms, id LIMIT ?",
        (ns, before_ms, PRUNE_ROWS),
    ).fetchall()
    for hold_id, *row in rows:
        entry = EntryLine(*row)
        booked, at_ms = entry.amounts(), entry.at_ms
        for key in keys_of_json(entry.accounts):
            execute(
                "UPDATE accounts SET pruned = pruned + ? WHERE ns = ? AND key = CAST(? AS TEXT)",
                (booked[unit_of(key)], ns, text(key)),
            )
        execute(DELETE_ENTRY, (ns, at_ms, hold_id))
        execute(DELETE_HOLD, (ns, hold_id, ""))
    if len(rows) < PRUNE_ROWS:
        execute(DELETE_ACCOUNTS, (ns, before_ms, ns))
    return len(rows)
