"""
What a leased budget costs a process: pairs a second served from memory, and how seldom the store is asked.

    python -m benchmarks.leases [--store valkey|redis|postgres|sqlite] [--quick] [--json]

A burst is what is served while settlements wait to be sent, ten thousand pairs; sustained is what is served and
booked, call by call, until all of it is on the books. Beside it stand pairs without a lease on the same store, and,
what both are compared with, the pairs of a store in memory in the same run.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from typing import Any

from budgetguard.budgets.rules import Budget
from budgetguard.guards.guard import Guard
from budgetguard.guards.settings import Settings
from budgetguard.ledger import Account, Entry, Hold, Store, new_id
from budgetguard.stores import open_store
from budgetguard.stores.memory.store import MemoryStore
from tests.support import servers

from .floors import Floors
from .redis import TAGS, USAGE, Row, pair, seconds

BURST = 10_000
LIMIT = 1_000_000.00
"""Dollars."""


class Counted:
    """A store that counts how often it is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.asked: Counter[str] = Counter()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._store, name)
        if not callable(found):
            return found

        def counted(*args: Any, **named: Any) -> Any:
            self.asked[name] += 1
            return found(*args, **named)

        return counted


@contextmanager
def opened(name: str) -> Iterator[Counted]:
    """A store of one's own."""
    with ExitStack() as stack:
        if name == "sqlite":
            url = f"sqlite:///{stack.enter_context(tempfile.TemporaryDirectory())}/a.db"
        else:
            url = stack.enter_context(servers.start(name)).url
        store = open_store(url, namespace="bench")
        stack.callback(store.close)
        yield Counted(store)


def leased(guard: Guard, account: Account) -> Callable[[], None]:
    """One call's steps on a lease."""
    leases, accounts, keys = guard.leases, (account,), (account.key,)
    assert leases is not None

    def pair_() -> None:
        held = Hold(new_id(), (), 500, None, 0, 900_000, "release", (), TAGS, "openai", "gpt-4o-mini")
        if not isinstance(leases.take(held, accounts), int):
            guard.shell.run(leases.fill(held, accounts))
        hold = held._replace(leases=leases.ids(held.id))
        leases.settle(hold, Entry(held.id, 300, keys, 0, TAGS, "openai", "gpt-4o-mini", USAGE))

    return pair_


def measure(name: str, *, quick: bool) -> list[Row]:
    """Every row."""
    times = 30_000 if quick else 200_000
    with opened(name) as store, tempfile.TemporaryDirectory() as journal:
        guard = Guard(store, budgets=[Budget("fleet", LIMIT, "daily", lease=True)], settings=Settings(journal=journal))  # type: ignore[arg-type]
        [account] = guard.coverage.cover({}).accounts
        plain = 1 / seconds(lambda: pair(store, (account,)), 500)  # type: ignore[arg-type]
        call = leased(guard, account)
        seconds(call, 2000)
        guard.flush()
        memory = MemoryStore()
        beside = 1 / seconds(lambda: pair(memory, (account,)), BURST)
        burst = 1 / seconds(call, BURST)
        guard.flush()
        before, began = store.asked.total(), time.perf_counter()
        seconds(call, times)
        assert guard.flush(60)
        sustained = times / (time.perf_counter() - began)
        asked = store.asked.total() - before
        assert store.check() == []
        assert sum(balance.settled for balance in store.accounts()) == 300 * (500 + 2000 + BURST + times)
        guard.close()
    return [
        Row("without a lease, pairs a second", plain, ""),
        Row("a burst, pairs a second", burst, ">= 100000"),
        Row("sustained and booked, pairs a second", sustained, ""),
        Row("a pair in memory, pairs a second", beside, ""),
        Row("a burst, over pairs in memory", beside / burst, "<= 1.5"),
        Row("sustained and booked, over pairs in memory", beside / sustained, "<= 3.0"),
        Row("round trips saved, times fewer", 2 * times / asked, ">= 20"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.leases")
    parser.add_argument("--store", choices=(*servers.NAMES, "sqlite"), default="valkey")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    rows = measure(asked.store, quick=asked.quick)
    if asked.json:
        print(json.dumps([asdict(row) for row in rows], indent=1))
        return
    floors = Floors()
    for row in rows:
        mark = floors.bound(row.value, row.floor)
        print(
            f"{asked.store:8} leased: {row.name:40} {row.value:12,.{0 if row.value > 100 else 2}f}   {row.floor}{mark}"
        )
    floors.leave()


if __name__ == "__main__":
    main()
