"""
HTTP as uvicorn reads it, but that what a client sends beside a body is bounded, in length and in time, that an upgrade
which is not spoken here is ignored, and that the error for what is no HTTP is one of ours.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import httptools
import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .keys import KNOWN
from .problems import INVALID, ErrorOut, Problem

MOST_HEAD = 65_536
"""How long the request line and the headers may be, in bytes, and what is around a body: all of it is kept."""

HEAD_S = 10.0
"""How long a head may take to arrive, from the connection or its first byte on."""

LINGER_S = 5.0
MOST_DROPPED = 32_000_000
"""How long, and how much of, a body is read and dropped that comes when it is answered, so that the answer is read."""

CONNECTION = "budgetguard.connection"
"""In the scope of a request: the connection that it came on."""

MOST_CONNECTIONS = 100_000


def most_connections() -> int:
    """How many connections may be open: half of the descriptors; the others are for stores, and for bursts."""
    try:
        import resource
    except ImportError:  # not POSIX, where nothing says
        return MOST_CONNECTIONS
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2
    return min(most, MOST_CONNECTIONS) if most > 0 else MOST_CONNECTIONS


class Protocol(HttpToolsProtocol):
    """Reads the requests of one connection."""

    known = False
    """Whether the last request on it came with a right key."""
    idle_s = 0.0
    """Since when it waits for a request."""
    when_ending: Callable[[], None] | None = None
    """Called when the server ends: by an answer that would go on for ever."""
    _over = False  # whether what arrives is not looked at any more

    _in_head = True
    _loose = 0  # how much has arrived behind the last whole head or piece of a body
    _dropped: int | None = None  # how much of a body has arrived that is answered already
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client is there: its first request has to follow."""
        super().connection_made(transport)
        self.idle_s = self.loop.time()
        self._wait(HEAD_S, self._give_up)
        if len(self.connections) > most_connections():
            self._make_room()

    def data_received(self, data: bytes) -> None:
        """A piece of a request, or of several."""
        if self._over:
            return
        self._loose += len(data)
        self._unset_keepalive_if_required()
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self.send_400_response("")
            return
        if self._loose > MOST_HEAD:
            self._refuse("431 Request Header Fields Too Large", f"the headers are over {MOST_HEAD:,} bytes")
            return
        if self._dropped is not None:
            self._dropped += len(data)
            if self._dropped > MOST_DROPPED:
                self.transport.close()
        elif not (self._in_head and self._loose):
            self._wait_no_more()
        elif self._patience is None:
            self._wait(HEAD_S, self._give_up)
        if self._in_head and self.cycle and self.cycle.response_complete:
            self._keep_alive()

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._wait_no_more()
        super().connection_lost(exc)

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header has ended. Those behind a body mean nothing here."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head has ended."""
        if not self.parser.should_upgrade():  # else it is read again
            self.scope[CONNECTION] = self  # type: ignore[literal-required]  # a key of ours
            super().on_headers_complete()  # raises for an address that cannot be read: then this is still a head
            self._in_head, self._loose = False, 0

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._loose = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """A request has ended: what follows is the head of another."""
        if not self.parser.should_upgrade():
            self._in_head, self._loose, self._dropped = True, 0, None
            super().on_message_complete()

    def on_response_complete(self) -> None:
        """An answer is out; where its request has not ended, the rest is dropped, for a while."""
        super().on_response_complete()
        self.known, self.idle_s = KNOWN in self.cycle.scope, self.loop.time()
        if not self._in_head and self.cycle.response_complete and not self.transport.is_closing():
            self._dropped = 0
            self._wait(LINGER_S, self.transport.close)

    def shutdown(self) -> None:
        """Answer what is under way, then close."""
        if self.when_ending is not None:
            self.when_ending()
        super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that cannot be read, and close the connection."""
        self._refuse("400 Bad Request", "this is no HTTP request that can be read")

    def _feed(self, data: bytes | memoryview) -> None:
        """
        Read it. A request for an upgrade is read again without, as if it had asked for none: else its body would be
        taken for what follows on the new protocol.
        """
        while True:
            try:
                self.parser.feed_data(data)
                return
            except httptools.HttpParserUpgrade as ended:
                if self.parser.get_method() == b"CONNECT":
                    raise httptools.HttpParserError("this is no proxy") from None
                data = memoryview(data)[ended.args[0] :]
                self.parser.feed_data(self._head_without_upgrade())

    def _head_without_upgrade(self) -> bytes:
        line = b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        return line + b"".join(b"%s: %s\r\n" % each for each in self.headers if each[0] != b"upgrade") + b"\r\n"

    def _wait(self, seconds: float, then: Callable[[], None]) -> None:
        self._wait_no_more()
        self._patience = self.loop.call_later(seconds, then)

    def _wait_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _keep_alive(self) -> None:
        """Go on waiting for another request: what came was no whole one, or the rest of one that is answered."""
        wait = self.loop.call_later(self.timeout_keep_alive, self.timeout_keep_alive_handler)
        self.timeout_keep_alive_task = wait

    def _give_up(self) -> None:
        self._patience = None
        self._refuse("408 Request Timeout", f"no request arrived within {HEAD_S:g} s")

    @property
    def idle(self) -> bool:
        """Whether no request is being answered."""
        return self._in_head and (not self.cycle or self.cycle.response_complete)

    def _make_room(self) -> None:
        """Close the connection that has waited longest, first of those that have shown no key, while there are many."""
        idle = [each for each in self.connections if isinstance(each, Protocol) and each is not self and each.idle]
        if idle:
            min(idle, key=lambda each: (each.known, each.idle_s)).transport.abort()

    def _refuse(self, status: str, told: str) -> None:
        if self._in_head and not self.idle:  # the requests before it are answered, and nothing behind them
            self._over, self.cycle.keep_alive = True, False
            self._wait_no_more()
            return
        if self._may_answer():
            body = msgspec.json.encode(ErrorOut(Problem(told, INVALID)))
            head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n"
            self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()

    def _may_answer(self) -> bool:
        """Whether nothing is out yet of the answer to what is being read, nor owed to one before it."""
        if self.idle:
            return True
        return not (self.cycle.response_started or self.pipeline)
