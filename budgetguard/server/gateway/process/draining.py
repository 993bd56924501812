"""
The end of a process that serves, which nobody sees who asks again elsewhere.

Who is in the line before the port is let in, and answered; nobody comes after. Every answer from then on says that its
connection closes, and a connection that waits for a request gets a while to bring one that is on its way: a proxy does
not repeat a POST whose connection broke, as it may have been done.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, Final

import uvicorn

from ...protocol import Protocol

LAST_S: Final = 2.0
"""How long a connection without a request stays, when the process ends."""
_CLOSE: Final = (b"connection", b"close")


class DrainingServer(uvicorn.Server):
    """uvicorn's server with such an end; `when_ready` is called when it listens."""

    def __init__(self, config: uvicorn.Config, when_ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._when_ready = when_ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen."""
        await super().startup(sockets)
        if self.started:
            self._when_ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let nobody in any more, and answer who is in."""
        headers = self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]
        for connection in self.server_state.connections:
            cycle: Any = getattr(connection, "cycle", None)
            if cycle is not None:
                cycle.default_headers = headers
        kept = [each.dup() for each in sockets or ()]  # the loop closes its own
        for server in self.servers:
            server.close()
        waiting = [client for each in kept for client in _taken(each)]
        for client in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._connection, client)
        await super().shutdown(sockets)

    def _connection(self) -> asyncio.Protocol:
        return DrainingProtocol(self.config, self.server_state, self.lifespan.state)


class DrainingProtocol(Protocol):
    """A connection that is not closed under a request that is on its way."""

    _ending = False

    def shutdown(self) -> None:
        """Answer what is under way, then close."""
        self._ending = True
        if self.when_ending is not None:
            self.when_ending()
        if self.idle:
            self.loop.call_later(LAST_S, self._close_if_idle)

    def on_response_complete(self) -> None:
        """An answer is out. Where its head was out before the end began, it could not say that it was the last."""
        super().on_response_complete()
        if self._ending and self.idle:
            self.loop.call_later(LAST_S, self._close_if_idle)

    def _close_if_idle(self) -> None:
        if self.idle:
            self.transport.close()


def _taken(listening: socket.socket) -> list[socket.socket]:
    """Who waits to be let in; nobody else can come then."""
    taken: list[socket.socket] = []
    with listening:
        listening.setblocking(False)
        while True:
            try:
                client, _ = listening.accept()
            except OSError:  # there is nobody left
                return taken
            client.setblocking(False)
            taken.append(client)
