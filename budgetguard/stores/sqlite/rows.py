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

from ...ledger import Account, Hold, Millis, Terms
from ..encoding import json_name
from ..rules import Sums, ends_of, last_end

_CACHED = 1024
"""A call says the same twice, when it is reserved and when it is settled."""

Execute: TypeAlias = Callable[..., Any]
"""`sqlite3.Cursor.execute`."""

SUMS = "SELECT settled, held FROM accounts WHERE ns = ? AND key = CAST(? AS TEXT)"

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
    ends: tuple[tuple[str | bytes, Millis | None], ...]
    """The same as text, each with when it is over."""
    last_end: Millis | None


@lru_cache(_CACHED)
def charged(accounts: tuple[Account, ...]) -> Charged:
    """The accounts of a hold: those of a call are those of the last one, mostly."""
    hold = Hold("", accounts, 0)
    ends = ends_of(hold)
    keys = tuple(ends)
    return Charged(keys, keys_json(keys), tuple((text(key), end) for key, end in ends.items()), last_end(hold))


def keys_of_json(value: str) -> list[str]:
    """The keys that `keys_json` wrote."""
    found: list[str] = json.loads(value)
    return found


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
