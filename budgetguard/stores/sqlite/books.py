"""
What happens to the books of a SQLite file, inside one transaction.

Every statement is keyed: nothing here reads more rows the more accounts or entries there are.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Sequence

from ...ledger import (
    KEEP_ENDED_MS,
    Admitted,
    Amounts,
    Conflict,
    Ended,
    Entry,
    Hold,
    Millis,
    Refusal,
    Settled,
    Stale,
    Terms,
    Unit,
    beside_dollars,
    once_booked,
    unit_of,
    while_held,
)
from ..combiner import Operation, WouldWait
from ..rules import (
    REAP,
    REAP_MORE,
    final_flags,
    granted,
    off_clock,
)
from .accounts import SQLiteAccounts
from .rows import (
    HOLD_LINE,
    Charged,
    EntryLine,
    HoldLine,
    amounts_held,
    beside_of_hold,
    charged,
    due_key,
    entry_row,
    find_entry,
    find_hold,
    find_terms,
    hold_row,
    keys_of_json,
    text,
)

LOOK = """
SELECT EXISTS (SELECT 1 FROM holds WHERE ns = ? AND key BETWEEN x'' AND ?),
       (SELECT ended FROM holds WHERE ns = ? AND key = ? AND id = ''),
       (SELECT version FROM terms WHERE ns = ? AND key = CAST(? AS TEXT)),
       (SELECT version FROM terms WHERE ns = ? AND key = CAST(? AS TEXT)),
       account.settled, account.held
FROM (SELECT 1) LEFT JOIN accounts AS account ON account.ns = ? AND account.key = CAST(? AS TEXT)"""

FIND_OPEN = """
SELECT due_ms, CASE WHEN accounts <> ? THEN accounts END, dollars, tokens, requests FROM holds
WHERE ns = ? AND key = ? AND id = '' AND NOT ended AND due_ms > ?"""

FIND_DUE = f"""
SELECT due.id, {HOLD_LINE}
FROM (SELECT ns, key, id FROM holds WHERE ns = ? AND key BETWEEN x'' AND ? ORDER BY key, id LIMIT ?) AS due
CROSS JOIN holds AS hold ON hold.ns = due.ns AND hold.key = due.id AND hold.id = ''
ORDER BY due.key, due.id"""

PLACE = """
INSERT INTO holds (ns, key, id, due_ms, ended, dollars, tokens, requests, placed_ms, charge, accounts, tags,
                   provider, model)
VALUES (?, ?, '', ?, 0, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT)),
       (?, ?, ?, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)"""

ENTER = "REPLACE INTO holds (ns, key, id, ended, at_ms) VALUES (?, ?, '', 1, ?)"

FORGET_AT = "REPLACE INTO holds (ns, key, id, due_ms, ended) VALUES (?, ?, '', ?, ?), (?, ?, ?, NULL, NULL)"

RELEASED, LAPSED = 1, 2
"""How a hold ended that has no entry: one that expired counts again if its call lives after all."""

RELEASE_LAPSED = "UPDATE holds SET ended = 1 WHERE ns = ? AND key = ? AND id = ''"

KEEP = "UPDATE holds SET due_ms = ? WHERE ns = ? AND key = ? AND id = ''"

FIND_BY_DUE = "INSERT INTO holds (ns, key, id) VALUES (?, ?, ?)"

DELETE_HOLD = "DELETE FROM holds WHERE ns = ? AND key = ? AND id = ?"

RECORD = """
INSERT INTO entries (ns, id, at_ms, dollars, tokens, requests, flags, accounts, tags, provider, model, usage)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), CAST(? AS TEXT), ?)"""

CHARGE = """
INSERT INTO entries (ns, id, at_ms, dollars, tokens, requests, flags, accounts, tags, provider, model, usage)
SELECT ns, key, due_ms, dollars, coalesce(tokens, 0), coalesce(requests, 1), ' expired ', accounts, tags, provider,
       model, '{}'
FROM holds WHERE ns = ? AND key = ? AND id = ''"""

DELETE_ENTRY = "DELETE FROM entries WHERE ns = ? AND at_ms = ? AND id = ?"

LOWER_HOLD = """
UPDATE holds SET dollars = dollars - ?, tokens = tokens - ?, requests = requests - ?, charge = charge AND ?
WHERE ns = ? AND key = ? AND id = ''"""

LOWER_ENTRY = """
UPDATE entries SET dollars = dollars - ?, tokens = tokens - ?, requests = requests - ?
WHERE ns = ? AND at_ms = ? AND id = ?"""

NOTHING: Amounts = {"dollars": 0, "tokens": 0, "requests": 0, "parallel": 0}


class SQLiteBooks:
    """The operations on one namespace in one transaction; the caller begins and commits."""

    def __init__(self, cursor: sqlite3.Cursor, ns: int, who_lives: Callable[[], Sequence[Hold]]) -> None:
        self.cursor = cursor
        self.execute = cursor.execute
        self.ns = ns
        self.accounts = SQLiteAccounts(cursor.execute, ns)
        self.now: Millis = 0
        """The time of this transaction."""
        self.operation: Operation | None = None
        """What runs in it at this moment."""
        self._who_lives = who_lives
        self.living: dict[str, Hold] | None = None
        """By their ids, once somebody asked in this transaction."""

    def begin(self, operation: Operation) -> None:
        """This operation runs from now on."""
        self.operation = operation
        self.accounts.begin()

    def reserve(self, hold: Hold) -> Admitted | Refusal | Stale | Ended:
        """See `Store.reserve`. At the deadline it reaps no further and refuses."""
        execute, ns, now, accounts, terms = self.execute, self.ns, self.now, hold.accounts, hold.terms
        # The common hold is on one account, one user's terms and those of steers: it is looked up in one step.
        first = text(terms[0][0]) if terms else None
        second = text(terms[1][0]) if len(terms) > 1 else None
        key = text(accounts[0].key) if accounts else None
        look = (ns, due_key(now), ns, hold.id, ns, first, ns, second, ns, key)
        due, ended, found, beside, settled, held = execute(LOOK, look).fetchone()
        if due:
            self._reap(REAP)
            self.find(hold.id)
            _, ended, found, beside, settled, held = execute(LOOK, look).fetchone()
        if ended:
            return Ended()
        if accounts:
            self.accounts.note(accounts[0].key, (settled or 0, held or 0))
        if ended is not None and (row := find_hold(execute, ns, hold.id)) is not None:
            return self._admitted(hold, row.amounts())
        known = not terms or (terms[0][1] == (found or 0) and (second is None or terms[1][1] == (beside or 0)))
        if not known or len(terms) > 2 or off_clock(accounts, now):
            stale = self._stale(hold)
            if stale is not None:
                return stale
        amounts = granted(hold, self.accounts.standings(accounts))
        while isinstance(amounts, Refusal):
            if not self._reap(REAP_MORE) or self._is_late():
                return amounts
            amounts = granted(hold, self.accounts.standings(accounts))
        self._place(hold, amounts)
        return self._admitted(hold, amounts)

    def _admitted(self, hold: Hold, amounts: Amounts) -> Admitted:
        return Admitted(amounts["dollars"], beside_of_hold(amounts), self.accounts.told(hold.accounts))

    def _is_late(self) -> bool:
        """Whether no more may be done for the operation that runs. Raises `WouldWait` if it was to be prompt."""
        operation = self.operation
        if operation is None:
            return False
        if operation.prompt:
            raise WouldWait
        return time.monotonic() > operation.deadline

    def _place(self, hold: Hold, amounts: Amounts) -> None:
        named = charged(hold.accounts)
        for key, unit, end_ms in named.ends:
            self.accounts.add(key, 0, amounts[unit], end_ms)
        self.execute(PLACE, hold_row(self.ns, hold, self.now, amounts, named.keys_json))

    def renew(self, holds: Sequence[Hold]) -> list[bool]:
        """See `Store.renew`."""
        return [self._keep(hold) for hold in holds]

    def _keep(self, hold: Hold) -> bool:
        """Have a hold count for its ttl from now, unless it has ended; whether it counts."""
        execute, ns = self.execute, self.ns
        row = find_hold(execute, ns, hold.id)
        if row is None:
            self._place(hold, hold.amounts())
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
            self._place(hold, hold.amounts())
            return True
        entry = find_entry(execute, ns, hold.id, at_ms)
        if " expired " not in entry.flags:
            return False
        execute(DELETE_ENTRY, (ns, at_ms, hold.id))
        execute(DELETE_HOLD, (ns, hold.id, ""))
        amounts = while_held(entry.counted())
        self.accounts.move(keys_of_json(entry.accounts), amounts, settled=-1, held=1)
        execute(PLACE, hold_row(ns, hold, self.now, amounts, entry.accounts))
        return True

    def settle(self, hold: Hold, entry: Entry) -> Settled | Conflict:
        """See `Store.settle`."""
        execute, ns, now, used = self.execute, self.ns, self.now, entry.amounts()
        named = charged(hold.accounts)
        keys, held, booked, late = named.keys, NOTHING, NOTHING, False
        look = (named.keys_json, ns, hold.id, now)
        row = execute(FIND_OPEN, look).fetchone()
        if row is None and self.find(hold.id) is not None:  # its call lives, whatever the clock says
            row = execute(FIND_OPEN, look).fetchone()
        if row is not None:
            due, other, *amounts = row
            held = amounts_held(named.keys_json if other is None else other, *amounts)
            if other is not None:
                keys = tuple(keys_of_json(other))
            execute(DELETE_HOLD, (ns, due_key(due), hold.id))
        elif not (known := self._ended(hold.id)):
            late = known is not None or (bool(hold.accounts) and "manual" not in entry.flags)
        elif " expired " in known.flags:
            late, booked, keys = True, known.amounts(), tuple(keys_of_json(known.accounts))
            execute(DELETE_ENTRY, (ns, known.at_ms, hold.id))
        elif known.amounts() != used:
            return Conflict(known.dollars, beside_dollars(known.amounts()))
        else:
            return self._settled(hold, entry, " late " in known.flags)
        keys = self._charge(named, keys, (used, booked, held), entry.accounts)
        flags = entry.flags
        if late or "expired" in flags:
            flags = final_flags(entry, late)
        execute(ENTER, (ns, hold.id, now))
        execute(RECORD, entry_row(ns, entry, now, flags, keys))
        for lease_id in hold.leases:
            self._draw(lease_id, used)
        return self._settled(hold, entry, late)

    def _settled(self, hold: Hold, entry: Entry, late: bool) -> Settled:
        return Settled(entry.cost, late, self.accounts.told(hold.accounts, entry.accounts))

    def _charge(
        self, named: Charged, keys: tuple[str, ...], change: tuple[Amounts, Amounts, Amounts], more: Sequence[str]
    ) -> tuple[str, ...]:
        """Charge what was used to the accounts that held it or were charged, and to more beside; the keys of all."""
        used, booked, held = change
        ends = named.ends
        if keys is not named.keys:  # it was held on others
            known = {key: end_ms for key, _, end_ms in named.ends}
            ends = tuple([(key, unit_of(key), known.get(key)) for key in keys])
        beside = [key for key in dict.fromkeys(more) if key not in keys] if more else ()
        self.accounts.require_sums(used, (*beside, *keys))
        for key, unit, end_ms in ends:
            self.accounts.add(key, used[unit] - booked[unit], -held[unit], end_ms)
        for key in beside:
            self.accounts.add(key, used[unit_of(key)], 0, named.last_end)
        return (*beside, *keys) if beside else keys

    def settle_many(self, settlements: Sequence[tuple[Hold, Entry]]) -> list[Settled | Conflict]:
        """See `Store.settle_many`."""
        return [self.settle(hold, entry) for hold, entry in settlements]

    def _draw(self, lease_id: str, used: Amounts) -> None:
        """Make a lease smaller by what one of its calls used."""
        lease = self.find(lease_id)
        if lease is None:
            return
        if lease.at_ms is None:
            if not lease.ended:
                amounts = lease.amounts()
                drawn = _least(used, amounts)
                self.execute(LOWER_HOLD, (*_in_order(drawn), drawn != once_booked(amounts), self.ns, lease_id))
                self.accounts.move(keys_of_json(lease.accounts), drawn, held=-1)
            return
        entry = find_entry(self.execute, self.ns, lease_id, lease.at_ms)
        if " expired " in entry.flags:
            drawn = _least(used, entry.counted())
            self.execute(LOWER_ENTRY, (*_in_order(drawn), self.ns, lease.at_ms, lease_id))
            self.accounts.move(keys_of_json(entry.accounts), drawn, settled=-1)

    def _ended(self, hold_id: str) -> EntryLine | tuple[()] | None:
        """The entry of a hold that is not open; () for one that ended without, and is forgotten; `None`: never seen."""
        held = self.find(hold_id)
        if held is None:
            return None
        if held.at_ms is None:
            self.execute(DELETE_HOLD, (self.ns, due_key(held.due_ms), hold_id))
            return ()
        return find_entry(self.execute, self.ns, hold_id, held.at_ms)

    def release(self, hold_id: str) -> None:
        """See `Store.release`."""
        held = self.find(hold_id)
        if held is not None:
            if held.at_ms is None and held.ended:
                self.execute(RELEASE_LAPSED, (self.ns, hold_id))
                return
            if not self.take_back(hold_id, held):
                return
        self._forget_at(hold_id, self.now + KEEP_ENDED_MS, RELEASED)

    def take_back(self, hold_id: str, held: HoldLine) -> bool:
        """Take off the accounts what a hold, or the charge for one that expired, has put; `False`: it stands."""
        if held.at_ms is None:
            self.execute(DELETE_HOLD, (self.ns, due_key(held.due_ms), hold_id))
            if not held.ended:
                self.accounts.move(keys_of_json(held.accounts), held.amounts(), held=-1)
            return True
        entry = find_entry(self.execute, self.ns, hold_id, held.at_ms)
        if " expired " not in entry.flags:
            return False
        self.execute(DELETE_ENTRY, (self.ns, held.at_ms, hold_id))
        self.accounts.move(keys_of_json(entry.accounts), entry.amounts(), settled=-1)
        return True

    def find(self, hold_id: str) -> HoldLine | None:
        """The row of a hold, if there is one after it has expired if it is due."""
        row = find_hold(self.execute, self.ns, hold_id)
        if row is not None and row.at_ms is None and row.due_ms <= self.now:
            self._expire(hold_id, row)
            row = find_hold(self.execute, self.ns, hold_id)
        return row

    def _forget_at(self, hold_id: str, when: Millis, how: int) -> None:
        self.execute(FORGET_AT, (self.ns, hold_id, when, how, self.ns, due_key(when), hold_id))

    def _reap(self, most: int) -> int:
        """Clear away up to `most` of what is due; how many there were."""
        rows = self.execute(FIND_DUE, (self.ns, due_key(self.now), most)).fetchall()
        for hold_id, *held in rows:
            self._expire(hold_id, HoldLine(*held))
        return len(rows)

    def _expire(self, hold_id: str, row: HoldLine) -> None:
        """Expire an open hold that is due, unless its call lives: then the clock was set; or forget an ended one."""
        execute, ns, due = self.execute, self.ns, row.due_ms
        if not row.ended and (alive := self._alive(hold_id)) is not None:
            self._keep(alive)
            return
        execute(DELETE_HOLD, (ns, due_key(due), hold_id))
        if row.ended:
            execute(DELETE_HOLD, (ns, hold_id, ""))
            return
        self.accounts.move(keys_of_json(row.accounts), row.amounts(), settled=1 if row.charge else 0, held=-1)
        if row.charge:
            execute(CHARGE, (ns, hold_id))
            execute(ENTER, (ns, hold_id, due))
        elif due + KEEP_ENDED_MS > self.now:
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


def _least(used: Amounts, amounts: Amounts) -> dict[Unit, int]:
    """What is drawn: what was used, in the units that there are, as far as it is there."""
    return {unit: min(used[unit], amount) for unit, amount in amounts.items()}


def _in_order(amounts: Amounts) -> tuple[int, int, int]:
    return amounts["dollars"], amounts.get("tokens", 0), amounts.get("requests", 0)
