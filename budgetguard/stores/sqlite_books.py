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
from .rules import REAP, REAP_MORE, Sums, admit, ends_of, final_flags, last_end, off_clock
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
       EXISTS (SELECT 1 FROM entries WHERE ns = ?1 AND id = ?2),
       (SELECT version FROM terms WHERE ns = ?1 AND key = CAST(?3 AS TEXT)),
       account.settled, account.held
FROM (SELECT 1) LEFT JOIN accounts AS account ON account.ns = ?1 AND account.key = CAST(?4 AS TEXT)"""

FIND_HOLD = """
SELECT due_ms, ended, amount, charge, accounts, tags, provider, model FROM holds
WHERE ns = ? AND key = ? AND id = ''"""

FIND_OPEN = """
SELECT due_ms, amount, CASE WHEN accounts <> ? THEN accounts END FROM holds
WHERE ns = ? AND key = ? AND id = '' AND NOT ended AND due_ms > ?"""

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
    """The operations on one namespace in one transaction; the caller begins and commits."""

    def __init__(self, cursor: sqlite3.Cursor, ns: int, now: Millis) -> None:
        self.execute = cursor.execute
        self.executemany = cursor.executemany
        self.ns = ns
        self.now = now
        self.deadline = 0.0
        """On the monotonic clock, in seconds."""

    def reserve(self, hold: Hold) -> Admitted | Refusal | Stale | Ended:
        """See `Store.reserve`. At the deadline it reaps no further and refuses."""
        execute, ns, now, accounts, terms = self.execute, self.ns, self.now, hold.accounts, hold.terms
        # The common hold is on one account and one user's terms: it is looked up in one step.
        first_terms = text(terms[0][0]) if terms else None
        look = (ns, hold.id, first_terms, text(accounts[0].key) if accounts else None)
        first_due, ended, entered, version, settled, held = execute(LOOK, look).fetchone()
        if first_due is not None and first_due <= now:
            self._reap(REAP)
            self._expire_id(hold.id)
            _, ended, entered, version, settled, held = execute(LOOK, look).fetchone()
        if ended or entered:
            return Ended()
        if ended is not None:
            return Admitted(execute(FIND_HOLD, (ns, hold.id)).fetchone()[2])
        if (terms and (len(terms) > 1 or terms[0][1] != (version or 0))) or off_clock(accounts, now):
            stale = self._stale(hold)
            if stale is not None:
                return stale
        if len(accounts) == 1 and not accounts[0].window:
            granted = admit(hold, ((settled or 0, held or 0),))
        else:
            granted = admit(hold, self._sums(accounts))
        while isinstance(granted, Refusal):
            if not self._reap(REAP_MORE) or time.monotonic() > self.deadline:
                return granted
            granted = admit(hold, self._sums(accounts))
        self._place(hold, granted)
        return Admitted(granted)

    def _place(self, hold: Hold, amount: Nano) -> None:
        ns, now = self.ns, self.now
        ends = ends_of(hold)
        self.executemany(ADD, [(ns, text(key), 0, amount, end_ms) for key, end_ms in ends.items()])
        charge = hold.on_expire == "charge" and amount > 0
        said = (keys_json(tuple(ends)), tags_json(hold.tags), text(hold.provider), text(hold.model))
        self.execute(PLACE, (ns, hold.id, now + hold.ttl_ms, amount, now, charge, *said))

    def settle(self, hold: Hold, entry: Entry) -> Settled | Conflict:
        """See `Store.settle`."""
        execute, ns, now, cost = self.execute, self.ns, self.now, entry.cost
        ends = ends_of(hold)
        keys: tuple[str, ...] = tuple(ends)
        held = execute(FIND_OPEN, (keys_json(keys), ns, hold.id, now)).fetchone()
        if held is not None:
            due, taken, other = held
            late, settled = False, cost
            if other is not None:
                keys = tuple(keys_of_json(other))
            execute(DELETE_HOLD, (ns, hold.id, due))
        else:
            known = self._ended(hold.id)
            taken = 0
            if known is None or known == ():
                late, settled = known == () or "manual" not in entry.flags, cost
            elif " expired " in known[1]:
                late, settled = True, cost - known[0]
                keys = tuple(keys_of_json(known[2]))
            elif known[0] != cost:
                return Conflict(known[0])
            else:
                return Settled(cost, " late " in known[1])
        rows = [(ns, text(key), settled, -taken, ends.get(key)) for key in keys]
        if entry.accounts:
            end_ms = last_end(hold)
            more = {key: (ns, text(key), cost, 0, end_ms) for key in entry.accounts if key not in keys}
            rows += more.values()
            keys = (*more, *keys)
        self.executemany(ADD, rows)
        flags = entry.flags
        if late or "expired" in flags:
            flags = final_flags(entry, late)
        said = (tags_json(entry.tags), text(entry.provider), text(entry.model), usage_json(entry.usage))
        execute(RECORD, (ns, hold.id, now, cost, flags_text(flags) if flags else "", keys_json(keys), *said))
        return Settled(cost, late)

    def _ended(self, hold_id: str) -> tuple[Any, ...] | None:
        """The entry of a hold that is not open; () for one that ended without, and is forgotten; `None`: never seen."""
        self._expire_id(hold_id)
        execute, ns = self.execute, self.ns
        held = execute(FIND_HOLD, (ns, hold_id)).fetchone()
        if held is not None:
            execute(DELETE_HOLD, (ns, hold_id, held[0]))
            return ()
        known: tuple[Any, ...] | None = execute(FIND_ENTRY, (ns, hold_id)).fetchone()
        return known

    def release(self, hold_id: str) -> None:
        """See `Store.release`."""
        execute, ns, now = self.execute, self.ns, self.now
        held = execute(FIND_HOLD, (ns, hold_id)).fetchone()
        if held is not None and held[0] <= now:
            self._expire(hold_id, held)
            held = execute(FIND_HOLD, (ns, hold_id)).fetchone()
        if held is not None and held[1]:
            return
        if held is not None:
            self._add(keys_of_json(held[4]), 0, -held[2])
            execute(DELETE_HOLD, (ns, hold_id, held[0]))
        else:
            known = execute(FIND_ENTRY, (ns, hold_id)).fetchone()
            if known is not None:
                if " expired " not in known[1]:
                    return
                self._add(keys_of_json(known[2]), -known[0], 0)
                execute("DELETE FROM entries WHERE ns = ? AND id = ?", (ns, hold_id))
        execute(FORGET_AT, (ns, hold_id, now + KEEP_ENDED_MS))

    def _reap(self, most: int) -> int:
        """Clear away up to `most` of what is due; how many there were."""
        rows = self.execute(FIND_DUE, (self.ns, self.now, most)).fetchall()
        for hold_id, *held in rows:
            self._expire(hold_id, tuple(held))
        return len(rows)

    def _expire_id(self, hold_id: str) -> None:
        held = self.execute(FIND_HOLD, (self.ns, hold_id)).fetchone()
        if held is not None and held[0] <= self.now:
            self._expire(hold_id, held)

    def _expire(self, hold_id: str, row: tuple[Any, ...]) -> None:
        """Expire an open hold that is due, or forget an ended one."""
        due, ended, amount, charge, accounts, tags, provider, model = row
        execute, ns = self.execute, self.ns
        execute(DELETE_HOLD, (ns, hold_id, due))
        if ended:
            return
        self._add(keys_of_json(accounts), amount if charge else 0, -amount)
        if charge:
            said = (accounts, tags, text(provider), text(model), "{}")
            execute(RECORD, (ns, hold_id, due, amount, " expired ", *said))
        elif due + KEEP_ENDED_MS > self.now:
            execute(FORGET_AT, (ns, hold_id, due + KEEP_ENDED_MS))

    def _stale(self, hold: Hold) -> Stale | None:
        newer = []
        for key, version in hold.terms:
            there = find_terms(self.execute, self.ns, key) or Terms(key, 0, None)
            if there.version != version:
                newer.append(there)
        if newer or off_clock(hold.accounts, self.now):
            return Stale(self.now, tuple(newer))
        return None

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

    def _add(self, keys: Sequence[str], settled: Nano, held: Nano) -> None:
        """Add to what accounts, which are there, have settled and held."""
        self.executemany(ADD, [(self.ns, text(key), settled, held, None) for key in keys])

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
