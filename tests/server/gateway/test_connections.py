"""Which connections to upstreams are used again: a request that meets a close on its way is booked and not answered."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from budgetguard.server.gateway.client import UpstreamClient
from budgetguard.server.gateway.connections import SEEN_S, NotSentError


class Upstream:
    """Answers on connections that it keeps, and remembers which one was asked; a clock beside it stands still."""

    def __init__(self, keep_alive: str = "") -> None:
        self.asked: list[int] = []
        self.now_s = 1_000.0
        self._stated = f"keep-alive: {keep_alive}\r\n" if keep_alive else ""
        self._open: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []
        self._closed: dict[int, asyncio.Event] = {}

    def clock(self) -> float:
        """What the client takes for the time."""
        return self.now_s

    async def close_last(self) -> None:
        """Close the newest connection, and wait until the client has taken note."""
        self._open[-1][1].write_eof()
        await self._closed[len(self._open)].wait()

    @asynccontextmanager
    async def served(self) -> AsyncIterator[tuple[str, UpstreamClient]]:
        """Its URL, and a client."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        client = UpstreamClient(self.clock)
        try:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/", client
        finally:
            await client.close()
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.append((reader, writer))
        number = len(self._open)
        self._closed[number] = asyncio.Event()
        try:
            while True:
                await reader.readuntil(b"\r\n\r\n")
                self.asked.append(number)
                writer.write(f"HTTP/1.1 200 OK\r\n{self._stated}content-length: 2\r\n\r\nok".encode())
        except (asyncio.IncompleteReadError, ConnectionError):
            self._closed[number].set()
            writer.close()


async def ask(url: str, client: UpstreamClient) -> None:
    """One whole exchange."""
    reply = await client.send("POST", url, [], b"", connect_s=10, read_s=10)
    assert await reply.read() == b"ok"


@pytest.mark.parametrize("stated", ["timeout=5", "timeout=5, max=1000", "max=7, Timeout=5"])
async def test_an_upstream_that_says_how_long_it_waits_is_taken_at_its_word(stated: str) -> None:
    """Node's servers close after five seconds, and say so: a call in that moment would be booked and not answered."""
    there = Upstream(stated)
    async with there.served() as (url, client):
        for idle_s in (0, 3, 3.7, 4, 3, 60):
            there.now_s += idle_s
            await ask(url, client)
    assert there.asked == [1, 1, 1, 2, 2, 3]


async def test_an_upstream_that_was_seen_to_close_an_idle_connection_is_expected_to() -> None:
    """Most servers do not say how long they wait, uvicorn's five seconds among them: it is seen once."""
    there = Upstream()
    async with there.served() as (url, client):
        await ask(url, client)
        there.now_s += 5
        await there.close_last()
        for idle_s in (0, 3.7, 3.8):
            there.now_s += idle_s
            await ask(url, client)
        assert there.asked == [1, 2, 2, 3]
        there.now_s += SEEN_S
        await ask(url, client)
        there.now_s += 50
        await ask(url, client)
    assert there.asked[4:] == [4, 4], "it is forgotten in time"


async def test_an_upstream_that_ends_is_not_taken_for_one_that_is_impatient() -> None:
    """A server that restarts closes what was used a moment ago: connections to the next one are kept all the same."""
    there = Upstream()
    async with there.served() as (url, client):
        await ask(url, client)
        there.now_s += 0.5
        await there.close_last()
        for _ in range(2):
            await ask(url, client)
            there.now_s += 50
    assert there.asked == [1, 2, 2]


async def test_an_end_that_the_event_loop_has_not_seen_yet_is_seen() -> None:
    """An upstream that restarts closes its connections while a busy loop is at something else, and goes on to ask."""
    goes_on, closed = threading.Event(), threading.Event()

    def serve(listening: socket.socket) -> None:
        for _ in range(2):
            with listening.accept()[0] as connection:
                while not connection.recv(65_536).endswith(b"\r\n\r\n"):
                    pass
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
                goes_on.wait(10)
            closed.set()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=serve, args=(listening,), daemon=True).start()
        url = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        client = UpstreamClient()
        try:
            await ask(url, client)
            goes_on.set()
            assert closed.wait(10)
            await ask(url, client)
        finally:
            await client.close()


REFUSALS = {
    "a key is missing": b"HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n",
    "not allowed": b"HTTP/1.1 403 Forbidden\r\ncontent-length: 2\r\n\r\nno",
    "not there": b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 0\r\n\r\n",
    "nothing": b"",
    "no HTTP": b"hello\r\n\r\n",
    "no TLS behind it": b"HTTP/1.1 200 OK\r\n\r\n",
}
"""What a proxy says that opens no way to an upstream."""


@pytest.mark.parametrize("said", REFUSALS.values(), ids=REFUSALS)
@pytest.mark.parametrize("by_proxy", [True, False])
async def test_what_has_no_connection_was_not_sent(
    said: bytes, by_proxy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy that opens no way, a handshake that fails: no call can have arrived, and none may be charged for."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65_536)
        writer.write(said)
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    place = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    for name in ("https_proxy", "HTTPS_PROXY"):
        monkeypatch.setenv(name, f"http://{place}" if by_proxy else "")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "")
    client = UpstreamClient()
    url = "https://provider.invalid/v1/chat/completions" if by_proxy else f"https://{place}/v1/chat/completions"
    try:
        with pytest.raises(NotSentError):
            await client.send("POST", url, [], b"{}", connect_s=10, read_s=10)
    finally:
        await client.close()
        server.close()
