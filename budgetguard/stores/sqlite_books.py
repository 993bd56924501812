"""
What happens to the books of a SQLite file, inside one transaction.

Every statement is keyed: nothing here reads more rows the more accounts or entries there are.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from typing import Any

from ..ledger import (
    KEEP_ENDED_MS,
    Account,
    Admitted,
    Conflict,
    Ended,
    Entry,
    Hold,
    Millis,
    Refusal,
    Settled,
    Stale,
    Terms,
)
from ..money import Nano
from .rules import REAP, REAP_MORE, Sums, admit, final_flags, keys_of, last_end, more_keys, off_clock
from .sqlite_rows import (
    find_sums,
    find_terms,
    flags_text,
    keys_json,
    keys_of_json,
    tags_json,
    text,
    usage_json,
)

PRUNE_ROWS = 2000
"""Entries deleted in one transaction: others wait for it."""

LOOK = """
SELECT (SELECT key FROM holds WHERE ns = ?1 ORDER BY key LIMIT 1),
       (SELECT ended FROM holds WHERE ns = ?1 AND key = ?2 AND id = ''),
       EXISTS (SELECT 1 FROM entries WHERE ns = ?1 AND id = ?2)"""

FIND_HOLD = """
SELECT due_ms, ended, amount, charge, accounts, tags, provider, model FROM holds
WHERE ns = ? AND key = ? AND id = ''"""

FIND_ENTRY = "SELECT cost, flags, accounts FROM entries WHERE ns = ? AND id = ?"

FIND_DUE = """
SELECT due.id, hold.due_ms, ended, amount, charge, accounts, tags, provider, model
FROM (SELECT ns, key, id FROM holds WHERE ns = ? AND key <= ? ORDER BY key, id LIMIT ?) AS due
CROSS JOIN holds AS hold ON hold.ns = due.ns AND hold.key = due.id AND hold.id = ''
ORDER BY due.key, due.id"""

ADD = """
INSERT INTO accounts (ns, key, settled, held, end_ms) VALUES (?1, CAST(?2 AS TEXT), ?3, ?4, ?5)
ON CONFLICT DO UPDATE SET settled = settled + ?3, held = held + ?4"""

PLACE = """
INSERT INTO holds (ns, key, id, due_ms, ended, amount, placed_ms, charge, accounts, tags, provider, model)
VALUES (?1, ?2, '', ?3, 0, ?4, ?5, ?6, ?7, ?8, CAST(?9 AS TEXT), CAST(?10 AS TEXT)),
       (?1, ?3, ?2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"""

FORGET_AT = "INSERT INTO holds (ns, key, id, due_ms, ended) VALUES (?1, ?2, '', ?3, 1), (?1, ?3, ?2, NULL, NULL)"

DELETE_HOLD = "DELETE FROM holds WHERE ns = ?1 AND (key = ?2 AND id = '' OR key = ?3 AND id = ?2)"

RECORD = """
REPLACE INTO entries (ns, id, at_ms, cost, flags, accounts, tags, provider, model, usage)
VALUES (?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?)"""

DELETE_ACCOUNTS = """
DELETE FROM accounts WHERE ns = ?1 AND end_ms <= ?2 AND settled = pruned AND held = 0 AND key NOT IN (
    SELECT each.value FROM holds, json_each(holds.accounts) AS each WHERE ns = ?1 AND amount = 0 AND NOT ended)"""


class SQLiteBooks:
    """The operations on one namespace of one connection; the caller begins and commits."""

    def __init__(self, connection: sqlite3.Connection, ns: int) -> None:
        self.execute = connection.execute
        self.ns = ns

    def reserve(self, hold: Hold, now: Millis, deadline: float) -> Admitted | Refusal | Stale | Ended:
        """See `Store.reserve`. At the deadline (monotonic seconds) it reaps no further and refuses."""
        execute, ns = self.execute, self.ns
        first_due, ended, entered = execute(LOOK, (ns, hold.id)).fetchone()
        if first_due is not None and first_due <= now:
            self._reap(now, REAP)
            self._expire_id(hold.id, now)
            _, ended, entered = execute(LOOK, (ns, hold.id)).fetchone()
        if ended or entered:
            return Ended()
        if ended is not None:
            amount = execute(FIND_HOLD, (ns, hold.id)).fetchone()[2]
            return Admitted(amount)
        stale = self._stale(hold, now)
        if stale is not None:
            return stale
        while True:
            granted = admit(hold, self._sums(hold.accounts))
            if not isinstance(granted, Refusal):
                break
            if not self._reap(now, REAP_MORE) or time.monotonic() > deadline:
                return granted
        self._place(hold, granted, now)
        return Admitted(granted)

    def _place(self, hold: Hold, amount: Nano, now: Millis) -> None:
        ns = self.ns
        keys = keys_of(hold)
        self._add(hold, keys, 0, amount)
        charge = hold.on_expire == "charge" and amount > 0
        said = (tags_json(hold.tags), text(hold.provider), text(hold.model))
        row = (ns, hold.id, now + hold.ttl_ms, amount, now, charge, keys_json(keys), *said)
        self.execute(PLACE, row)

    def settle(self, hold: Hold, entry: Entry, now: Millis) -> Settled | Conflict:
        """See `Store.settle`."""
        execute, ns = self.execute, self.ns
        held = execute(FIND_HOLD, (ns, hold.id)).fetchone()
        if held is not None and held[0] <= now:
            self._expire(hold.id, held, now)
            held = execute(FIND_HOLD, (ns, hold.id)).fetchone()
        cost = entry.cost
        if held is not None and not held[1]:
            late, keys = False, tuple(keys_of_json(held[4]))
            settled, taken = cost, held[2]
            execute(DELETE_HOLD, (ns, hold.id, held[0]))
        else:
            known = execute(FIND_ENTRY, (ns, hold.id)).fetchone()
            if known is None:
                late, keys = held is not None or "manual" not in entry.flags, keys_of(hold)
                settled, taken = cost, 0
                if held is not None:
                    execute(DELETE_HOLD, (ns, hold.id, held[0]))
            elif " expired " in known[1]:
                late, keys = True, tuple(keys_of_json(known[2]))
                settled, taken = cost - known[0], 0
            elif known[0] != cost:
                return Conflict(known[0])
            else:
                return Settled(cost, " late " in known[1])
        self._add(hold, keys, settled, -taken)
        if entry.accounts:
            named = more_keys(entry, keys)
            for key in named:
                execute(ADD, (ns, text(key), cost, 0, last_end(hold)))
            keys = named + keys
        said = (tags_json(entry.tags), text(entry.provider), text(entry.model), usage_json(entry.usage))
        row = (ns, hold.id, now, cost, flags_text(final_flags(entry, late)), keys_json(keys), *said)
        execute(RECORD, row)
        return Settled(cost, late)

    def release(self, hold_id: str, now: Millis) -> None:
        """See `Store.release`."""
        execute, ns = self.execute, self.ns
        held = execute(FIND_HOLD, (ns, hold_id)).fetchone()
        if held is not None and held[0] <= now:
            self._expire(hold_id, held, now)
            held = execute(FIND_HOLD, (ns, hold_id)).fetchone()
        if held is not None and held[1]:
            return
        if held is not None:
            self._add(None, keys_of_json(held[4]), 0, -held[2])
            execute(DELETE_HOLD, (ns, hold_id, held[0]))
        else:
            known = execute(FIND_ENTRY, (ns, hold_id)).fetchone()
            if known is not None:
                if " expired " not in known[1]:
                    return
                self._add(None, keys_of_json(known[2]), -known[0], 0)
                execute("DELETE FROM entries WHERE ns = ? AND id = ?", (ns, hold_id))
        execute(FORGET_AT, (ns, hold_id, now + KEEP_ENDED_MS))

    def _reap(self, now: Millis, most: int) -> int:
        """Clear away up to `most` of what is due; how many there were."""
        rows = self.execute(FIND_DUE, (self.ns, now, most)).fetchall()
        for hold_id, *held in rows:
            self._expire(hold_id, tuple(held), now)
        return len(rows)

    def _expire_id(self, hold_id: str, now: Millis) -> None:
        held = self.execute(FIND_HOLD, (self.ns, hold_id)).fetchone()
        if held is not None and held[0] <= now:
            self._expire(hold_id, held, now)

    def _expire(self, hold_id: str, row: tuple[Any, ...], now: Millis) -> None:
        """Expire an open hold that is due, or forget an ended one."""
        due, ended, amount, charge, accounts, tags, provider, model = row
        execute, ns = self.execute, self.ns
        execute(DELETE_HOLD, (ns, hold_id, due))
        if ended:
            return
        self._add(None, keys_of_json(accounts), amount if charge else 0, -amount)
        if charge:
            said = (accounts, tags, text(provider), text(model), "{}")
            execute(RECORD, (ns, hold_id, due, amount, " expired ", *said))
        elif due + KEEP_ENDED_MS > now:
            execute(FORGET_AT, (ns, hold_id, due + KEEP_ENDED_MS))

    def _stale(self, hold: Hold, now: Millis) -> Stale | None:
        newer = []
        for key, version in hold.terms:
            there = find_terms(self.execute, self.ns, key) or Terms(key, 0, None)
            if there.version != version:
                newer.append(there)
        for account in hold.accounts:
            if off_clock(account, now):
                return Stale(now, tuple(newer))
        return Stale(now, tuple(newer)) if newer else None

    def put_terms(self, key: str, body: str | None, expected: int | None) -> Terms | None:
        """See `Store.put_terms`."""
        there = find_terms(self.execute, self.ns, key)
        version = 0 if there is None else there.version
        if expected is not None and expected != version:
            return None
        self.execute(
            "REPLACE INTO terms (ns, key, version, body) VALUES (?, CAST(? AS TEXT), ?, CAST(? AS TEXT))",
            (self.ns, text(key), version + 1, None if body is None else text(body)),
        )
        return Terms(key, version + 1, body)

    def prune(self, before_ms: Millis) -> int:
        """A part of `Store.prune`: at most `PRUNE_ROWS` entries, and the accounts once fewer than that are left."""
        execute, ns = self.execute, self.ns
        rows = execute(
            "SELECT id, cost, accounts FROM entries WHERE ns = ? AND at_ms < ? ORDER BY at_ms LIMIT ?",
            (ns, before_ms, PRUNE_ROWS),
        ).fetchall()
        for hold_id, cost, accounts in rows:
            for key in keys_of_json(accounts):
                execute(
                    "UPDATE accounts SET pruned = pruned + ? WHERE ns = ? AND key = CAST(? AS TEXT)",
                    (cost, ns, text(key)),
                )
            execute("DELETE FROM entries WHERE ns = ? AND id = ?", (ns, hold_id))
        if len(rows) < PRUNE_ROWS:
            execute(DELETE_ACCOUNTS, (ns, before_ms))
        return len(rows)

    def _add(self, hold: Hold | None, keys: Sequence[str], settled: Nano, held: Nano) -> None:
        """Add to what accounts have settled and held. A hold tells when the period of a new account ends."""
        for key in keys:
            end_ms = None
            if hold is not None:
                end_ms = next((account.end_ms for account in hold.accounts if account.key == key), None)
            self.execute(ADD, (self.ns, text(key), settled, held, end_ms))

    def _sums(self, accounts: Sequence[Account]) -> list[Sums]:
        found = []
        for account in accounts:
            settled, held = find_sums(self.execute, self.ns, account.key)
            for key in account.window:
                earlier = find_sums(self.execute, self.ns, key)
                settled += earlier[0]
                held += earlier[1]
            found.append((settled, held))
        return found
