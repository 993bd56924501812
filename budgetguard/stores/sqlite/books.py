"""
What happens to the books of a SQLite file, inside one transaction.

Every statement is keyed: nothing here reads more rows the more accounts or entries there are.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence
from typing import Any

from ...ledger import (
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
from ...money import Nano
from ..combiner import Operation, WouldWait
from ..encoding import flags_text, tags_json, usage_json
from ..rules import (
    LARGE,
    REAP,
    REAP_MORE,
    Sums,
    admit,
    final_flags,
    off_clock,
    require_sums,
)
from .rows import (
    Charged,
    charged,
    due_key,
    find_sums,
    find_terms,
    keys_json,
    keys_of_json,
    text,
)

LOOK = """
SELECT EXISTS (SELECT 1 FROM holds WHERE ns = ?1 AND key BETWEEN x'' AND ?3),
       (SELECT ended FROM holds WHERE ns = ?1 AND key = ?2 AND id = ''),
       (SELECT version FROM terms WHERE ns = ?1 AND key = CAST(?4 AS TEXT)),
       account.settled, account.held
FROM (SELECT 1) LEFT JOIN accounts AS account ON account.ns = ?1 AND account.key = CAST(?5 AS TEXT)"""

FIND_OPEN = """
SELECT due_ms, amount, CASE WHEN accounts <> ? THEN accounts END FROM holds
WHERE ns = ? AND key = ? AND id = '' AND NOT ended AND due_ms > ?"""

FIND_HOLD = """
SELECT due_ms, at_ms, ended, amount, charge, accounts, tags, provider, model FROM holds
WHERE ns = ? AND key = ? AND id = ''"""

FIND_ENTRY = "SELECT cost, flags, accounts FROM entries WHERE ns = ? AND at_ms = ? AND id = ?"

FIND_DUE = """
SELECT due.id, hold.due_ms, hold.at_ms, hold.ended, hold.amount, hold.charge, hold.accounts, hold.tags,
       hold.provider, hold.model
FROM (SELECT ns, key, id FROM holds WHERE ns = ? AND key BETWEEN x'' AND ? ORDER BY key, id LIMIT ?) AS due
CROSS JOIN holds AS hold ON hold.ns = due.ns AND hold.key = due.id AND hold.id = ''
ORDER BY due.key, due.id"""

ADD = """
INSERT INTO accounts (ns, key, settled, held, end_ms) VALUES (?1, CAST(?2 AS TEXT), ?3, ?4, ?5)
ON CONFLICT DO UPDATE SET settled = settled + ?3, held = held + ?4"""

PLACE = """
INSERT INTO holds (ns, key, id, due_ms, ended, amount, placed_ms, charge, accounts, tags, provider, model)
VALUES (?1, ?2, '', ?4, 0, ?5, ?6, ?7, ?8, ?9, CAST(?10 AS TEXT), CAST(?11 AS TEXT)),
       (?1, ?3, ?2, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"""

ENTER = "REPLACE INTO holds (ns, key, id, ended, at_ms) VALUES (?, ?, '', 1, ?)"

FORGET_AT = "REPLACE INTO holds (ns, key, id, due_ms, ended) VALUES (?1, ?2, '', ?4, ?5), (?1, ?3, ?2, NULL, NULL)"

RELEASED, LAPSED = 1, 2
"""How a hold ended that has no entry: one that expired counts again if its call lives after all."""

RELEASE_LAPSED = "UPDATE holds SET ended = 1 WHERE ns = ? AND key = ? AND id = ''"

KEEP = "UPDATE holds SET due_ms = ? WHERE ns = ? AND key = ? AND id = ''"

FIND_BY_DUE = "INSERT INTO holds (ns, key, id) VALUES (?, ?, ?)"

DELETE_HOLD = "DELETE FROM holds WHERE ns = ? AND key = ? AND id = ?"

RECORD = """
INSERT INTO entries (ns, id, at_ms, cost, flags, accounts, tags, provider, model, usage)
VALUES (?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?)"""

DELETE_ENTRY = "DELETE FROM entries WHERE ns = ? AND at_ms = ? AND id = ?"

LOWER_HOLD = """
UPDATE holds SET amount = amount - ?1, charge = charge AND amount > ?1 WHERE ns = ?2 AND key = ?3 AND id = ''"""

LOWER_ENTRY = "UPDATE entries SET cost = cost - ? WHERE ns = ? AND at_ms = ? AND id = ?"


class SQLiteBooks:
    """The operations on one namespace in one transaction; the caller begins and commits."""

    def __init__(self, cursor: sqlite3.Cursor, ns: int, who_lives: Callable[[], Sequence[Hold]]) -> None:
        self.cursor = cursor
        self.execute = cursor.execute
        self.ns = ns
        self.now: Millis = 0
        """The time of this transaction."""
        self.operation: Operation | None = None
        """What runs in it at this moment."""
        self._who_lives = who_lives
        self.living: dict[str, Hold] | None = None
        """By their ids, once somebody asked in this transaction."""

    def reserve(self, hold: Hold) -> Admitted | Refusal | Stale | Ended:
        """See `Store.reserve`. At the deadline it reaps no further and refuses."""
        execute, ns, now, accounts, terms = self.execute, self.ns, self.now, hold.accounts, hold.terms
        # The common hold is on one account and one user's terms: it is looked up in one step.
        first_terms = text(terms[0][0]) if terms else None
        look = (ns, hold.id, due_key(now), first_terms, text(accounts[0].key) if accounts else None)
        due, ended, version, settled, held = execute(LOOK, look).fetchone()
        if due:
            self._reap(REAP)
            self.find(hold.id)
            _, ended, version, settled, held = execute(LOOK, look).fetchone()
        if ended:
            return Ended()
        if ended is not None:
            return Admitted(execute(FIND_HOLD, (ns, hold.id)).fetchone()[3])
        if (terms and (len(terms) > 1 or terms[0][1] != (version or 0))) or off_clock(accounts, now):
            stale = self._stale(hold)
            if stale is not None:
                return stale
        if len(accounts) == 1 and not accounts[0].window:
            granted = admit(hold, ((settled or 0, held or 0),))
        else:
            granted = admit(hold, self._sums(accounts))
        while isinstance(granted, Refusal):
            if not self._reap(REAP_MORE) or self._is_late():
                return granted
            granted = admit(hold, self._sums(accounts))
        self._place(hold, granted)
        return Admitted(granted)

    def _is_late(self) -> bool:
        """Whether no more may be done for the operation that runs. Raises `WouldWait` if it was to be prompt."""
        operation = self.operation
        if operation is None:
            return False
        if operation.prompt:
            raise WouldWait
        return time.monotonic() > operation.deadline

    def _place(self, hold: Hold, amount: Nano) -> None:
        execute, ns, named = self.execute, self.ns, charged(hold.accounts)
        for key, end_ms in named.ends:
            execute(ADD, (ns, key, 0, amount, end_ms))
        self._write(hold, amount, named.keys_json)

    def _write(self, hold: Hold, amount: Nano, keys: str) -> None:
        """Write the rows of an open hold, whose accounts hold it."""
        now, due = self.now, self.now + hold.ttl_ms
        charge = hold.on_expire == "charge" and amount > 0
        said = (keys, tags_json(hold.tags), text(hold.provider), text(hold.model))
        self.execute(PLACE, (self.ns, hold.id, due_key(due), due, amount, now, charge, *said))

    def renew(self, holds: Sequence[Hold]) -> list[bool]:
        """See `Store.renew`."""
        return [self._keep(hold) for hold in holds]

    def _keep(self, hold: Hold) -> bool:
        """Have a hold count for its ttl from now, unless it has ended; whether it counts."""
        execute, ns = self.execute, self.ns
        row = execute(FIND_HOLD, (ns, hold.id)).fetchone()
        if row is None:
            self._place(hold, hold.amount)
            return True
        due, at_ms, ended = row[:3]
        if at_ms is None and not ended:
            later = self.now + hold.ttl_ms
            if later > due:
                execute(DELETE_HOLD, (ns, due_key(due), hold.id))
                execute(KEEP, (later, ns, hold.id))
                execute(FIND_BY_DUE, (ns, due_key(later), hold.id))
            return True
        if at_ms is None:
            if ended == RELEASED and due > self.now:
                return False
            execute(DELETE_HOLD, (ns, due_key(due), hold.id))
            execute(DELETE_HOLD, (ns, hold.id, ""))
            self._place(hold, hold.amount)
            return True
        cost, flags, keys = execute(FIND_ENTRY, (ns, at_ms, hold.id)).fetchone()
        if " expired " not in flags:
            return False
        execute(DELETE_ENTRY, (ns, at_ms, hold.id))
        execute(DELETE_HOLD, (ns, hold.id, ""))
        self.add(keys_of_json(keys), -cost, cost)
        self._write(hold, cost, keys)
        return True

    def settle(self, hold: Hold, entry: Entry) -> Settled | Conflict:
        """See `Store.settle`."""
        execute, ns, now, cost = self.execute, self.ns, self.now, entry.cost
        named = charged(hold.accounts)
        keys, settled, taken, late = named.keys, cost, 0, False
        look = (named.keys_json, ns, hold.id, now)
        held = execute(FIND_OPEN, look).fetchone()
        if held is None and self.find(hold.id) is not None:  # its call lives, whatever the clock says
            held = execute(FIND_OPEN, look).fetchone()
        if held is not None:
            due, taken, other = held
            if other is not None:
                keys = tuple(keys_of_json(other))
            execute(DELETE_HOLD, (ns, due_key(due), hold.id))
        elif not (known := self._ended(hold.id)):
            late = known is not None or (bool(hold.accounts) and "manual" not in entry.flags)
        elif " expired " in known[1]:
            late, settled, keys = True, cost - known[0], tuple(keys_of_json(known[2]))
            execute(DELETE_ENTRY, (ns, known[3], hold.id))
        elif known[0] != cost:
            return Conflict(known[0])
        else:
            return Settled(cost, " late " in known[1])
        keys = self._charge(named, keys, settled, taken, entry)
        flags = entry.flags
        if late or "expired" in flags:
            flags = final_flags(entry, late)
        execute(ENTER, (ns, hold.id, now))
        self.record(entry, now, flags, keys)
        for lease_id in hold.leases:
            self._draw(lease_id, cost)
        return Settled(cost, late)

    def _charge(
        self, named: Charged, keys: tuple[str, ...], settled: Nano, taken: Nano, entry: Entry
    ) -> tuple[str, ...]:
        """Charge an entry to the accounts that held it, and to those beside them; the keys of all."""
        execute, ns, cost = self.execute, self.ns, entry.cost
        ends = named.ends
        if keys is not named.keys:  # it was held on others
            known = dict(zip(named.keys, named.ends, strict=True))
            ends = tuple(known.get(key, (text(key), None)) for key in keys)
        beside = [key for key in dict.fromkeys(entry.accounts) if key not in keys] if entry.accounts else ()
        if cost > LARGE:
            require_sums(cost, [find_sums(execute, ns, key)[0] for key in (*beside, *keys)])
        for text_key, end_ms in ends:
            execute(ADD, (ns, text_key, settled, -taken, end_ms))
        for key in beside:
            execute(ADD, (ns, text(key), cost, 0, named.last_end))
        return (*beside, *keys) if beside else keys

    def record(self, entry: Entry, at_ms: Millis, flags: frozenset[str], keys: tuple[str, ...]) -> None:
        """Write an entry."""
        said = (tags_json(entry.tags), text(entry.provider), text(entry.model), usage_json(entry.usage))
        written = flags_text(flags) if flags else ""
        self.execute(RECORD, (self.ns, entry.hold_id, at_ms, entry.cost, written, keys_json(keys), *said))

    def settle_many(self, settlements: Sequence[tuple[Hold, Entry]]) -> list[Settled | Conflict]:
        """See `Store.settle_many`."""
        return [self.settle(hold, entry) for hold, entry in settlements]

    def _draw(self, lease_id: str, cost: Nano) -> None:
        """Make a lease smaller by what one of its calls cost."""
        execute, ns = self.execute, self.ns
        lease = self.find(lease_id)
        if lease is None:
            return
        _, at_ms, ended, amount, _, accounts, *_ = lease
        if at_ms is not None:
            charged, flags, keys = execute(FIND_ENTRY, (ns, at_ms, lease_id)).fetchone()
            if " expired " in flags:
                drawn = min(cost, charged)
                execute(LOWER_ENTRY, (drawn, ns, at_ms, lease_id))
                self.add(keys_of_json(keys), -drawn, 0)
        elif not ended:
            drawn = min(cost, amount)
            execute(LOWER_HOLD, (drawn, ns, lease_id))
            self.add(keys_of_json(accounts), 0, -drawn)

    def _ended(self, hold_id: str) -> tuple[Any, ...] | None:
        """The entry of a hold that is not open; () for one that ended without, and is forgotten; `None`: never seen."""
        held = self.find(hold_id)
        if held is None:
            return None
        due, at_ms = held[:2]
        if at_ms is None:
            self.execute(DELETE_HOLD, (self.ns, due_key(due), hold_id))
            return ()
        return (*self.execute(FIND_ENTRY, (self.ns, at_ms, hold_id)).fetchone(), at_ms)

    def release(self, hold_id: str) -> None:
        """See `Store.release`."""
        execute, ns = self.execute, self.ns
        held = self.find(hold_id)
        if held is not None:
            due, at_ms, ended, amount, _, accounts, *_ = held
            if at_ms is not None:
                cost, flags, charged = execute(FIND_ENTRY, (ns, at_ms, hold_id)).fetchone()
                if " expired " not in flags:
                    return
                self.add(keys_of_json(charged), -cost, 0)
                execute(DELETE_ENTRY, (ns, at_ms, hold_id))
            elif ended:
                execute(RELEASE_LAPSED, (ns, hold_id))
                return
            else:
                self.add(keys_of_json(accounts), 0, -amount)
                execute(DELETE_HOLD, (ns, due_key(due), hold_id))
        self._forget_at(hold_id, self.now + KEEP_ENDED_MS, RELEASED)

    def find(self, hold_id: str) -> tuple[Any, ...] | None:
        """The row of a hold, if there is one after it has expired if it is due."""
        row: tuple[Any, ...] | None = self.execute(FIND_HOLD, (self.ns, hold_id)).fetchone()
        if row is not None and row[0] is not None and row[0] <= self.now:
            self._expire(hold_id, row)
            row = self.execute(FIND_HOLD, (self.ns, hold_id)).fetchone()
        return row

    def _forget_at(self, hold_id: str, when: Millis, how: int) -> None:
        self.execute(FORGET_AT, (self.ns, hold_id, due_key(when), when, how))

    def _reap(self, most: int) -> int:
        """Clear away up to `most` of what is due; how many there were."""
        rows = self.execute(FIND_DUE, (self.ns, due_key(self.now), most)).fetchall()
        for hold_id, *held in rows:
            self._expire(hold_id, tuple(held))
        return len(rows)

    def _expire(self, hold_id: str, row: tuple[Any, ...]) -> None:
        """Expire an open hold that is due, unless its call lives: then the clock was set; or forget an ended one."""
        due, _, ended, amount, charge, accounts, tags, provider, model = row
        execute, ns = self.execute, self.ns
        if not ended and (alive := self._alive(hold_id)) is not None:
            self._keep(alive)
            return
        execute(DELETE_HOLD, (ns, due_key(due), hold_id))
        if not ended:
            self.add(keys_of_json(accounts), amount if charge else 0, -amount)
        if charge and not ended:
            said = (accounts, tags, text(provider), text(model), "{}")
            execute(RECORD, (ns, hold_id, due, amount, " expired ", *said))
            execute(ENTER, (ns, hold_id, due))
        elif not ended and due + KEEP_ENDED_MS > self.now:
            self._forget_at(hold_id, due + KEEP_ENDED_MS, LAPSED)
        else:
            execute(DELETE_HOLD, (ns, hold_id, ""))

    def _alive(self, hold_id: str) -> Hold | None:
        """A hold of this process whose call lives."""
        if self.living is None:
            self.living = {hold.id: hold for hold in self._who_lives()}
        return self.living.get(hold_id)

    def _stale(self, hold: Hold) -> Stale | None:
        newer = []
        for key, version in hold.terms:
            there = find_terms(self.execute, self.ns, key) or Terms(key, 0, None)
            if there.version != version:
                newer.append(there)
        if newer or off_clock(hold.accounts, self.now):
            return Stale(self.now, tuple(newer))
        return None

    def add(self, keys: Sequence[str], settled: Nano, held: Nano) -> None:
        """Add to what accounts, which are there, have settled and held."""
        for key in keys:
            self.execute(ADD, (self.ns, text(key), settled, held, None))

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
