"""A hosted budget keeps every promise of a local one: the contract of stores, over a real server on loopback."""

from __future__ import annotations

import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from uuid import uuid4

import pytest

from budgetguard.errors import StoreError
from budgetguard.guards.guard import Guard
from budgetguard.ledger import Admitted, Balance, Entry, Store
from budgetguard.litellm.hosted import open_hosted
from budgetguard.prices.book import PriceBook
from budgetguard.process.journal_files import Kept
from budgetguard.stores import open_store
from budgetguard.testing.clock import StoppedClock
from budgetguard.testing.contract import StoreContract, together
from tests.support import servers
from tests.support.children import ends, fork
from tests.support.hosting import Hosted, Process
from tests.support.ledger import ACCOUNT, hold, spend

PATIENT = "reserve_s=5&settle_s=5"
"""For a machine that does other things, too: what is tested here is what is booked, not how fast."""


class HostedContract(StoreContract):
    """The contract, over HTTP."""

    @pytest.fixture(autouse=True)
    def _server(self, tmp_path: Path, clock: StoppedClock) -> Iterator[None]:
        self.server = Hosted(self.store_url(tmp_path), clock=clock)
        self.project = f"shop {uuid4().hex}"
        yield
        self.server.stop()

    def store_url(self, tmp_path: Path) -> str:
        raise NotImplementedError

    def make_store(self, clock: StoppedClock) -> Store:
        return open_store(f"{self.server.url}?{PATIENT}", namespace=self.project)

    same_store = make_store


class TestBeforeMemory(HostedContract):
    def store_url(self, tmp_path: Path) -> str:
        return "memory://"


class TestBeforeSQLite(HostedContract):
    def store_url(self, tmp_path: Path) -> str:
        return f"sqlite:///{tmp_path}/budgets.db?{PATIENT}"


class TestBeforePostgres(HostedContract):
    def store_url(self, tmp_path: Path) -> str:
        return f"{servers.running('postgres')}?{PATIENT}"


class TestBeforeValkey(HostedContract):
    def store_url(self, tmp_path: Path) -> str:
        return f"{servers.running('valkey')}?{PATIENT}"


class TestHostedManagersStore(HostedContract):
    """The store of `BudgetManager(client_type="hosted")`."""

    def store_url(self, tmp_path: Path) -> str:
        return "memory://"

    def make_store(self, clock: StoppedClock) -> Store:
        return open_hosted(f"{self.server.url}?{PATIENT}", self.project, None)

    same_store = make_store


# What only a network can suffer.


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[Hosted]:
    server = Hosted(f"sqlite:///{tmp_path}/budgets.db")
    yield server
    server.stop()


class Odd:
    """A server on loopback that does to each connection what a test wants."""

    def __init__(self, serve: Callable[[socket.socket], None]) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self.connections = 0
        self._serve = serve
        self._open: list[socket.socket] = []
        threading.Thread(target=self._run, daemon=True).start()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            self._open.append(connection)
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with suppress(OSError):
            self._serve(connection)

    def close(self) -> None:
        self._socket.close()
        for connection in self._open:
            connection.close()


def read_request(connection: socket.socket) -> bytes:
    """A whole request."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return b""
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
    while len(body) < length:
        body += connection.recv(65536)
    return data


def answer(connection: socket.socket, body: bytes, status: bytes = b"200 OK") -> None:
    connection.sendall(b"HTTP/1.1 %s\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body)


def seconds(work: Callable[[], object]) -> float:
    begin = time.monotonic()
    with pytest.raises(StoreError):
        work()
    return time.monotonic() - begin


@pytest.mark.parametrize("kind", ["silent", "half an answer", "drip"])
def test_a_server_that_does_not_answer_costs_a_deadline_and_then_nothing(kind: str) -> None:
    """A reserve 250 ms, a settlement 500 ms; after three failures callers are told at once."""

    def serve(connection: socket.socket) -> None:
        read_request(connection)
        if kind == "half an answer":
            connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{")
        while kind == "drip":
            connection.sendall(b"H" * 1)
            time.sleep(0.05)
        time.sleep(5)

    odd = Odd(serve)
    store = open_store(odd.url)
    held = hold()
    assert 0.2 < seconds(lambda: store.reserve(held)) < 1.0
    assert 0.4 < seconds(lambda: store.settle(held, Entry(held.id, 1))) < 2.0
    seconds(lambda: store.reserve(held))
    assert seconds(lambda: store.reserve(held)) < 0.1
    assert odd.connections <= 3
    store.close()
    odd.close()


def test_a_server_that_is_not_there_is_an_error_at_once() -> None:
    """Which names it, without the key."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    store = open_store(f"http://:bg_secret@127.0.0.1:{port}/below")
    with pytest.raises(StoreError, match=rf"http://127\.0\.0\.1:{port}/below did not answer") as caught:
        store.reserve(hold())
    assert "secret" not in "".join(traceback.format_exception(caught.value))
    assert "secret" not in str(store.journal)


def test_a_connection_that_was_closed_meanwhile_is_opened_again(hosted: Hosted) -> None:
    """A server that restarted, or a proxy that closes idle connections: no call fails for it."""
    answers = 0

    def serve(connection: socket.socket) -> None:
        nonlocal answers
        read_request(connection)
        answers += 1
        answer(connection, b'{"done":true}')
        read_request(connection)  # the second request on a connection is never answered
        connection.close()

    odd = Odd(serve)
    store = open_store(odd.url)
    for number in range(4):
        store.release("a")
        assert answers == number + 1
    store.close()
    odd.close()


def test_connections_are_reused(hosted: Hosted) -> None:
    """By all threads."""

    def serve(connection: socket.socket) -> None:
        while read_request(connection):
            answer(connection, b'{"done":true}')

    odd = Odd(serve)
    store = open_store(odd.url)
    together(4, lambda _: [store.release("a") for _ in range(50)])
    assert odd.connections <= 4
    store.close()
    odd.close()


@pytest.mark.parametrize(
    ("status", "body", "told"),
    [
        (b"502 Bad Gateway", b"<html>", "a proxy in front of it answered 502"),
        (b"503 Busy", b'{"error": {"message": "the disk is full", "type": "store_error"}}', "the disk is full"),
        (b"404 Not Found", b"nginx", "check the URL"),
        (b"301 Moved", b"", "check the URL"),
        (b"200 OK", b"<html>", "not the native API"),
        (b"200 OK", b"{}", "not the native API"),
        (b"200 OK", b'{"settled": "much"}', "not the native API"),
        (b"401 No", b'{"error": {"message": "this key was revoked", "type": "x"}}', "this key was revoked"),
    ],
)
def test_a_strange_answer_is_an_error_of_ours(status: bytes, body: bytes, told: str) -> None:
    """Never an answer."""

    def serve(connection: socket.socket) -> None:
        while read_request(connection):
            answer(connection, body, status)

    odd = Odd(serve)
    store = open_store(odd.url)
    with pytest.raises(StoreError, match=told):
        store.reserve(hold())
    with pytest.raises(StoreError):
        store.balances(["a"])
    store.close()
    odd.close()


def test_a_child_has_connections_of_its_own(hosted: Hosted) -> None:
    """Two processes on one connection would read each other's answers."""
    store = open_store(hosted.url, namespace="shop")
    store.reserve(hold())
    children = [fork(lambda: [spend(store) for _ in range(20)]) for _ in range(3)]
    for _ in range(20):
        held = hold()
        assert isinstance(store.reserve(held), Admitted)
    assert ends(*children) == [0] * 3
    assert store.balances([ACCOUNT.key])[0].settled == 7 * 60
    store.close()


def test_settlements_wait_in_a_journal_while_the_server_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And land when it is back, once."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    url = f"sqlite:///{tmp_path}/budgets.db"
    (tmp_path / "state").mkdir()
    with Process(url, "--open") as first:
        port = first.port
        guard = Guard(open_store(first.url, namespace="shop"), PriceBook())
        assert guard.journal is not None
        held = hold()
        assert guard.store is not None
        guard.store.reserve(held)
        assert first.stop() == 0
    guard.journal.keep(Kept(held, Entry(held.id, 7), at_ms=0))
    assert not guard.flush(0.2)
    with Process(url, "--open", port=port) as second:
        assert guard.flush(10)
        assert guard.store.balances([ACCOUNT.key])[0] == Balance(ACCOUNT.key, 7, 0)
        guard.close()
        assert second.stop() == 0


del HostedContract, StoreContract  # or pytest would collect them too
