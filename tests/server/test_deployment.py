"""
The deployment of docs/hosting.md, as it stands there: nginx with TLS, two servers, PostgreSQL.

While one of the servers restarts, or is killed, its clients see nothing.
"""

from __future__ import annotations

import threading
import time
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest
import trustme

from budgetguard import BudgetManager, PriceBook
from budgetguard.errors import StoreError
from budgetguard.ledger import Account, Entry, Hold, new_id
from budgetguard.process.journal_files import Kept
from budgetguard.server.keys import ADMIN, KeyRing
from budgetguard.server.projects import OWN
from budgetguard.stores import open_store
from budgetguard.stores.http.store import HttpStore
from tests.support import servers
from tests.support.hosting import Process
from tests.support.load import Ledger, books, run_clients
from tests.support.nginx import nginx
from tests.support.servers.redis import free_port

CLIENTS = 8
PAUSE_S = 1.0


def test_one_of_two_servers_restarts_and_a_client_sees_nothing(tmp_path: Path, authority: trustme.CA) -> None:
    """In good order or killed; every call is booked once, also one that nginx had to ask again for."""
    url, project = servers.running("postgres"), f"shop {uuid4().hex}"
    with closing(open_store(url, namespace=OWN)) as own:
        _, key = KeyRing(own).create(project, ADMIN)
    listen, told, done = free_port(), Ledger(), threading.Event()
    patient = f"https://:{key}@localhost:{listen}?reserve_s=10&settle_s=10"
    behind = url + ("&" if "?" in url else "?") + "reserve_s=10&settle_s=10"
    pair = [Process(behind), Process(behind)]
    ports = [each.port for each in pair]
    with nginx(tmp_path, listen, ports, authority):
        threads = run_clients(lambda: HttpStore(patient, namespace=project), CLIENTS, told, lambda: not done.is_set())
        try:
            for place, kill in ((0, False), (1, True), (0, True), (1, False)):
                time.sleep(PAUSE_S)
                before = len(told.settled)
                if kill:
                    pair[place].kill()
                else:
                    assert pair[place].stop() == 0
                pair[place].__exit__()
                time.sleep(0.5)
                assert len(told.settled) > before
                pair[place] = Process(behind, port=ports[place])
            time.sleep(PAUSE_S)
        finally:
            done.set()
            for thread in threads:
                thread.join()
        assert (told.errors, told.failures, told.unknown) == ([], [], {})
        with closing(open_store(url, namespace=project)) as store:
            entries, total = books(store)
            assert entries == told.settled
            assert total == sum(entries.values())
            assert (store.holds(), store.check()) == ([], [])
    for each in pair:
        assert each.stop() == 0
        each.__exit__()


def test_both_servers_are_away_and_nothing_is_lost(
    tmp_path: Path, authority: trustme.CA, monkeypatch: pytest.MonkeyPatch
) -> None:
    """nginx says 502; calls are refused, settlements wait in the journal and land when a server is back."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "state").mkdir()
    url, project = f"sqlite:///{tmp_path}/budgets.db", "shop"
    listen, ports = free_port(), [free_port(), free_port()]
    account = Account("team", limit=100)
    with closing(open_store(url, namespace=OWN)) as own:
        monkeypatch.setenv("BUDGETGUARD_KEY", KeyRing(own).create(project, ADMIN)[1])
    with (
        nginx(tmp_path, listen, ports, authority),
        closing(
            BudgetManager(
                project, client_type="hosted", api_base=f"https://localhost:{listen}?reserve_s=5", prices=PriceBook()
            )
        ) as manager,
    ):
        first = Process(url, port=ports[0])
        held = Hold(new_id(), (account,), 10)
        manager.store.reserve(held)
        first.kill()
        first.__exit__()
        with pytest.raises(StoreError, match="502"):
            manager.store.reserve(Hold(new_id(), (account,), 10))
        journal = manager.guard.journal
        assert journal is not None
        journal.keep(Kept(held, Entry(held.id, 7), at_ms=0))
        with Process(url, port=ports[1]) as second:
            assert manager.guard.flush(20)
            assert [entry.cost for entry in manager.store.entries()] == [7]
            assert second.stop() == 0


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    """A key is not sent to whoever answers, and the error says how to trust an authority of one's own."""
    listen, ports = free_port(), [free_port(), free_port()]
    with (
        nginx(tmp_path, listen, ports, trustme.CA()),
        closing(HttpStore(f"https://:bg_secret@localhost:{listen}", reserve_s=5)) as store,
        pytest.raises(StoreError, match="SSL_CERT_FILE") as caught,
    ):
        store.reserve(Hold(new_id(), (Account("team"),), 1))
    assert "bg_secret" not in str(caught.value)
