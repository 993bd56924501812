"""
Several gateways of several workers on one store: one budget, one rate, one number of calls at once.

Real processes, PostgreSQL and Valkey; and behind nginx, as the documentation has it, a restart that nobody sees.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import signal
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import pytest
import trustme

from budgetguard.server.keys import Grant, KeyRing
from budgetguard.server.keys.limits import allowance, owner_limits
from budgetguard.server.projects import OWN
from budgetguard.stores import open_store
from budgetguard.testing import FakeProvider, Plan, Request
from tests.support import servers
from tests.support.gateway import MESSAGES
from tests.support.hosting import Process
from tests.support.nginx import nginx
from tests.support.servers.redis import RedisServer, free_port
from tests.support.tasks import until

PATH = "/v1/chat/completions"
CHAT: dict[str, Any] = {"model": "gpt-4o", "messages": MESSAGES, "max_tokens": 20}
FILE = """
[gateway]
wait_s = {wait_s}

[[upstream]]
name = "demo"
base = "{base}"
prices = "openai"
"""
PATIENT = "reserve_s=20&settle_s=20"
DOLLARS = "0.01"
LIMIT = 10_000_000
"""The same in nano-dollars."""
MINUTE_S = 60


class Fleet(NamedTuple):
    """Gateways on one store, and their provider."""

    gateways: list[Process]
    store: str
    provider: FakeProvider
    going: threading.Event
    """Unset, the provider's answers wait."""

    def key(self, project: str, **limits: Any) -> str:
        """A key with these limits."""
        with contextlib.closing(open_store(self.store, namespace=OWN)) as own:
            grant = Grant(limits=owner_limits(limits.pop("dollars", ()), **limits))
            return KeyRing(own).create(project, "call", grant=grant)[1]

    def ask(self, number: int, key: str) -> int:
        """One call of one of them; its status."""
        served = self.gateways[number % len(self.gateways)]
        return served.ask("POST", PATH, CHAT, headers={"authorization": f"Bearer {key}"})[0]


def configuration(folder: Path, provider: FakeProvider, wait_s: float = 0.0) -> str:
    """A file whose one upstream is the provider."""
    (folder / "gateway.toml").write_text(FILE.format(base=provider.base_url, wait_s=wait_s))
    return str(folder / "gateway.toml")


def patient(url: str) -> str:
    """A store's URL with deadlines for a machine that does other things, too."""
    return url + ("&" if "?" in url else "?") + PATIENT


@pytest.fixture(scope="module", params=["postgres", "valkey"])
def fleet(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two gateways of two workers each."""
    going = threading.Event()
    going.set()

    def plan(_request: Request) -> Plan:
        going.wait(30)
        return Plan(tokens=20)

    store = patient(servers.running(request.param))
    with FakeProvider(plan, prices={"gpt-4o": (2.5, 10)}) as provider, contextlib.ExitStack() as running:
        file = configuration(tmp_path_factory.mktemp("fleet"), provider)
        with ThreadPoolExecutor() as pool:  # both start at once
            begun = [pool.submit(Process, store, "--config", file, "--workers=2", verb="gateway") for _ in range(2)]
            gateways = [running.enter_context(each.result()) for each in begun]
        yield Fleet(gateways, store, provider, going)
        for each in gateways:
            each.terminate()
        assert [each.wait() for each in gateways] == [0, 0]


def answers(fleet: Fleet, key: str, count: int, clients: int = 12) -> list[int]:
    """The statuses of so many calls, by several clients at once."""
    with ThreadPoolExecutor(clients) as pool:
        return list(pool.map(lambda number: fleet.ask(number, key), range(count)))


def test_a_cent_is_a_cent_for_all_workers_of_all_gateways(fleet: Fleet) -> None:
    """The budget of a key is neither split between processes nor spent once by each."""
    project = f"cent {uuid4().hex}"
    key, bills = fleet.key(project, dollars=[allowance(DOLLARS)]), len(fleet.provider.ledger)
    statuses = answers(fleet, key, 70)
    while fleet.ask(0, key) == 200:  # where calls were refused for what others only held
        pass
    billed = sum(bill.amount for bill in fleet.provider.wait().ledger[bills:])
    assert 0.95 * LIMIT < billed <= LIMIT
    assert set(statuses) <= {200, 402, 429}
    with contextlib.closing(open_store(fleet.store, namespace=project)) as store:
        assert sum(entry.cost for entry in store.entries()) == billed
        assert (store.holds(), store.check()) == ([], [])


def test_sixty_a_minute_are_sixty_for_all(fleet: Fleet) -> None:
    """A rate that each process counted by itself would be four times what was promised to a provider."""
    key, seen = fleet.key(f"rate {uuid4().hex}", rpm=60), len(fleet.provider.requests)
    begin = time.time() // MINUTE_S
    statuses = answers(fleet, key, 80)
    minutes = time.time() // MINUTE_S - begin + 1
    passed = statuses.count(200)
    assert passed == len(fleet.provider.requests) - seen
    assert set(statuses) <= {200, 429}
    assert 60 <= passed <= 60 * minutes


def test_four_at_once_are_four_for_all(fleet: Fleet) -> None:
    """Calls in flight are counted where all can see them, and a place is free again when its call is over."""
    key, seen = fleet.key(f"four {uuid4().hex}", parallel=4), len(fleet.provider.requests)
    fleet.going.clear()
    refused: list[int] = []
    statuses: list[int] = []

    def ask(number: int) -> None:
        status = fleet.ask(number, key)
        statuses.append(status)
        if status != 200:
            refused.append(status)

    with ThreadPoolExecutor(12) as pool:
        try:
            asked = [pool.submit(ask, number) for number in range(12)]
            assert until(lambda: len(refused) == 8)
            assert len(fleet.provider.requests) - seen == 4
        finally:
            fleet.going.set()
        for each in asked:
            each.result()
    assert sorted(statuses) == [200] * 4 + [429] * 8
    assert fleet.ask(0, key) == 200


def test_a_store_that_is_away_is_said_at_once_and_nothing_has_to_be_restarted(tmp_path: Path) -> None:
    """A call whose budget cannot be asked is refused in time for its client to go elsewhere; then all goes on."""
    with servers.start("valkey") as valkey, FakeProvider(tokens=20) as provider:
        assert isinstance(valkey, RedisServer)
        url = f"{valkey.url}?reserve_s=0.5"
        file = configuration(tmp_path, provider)
        with Process(url, "--config", file, verb="gateway") as served:
            fleet = Fleet([served], url, provider, threading.Event())
            key = fleet.key("shop", dollars=[allowance(1)])
            assert until(lambda: fleet.ask(0, key) == 200)
            for away, back in (
                (lambda: valkey.signal(signal.SIGSTOP), lambda: valkey.signal(signal.SIGCONT)),
                (valkey.kill, valkey.start),
            ):
                away()
                sent, begin_s = len(provider.requests), time.monotonic()
                assert fleet.ask(0, key) == 503
                assert time.monotonic() - begin_s < 10
                assert len(provider.requests) == sent
                back()
                assert until(lambda: fleet.ask(0, key) == 200)
            assert served.stop() == 0


class Clients:
    """Clients behind nginx that ask plainly and by streams, each on a connection that it keeps."""

    def __init__(self, port: int, authority: trustme.CA, key: str) -> None:
        self.answered = 0
        self.failed: list[str] = []
        self._port, self._key = port, key
        self._trusted = ssl.create_default_context()
        authority.configure_trust(self._trusted)
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(6)]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()

    def more(self) -> None:
        """Returns when they have had more answers."""
        seen = self.answered
        assert until(lambda: self.answered > seen + 30 or bool(self.failed))

    def _work(self, number: int) -> None:
        connection = http.client.HTTPSConnection("localhost", self._port, timeout=60, context=self._trusted)
        headers = {"content-type": "application/json", "authorization": f"Bearer {self._key}"}
        with contextlib.closing(connection):
            while not self._done.is_set():
                stream = bool((self.answered + number) % 2)
                try:
                    connection.request("POST", PATH, json.dumps({**CHAT, "stream": stream}), headers)
                    answer = connection.getresponse()
                    body = answer.read()
                except (OSError, http.client.HTTPException) as error:
                    self.failed.append(repr(error))
                    connection.close()
                    continue
                whole = body.endswith(b"data: [DONE]\n\n") if stream else b'"usage"' in body
                with self._lock:
                    self.answered += 1
                    if answer.status != 200 or not whole:
                        self.failed.append(f"{answer.status} {body[-200:]!r}")


def test_two_gateways_restart_behind_nginx_and_no_client_sees_it(tmp_path: Path, authority: trustme.CA) -> None:
    """An upgrade in the middle of the day: no call fails, no stream is cut, each is on the books once."""
    store, listen = f"sqlite:///{tmp_path}/a.db?{PATIENT}", free_port()
    with FakeProvider(tokens=20, chunk_s=0.005) as provider:
        file = configuration(tmp_path, provider, wait_s=10.0)

        def begin(port: int = 0) -> Process:
            return Process(store, "--config", file, port=port, verb="gateway")

        with contextlib.closing(open_store(store, namespace=OWN)) as own:
            key = KeyRing(own).create("shop", "call")[1]
        pair = [begin(), begin()]
        ports = [each.port for each in pair]
        with nginx(tmp_path, listen, ports, authority, "docs/gateway/operating.md"):
            with Clients(listen, authority, key) as clients:
                clients.more()
                for place in (0, 1):
                    assert pair[place].stop() == 0
                    pair[place].__exit__()
                    clients.more()
                    pair[place] = begin(ports[place])
                    clients.more()
            assert clients.failed == []
        for each in pair:
            assert each.stop() == 0
            each.__exit__()
        with contextlib.closing(open_store(store, namespace="shop")) as books:
            assert len(list(books.entries())) == clients.answered == len(provider.requests)
            assert (books.holds(), books.check()) == ([], [])
