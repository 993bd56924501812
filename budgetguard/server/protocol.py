"""
HTTP as uvicorn reads it, but that the head of a request is bounded, in length and in time, and that the error for
what is no HTTP is one of ours.
"""

from __future__ import annotations

import asyncio

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .problems import INVALID
from .schemas import ErrorOut, Problem

MOST_HEAD = 65_536
"""How long the request line and the headers may be, in bytes."""

HEAD_S = 10.0
"""How long they may take to arrive, from the connection or their first byte on."""


class Protocol(HttpToolsProtocol):
    """Reads the requests of one connection."""

    _in_head = True
    _head = 0  # how much of a head has arrived that is not complete
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client is there: its first request has to follow."""
        super().connection_made(transport)
        self._patience = self.loop.call_later(HEAD_S, self._give_up)

    def data_received(self, data: bytes) -> None:
        """A piece of a request, or of several."""
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if self._in_head and self._head:
            if self._head > MOST_HEAD:
                self._refuse("431 Request Header Fields Too Large", f"the headers are over {MOST_HEAD:,} bytes")
            elif self._patience is None:
                self._patience = self.loop.call_later(HEAD_S, self._give_up)
        elif self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        if self._patience is not None:
            self._patience.cancel()
        super().connection_lost(exc)

    def on_headers_complete(self) -> None:
        """A head has ended."""
        self._in_head, self._head = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """A request has ended: what follows is the head of another."""
        self._in_head = True
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer a request that cannot be read, and close the connection."""
        self._refuse("400 Bad Request", "this is no HTTP request that can be read")

    def _give_up(self) -> None:
        self._patience = None
        self._refuse("408 Request Timeout", f"no request arrived within {HEAD_S:g} s")

    def _refuse(self, status: str, told: str) -> None:
        body = msgspec.json.encode(ErrorOut(Problem(told, INVALID)))
        head = f"HTTP/1.1 {status}\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.transport.write(f"{head}content-length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()
