"""
How strings, tags and counts are written in a SQLite file, and found again.

Text from callers may hold any code point, lone surrogates and NUL included. What is compared or sorted is stored as
its own bytes (`text`); what is only kept, as JSON in ASCII.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quote
from struct import Struct
from typing import Any, NamedTuple, TypeAlias

from ...ledger import Account, Amounts, Entry, Hold, Millis, Terms, Unit, once_booked, unit_of
from ..encoding import flags_text, json_name, tags_json, usage_json
from ..rules import Sums, ends_of, last_end

_CACHED = 1024
"""A call says the same twice, when it is reserved and when it is settled."""

_PLACES = '#parallel"'
"""What is in a JSON array of keys, and nowhere in a key, if an account counts the calls in flight."""

Execute: TypeAlias = Callable[..., Any]
"""`sqlite3.Cursor.execute`."""

HOLD_LINE = """\
hold.due_ms, hold.at_ms, hold.ended, hold.charge, hold.accounts, hold.dollars, hold.tokens, hold.requests"""

SUMS = "SELECT settled, held FROM accounts WHERE ns = ? AND key = CAST(? AS TEXT)"

FIND_HOLD = f"SELECT {HOLD_LINE} FROM holds AS hold WHERE ns = ? AND key = ? AND id = ''"

FIND_ENTRY = (
    "SELECT at_ms, flags, accounts, dollars, tokens, requests FROM entries WHERE ns = ? AND at_ms = ? AND id = ?"
)

TERMS = "SELECT version, body FROM terms WHERE ns = ? AND key = CAST(? AS TEXT)"


@lru_cache(_CACHED)
def text(value: str) -> str | bytes:
    """A string as a parameter of CAST(? AS TEXT), which takes the lone surrogates that the driver refuses."""
    return value if value.isascii() else value.encode("utf-8", "surrogatepass")


due_key = Struct(">q").pack
"""The key of the row by which a hold is found when it is due, from its `due_ms`; x'' is below all of them."""


@lru_cache(_CACHED)
def keys_json(keys: tuple[str, ...]) -> str:
    """The keys of accounts as a JSON array."""
    return f"[{','.join([_quote(key) for key in keys])}]"


class Charged(NamedTuple):
    """The accounts that a hold is charged to, as its rows name them."""

    keys: tuple[str, ...]
    """Each once, in order."""
    keys_json: str
    ends: tuple[tuple[str, Unit, Millis | None], ...]
    """The same, each with what it counts, and when it is over."""
    last_end: Millis | None


@lru_cache(_CACHED)
def charged(accounts: tuple[Account, ...]) -> Charged:
    """The accounts of a hold: those of a call are those of the last one, mostly."""
    hold = Hold("", accounts, 0)
    ends = ends_of(hold)
    keys = tuple(ends)
    each = tuple([(key, unit_of(key), end) for key, end in ends.items()])
    return Charged(keys, keys_json(keys), each, last_end(hold))


def keys_of_json(value: str) -> list[str]:
    """The keys that `keys_json` wrote."""
    found: list[str] = json.loads(value)
    return found


class HoldLine(NamedTuple):
    """
    What there is of the id of a hold, as `HOLD_LINE` reads it.

    What is behind `ended` is there while it is open.
    """

    due_ms: Millis
    """When it expires, or its id is forgotten; nothing once it has an entry."""
    at_ms: Millis | None
    """Of its entry; `None`: it has none."""
    ended: int
    charge: int
    accounts: str
    dollars: int
    tokens: int | None
    requests: int | None

    def amounts(self) -> dict[Unit, int]:
        """What it holds: dollars, and the units of its accounts."""
        return amounts_held(self.accounts, self.dollars, self.tokens, self.requests)


class EntryLine(NamedTuple):
    """What is booked of a hold that has an entry."""

    at_ms: Millis
    flags: str
    accounts: str
    dollars: int
    tokens: int
    requests: int

    def amounts(self) -> dict[Unit, int]:
        """What it counts for, in every unit."""
        return {"dollars": self.dollars, "tokens": self.tokens, "requests": self.requests, "parallel": 0}

    def counted(self) -> dict[Unit, int]:
        """The same in dollars, and in the units of its accounts."""
        amounts = self.amounts()
        return {unit: amounts[unit] for unit in ("dollars", *map(unit_of, keys_of_json(self.accounts)))}


def amounts_held(accounts: str, dollars: int, tokens: int | None, requests: int | None) -> dict[Unit, int]:
    """The amounts of a hold, from its row: NULL is what none of its accounts, in JSON, counts."""
    amounts: dict[Unit, int] = {"dollars": dollars}
    if tokens is not None:
        amounts["tokens"] = tokens
    if requests is not None:
        amounts["requests"] = requests
    if _PLACES in accounts:
        amounts["parallel"] = 1
    return amounts


def beside_of_hold(amounts: Amounts) -> dict[Unit, int]:
    """What a hold holds beside dollars."""
    return {unit: amount for unit, amount in amounts.items() if unit != "dollars"}


def tag_path(name: str) -> str:
    """The JSON path of a tag."""
    return f"$.{json_name(name)}"


def tag_json(value: str) -> str:
    """A tag's value as JSON has it, to compare with what `tags -> path` gives."""
    return _quote(value)


def find_sums(execute: Execute, ns: int, key: str) -> Sums:
    """What an account has settled and held."""
    rows = execute(SUMS, (ns, text(key))).fetchall()
    return rows[0] if rows else (0, 0)


def find_terms(execute: Execute, ns: int, key: str) -> Terms | None:
    """The terms under a key."""
    rows = execute(TERMS, (ns, text(key))).fetchall()
    return Terms(key, *rows[0]) if rows else None


def find_hold(execute: Execute, ns: int, hold_id: str) -> HoldLine | None:
    """What there is of the id of a hold."""
    row = execute(FIND_HOLD, (ns, hold_id)).fetchone()
    return None if row is None else HoldLine(*row)


def find_entry(execute: Execute, ns: int, hold_id: str, at_ms: Millis) -> EntryLine:
    """An entry that is there."""
    return EntryLine(*execute(FIND_ENTRY, (ns, at_ms, hold_id)).fetchone())


def hold_row(ns: int, hold: Hold, now: Millis, amounts: Amounts, keys: str) -> tuple[Any, ...]:
    """What `PLACE` writes of an open hold, whose accounts, as `keys_json` has them, hold these amounts."""
    due = now + hold.ttl_ms
    charge = hold.on_expire == "charge" and any(once_booked(amounts).values())
    held = (amounts["dollars"], amounts.get("tokens"), amounts.get("requests"))
    said = (keys, tags_json(hold.tags), text(hold.provider), text(hold.model))
    return (ns, hold.id, due, *held, now, charge, *said, ns, due_key(due), hold.id)


def entry_row(ns: int, entry: Entry, at_ms: Millis, flags: frozenset[str], keys: tuple[str, ...]) -> tuple[Any, ...]:
    """What `RECORD` writes of an entry, which is charged to the accounts with these keys."""
    used = entry.amounts()
    amounts = (entry.cost, used["tokens"], used["requests"])
    said = (tags_json(entry.tags), text(entry.provider), text(entry.model), usage_json(entry.usage))
    written = flags_text(flags) if flags else ""
    return (ns, entry.hold_id, at_ms, *amounts, written, keys_json(keys), *said)
