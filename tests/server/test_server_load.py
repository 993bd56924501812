"""
The server under load: nothing is lost, nothing leaks, and the books equal what the clients were told.

`make load` runs it for a minute; here it is four seconds.
"""

from __future__ import annotations

import os
import threading
import time
from contextlib import closing
from pathlib import Path

from budgetguard.stores import open_store
from budgetguard.stores.http.store import HttpStore
from tests.support.hosting import Process
from tests.support.load import Ledger, books, run_clients

CLIENTS = 32
SECONDS = float(os.environ.get("BUDGETGUARD_TEST_LOAD_S", "4"))
PATIENCE_S = 5.0
"""Deadlines for a machine that does other things, too: what is tested is what is booked, not how fast."""


def store_at(url: str) -> HttpStore:
    return HttpStore(url, namespace="shop", reserve_s=PATIENCE_S, settle_s=PATIENCE_S)


def test_a_load_of_many_clients_loses_and_leaks_nothing(tmp_path: Path) -> None:
    """The books equal the clients' ledger, memory stays flat, and no connection is left over."""
    url, told = f"sqlite:///{tmp_path}/budgets.db", Ledger()
    with Process(url, "--open") as server:
        end = time.monotonic() + SECONDS
        threads = run_clients(lambda: store_at(server.url), CLIENTS, told, lambda: time.monotonic() < end)
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
    port, threads = server.port, run_clients(lambda: store_at(server.url), CLIENTS, told, lambda: not done.is_set())
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
        assert told.failures
        assert server.stop() == 0
    finally:
        done.set()
        server.__exit__()
