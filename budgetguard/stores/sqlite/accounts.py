"""
What the accounts of a SQLite file have settled and held, inside one transaction.

Each is changed in its own unit. What an operation has read once it knows, so that its answer brings the balances of the
accounts that it names without reading much again.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...ledger import Account, Amounts, Balance, Millis, unit_of
from ..rules import LARGE, Stand, Sums, require_sums
from .rows import Execute, find_sums, text

ADD = """
INSERT INTO accounts (ns, key, settled, held, end_ms) VALUES (?, CAST(? AS TEXT), ?, ?, ?)
ON CONFLICT DO UPDATE SET settled = settled + excluded.settled, held = held + excluded.held"""


class SQLiteAccounts:
    """The accounts of one namespace, as the operation that runs sees them."""

    def __init__(self, execute: Execute, ns: int) -> None:
        self._execute = execute
        self._ns = ns
        self._known: dict[str, Sums] = {}
        self._windows: dict[tuple[str, ...], Sums] = {}

    def begin(self) -> None:
        """Another operation begins: what was known may have changed."""
        self._known.clear()
        self._windows.clear()

    def note(self, key: str, sums: Sums) -> None:
        """What an account has, as somebody has just read."""
        self._known[key] = sums

    def sums(self, key: str) -> Sums:
        """What an account has settled and held."""
        sums = self._known.get(key)
        if sums is None:
            sums = self._known[key] = find_sums(self._execute, self._ns, key)
        return sums

    def window(self, keys: tuple[str, ...]) -> Sums:
        """What the earlier buckets of a rolling period have settled and held, of which there may be two dozen."""
        sums = self._windows.get(keys)
        if sums is None:
            places = ",".join(["CAST(? AS TEXT)"] * len(keys))
            sql = f"SELECT settled, held FROM accounts WHERE ns = ? AND key IN ({places})"
            rows = self._execute(sql, (self._ns, *map(text, keys))).fetchall()
            sums = self._windows[keys] = sum([row[0] for row in rows]), sum([row[1] for row in rows])
        return sums

    def add(self, key: str, settled: int, held: int, end_ms: Millis | None = None) -> None:
        """Add to what an account has; a new one, with this end, where there is none."""
        self._execute(ADD, (self._ns, text(key), settled, held, end_ms))
        if self._windows:
            self._windows = {window: sums for window, sums in self._windows.items() if key not in window}
        known = self._known.get(key)
        if known is not None:
            self._known[key] = known[0] + settled, known[1] + held

    def move(self, keys: Iterable[str], amounts: Amounts, *, settled: int = 0, held: int = 0) -> None:
        """Put amounts on what accounts, which are there, have settled or held (1), or take them off (-1)."""
        for key in keys:
            unit = unit_of(key)
            spent = 0 if unit == "parallel" else settled * amounts[unit]
            self.add(key, spent, held * amounts[unit])

    def standings(self, accounts: Sequence[Account]) -> list[Stand]:
        """What each of these has settled and held, its window included."""
        found: list[Stand] = []
        for account in accounts:
            settled, held = self.sums(account.key)
            if account.window:
                earlier = self.window(account.window)
                settled += earlier[0]
                held += earlier[1]
            found.append((account, settled, held))
        return found

    def told(self, accounts: Sequence[Account], keys: Sequence[str] = ()) -> tuple[Balance, ...]:
        """The balances that an outcome brings: of these accounts, their windows included, then of those with a key."""
        found = [Balance(account.key, settled, held) for account, settled, held in self.standings(accounts)]
        found += [Balance(key, *self.sums(key)) for key in keys]
        return tuple(found)

    def require_sums(self, used: Amounts, keys: Iterable[str]) -> None:
        """Raise `AmountError` if what is used, added to one of these, is more than can be counted."""
        if max(used.values()) > LARGE:
            for key in keys:
                require_sums(used[unit_of(key)], [self.sums(key)[0]])
