"""
The server under load: nothing is lost, nothing leaks, and the books equal what the clients were told.

`make load` runs it for a minute; here it is ten seconds.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from hosting import Process

from budgetguard.errors import StoreError
from budgetguard.ledger import Account, Admitted, Entry, Hold, Settled, Store, new_id
from budgetguard.stores import open_store
from budgetguard.stores.http import HttpStore

CLIENTS = 32
SECONDS = float(os.environ.get("BUDGETGUARD_LOAD_S", "10"))
LIMIT = 10**12
PATIENCE_S = 5.0
"""Deadlines for a machine that does other things, too: what is tested is what is booked, not how fast."""


@dataclass
class Ledger:
    """What the clients were told."""

    settled: dict[str, int] = field(default_factory=dict)
    unknown: dict[str, int] = field(default_factory=dict)
    """Settlements that were sent and not answered."""
    failures: int = 0
    errors: list[BaseException] = field(default_factory=list)


def account(number: int) -> Account:
    return Account(f"team/{number % 4}", limit=LIMIT)


def client(url: str, number: int, told: Ledger, going: Callable[[], bool]) -> None:
    """Reserves, and settles or releases; repeats what was not answered, as a journal would."""
    store, doubtful = HttpStore(url, namespace="shop", reserve_s=PATIENCE_S, settle_s=PATIENCE_S), list[str]()
    try:
        while going():
            held = Hold(new_id(), (account(number), Account("all", limit=LIMIT)), 10, tags={"user": f"u{number}"})
            try:
                if not isinstance(store.reserve(held), Admitted):
                    continue
            except StoreError:
                told.failures += 1
                doubtful.append(held.id)  # it may have been placed
                time.sleep(0.01)
                continue
            cost = 1 + len(told.settled) % 9
            told.unknown[held.id] = cost
            while True:
                try:
                    answer = store.settle(held, Entry(held.id, cost, tags=held.tags))
                except StoreError:
                    told.failures += 1
                    time.sleep(0.01)
                else:
                    assert isinstance(answer, Settled)
                    assert answer.cost == cost
                    told.settled[held.id] = told.unknown.pop(held.id)
                    break
        for hold_id in doubtful:
            _release(store, hold_id)
    except BaseException as error:
        told.errors.append(error)
    finally:
        store.close()


def _release(store: Store, hold_id: str) -> None:
    while True:
        try:
            store.release(hold_id)
        except StoreError:
            time.sleep(0.05)
        else:
            return


def run_clients(url: str, told: Ledger, going: Callable[[], bool]) -> list[threading.Thread]:
    threads = [threading.Thread(target=client, args=(url, number, told, going)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    return threads


def books(store: Store) -> tuple[dict[str, int], int]:
    """What is on the books: the entries, and the sum of the account that all calls touch."""
    return {entry.hold_id: entry.cost for entry in store.entries()}, store.balances(["all"])[0].settled


def test_a_load_of_many_clients_loses_and_leaks_nothing(tmp_path: Path) -> None:
    """The books equal the clients' ledger, memory stays flat, and no connection is left over."""
    url, told = f"sqlite:///{tmp_path}/budgets.db", Ledger()
    with Process(url, "--open") as server:
        end = time.monotonic() + SECONDS
        threads = run_clients(server.url, told, lambda: time.monotonic() < end)
        time.sleep(SECONDS / 3)
        early_kb, early = server.memory_kb, len(told.settled)
        for thread in threads:
            thread.join()
        late_kb = server.memory_kb
        assert told.errors == []
        assert told.unknown == {}
        assert early > 0
        assert late_kb < early_kb * 1.25 + 8_000
        store = open_store(server.url, namespace="shop")
        entries, total = books(store)
        assert entries == told.settled
        assert total == sum(told.settled.values())
        assert store.holds() == []
        assert store.check() == []
        store.close()
        time.sleep(0.2)
        assert server.descriptors < 60
        assert server.stop() == 0
    print(f"{len(told.settled) / SECONDS:.0f} pairs a second, {early_kb} kB after a third, {late_kb} kB at the end")


def test_a_server_that_is_killed_under_load_loses_nothing(tmp_path: Path) -> None:
    """Every answered settlement is there, and the clients go on with the next server without a word."""
    url, told, done = f"sqlite:///{tmp_path}/budgets.db", Ledger(), threading.Event()
    server = Process(url, "--open")
    port, threads = server.port, run_clients(server.url, told, lambda: not done.is_set())
    try:
        for _ in range(3):
            time.sleep(1.5)
            server.kill()
            answered = dict(told.settled)
            with closing(open_store(url, namespace="shop")) as store:
                entries, _ = books(store)
                assert answered.items() <= entries.items()
                assert store.check() == []
            server.__exit__()
            server = Process(url, "--open", port=port)
        time.sleep(2.5)  # clients that took the server for dead ask again
        done.set()
        for thread in threads:
            thread.join()
        assert told.errors == []
        with closing(open_store(url, namespace="shop")) as store:
            entries, total = books(store)
            assert entries == told.settled
            assert told.unknown == {}
            assert store.holds() == []
            assert total == sum(entries.values())
            assert store.check() == []
        assert told.failures > 0
        assert server.stop() == 0
    finally:
        done.set()
        server.__exit__()
