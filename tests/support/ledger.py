"""Calls as a store sees them: an account, holds on it, and what was spent."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from budgetguard.ledger import Account, Admitted, Entry, Hold, Settled, Store, new_id

ACCOUNT = Account("team/2027-01", limit=10**12)


def hold(amount: int = 10, account: Account = ACCOUNT, **fields: Any) -> Hold:
    """Of a new call."""
    return Hold(new_id(), (account,), amount, **fields)


def spend(store: Store, cost: int = 7) -> str:
    """A call, from its hold to its settlement; the hold's id."""
    held = hold()
    assert isinstance(store.reserve(held), Admitted)
    settled = store.settle(held, Entry(held.id, cost))
    assert isinstance(settled, Settled)
    assert settled.cost == cost
    return held.id


def integrity(path: Path) -> str:
    """What SQLite itself says of a file: "ok", or what is wrong."""
    with closing(sqlite3.connect(path)) as connection:
        return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
