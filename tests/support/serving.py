"""uvicorn in a thread of the test, which ends when it is told: its own naps are a fifth of a second a server."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import Callable, Coroutine
from typing import Any

import uvicorn


class InThread:
    """An ASGI application on a free port of loopback."""

    def __init__(
        self,
        app: Any,
        loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop,
        closing: Callable[[], Coroutine[Any, Any, None]] | None = None,
        port: int | None = None,
        **options: Any,
    ) -> None:
        """`closing` runs on the same loop when nothing is served any more; a `port` is shared with others on it."""
        self._socket = socket.create_server(("127.0.0.1", port or 0), reuse_port=port is not None)
        self.port = self._socket.getsockname()[1]
        self.config = uvicorn.Config(app, log_config=None, access_log=False, **options)
        self._server = _Server(self.config)
        self._new_loop, self._closing = loop, closing
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Returns when it listens."""
        self.thread.start()
        while not self._server.started:
            self.thread.join(0.002)
            assert self.thread.is_alive(), "the server did not start"

    def stop(self) -> None:
        """Returns when every request is answered, and what the application does at its end is done."""
        self.loop.call_soon_threadsafe(self._server.ending.set)
        self.thread.join(10)
        assert not self.thread.is_alive()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=self._new_loop) as runner:
            self.loop = runner.get_loop()
            runner.run(self._server.serve(sockets=[self._socket]))
            if self._closing is not None:
                runner.run(self._closing())


class _Server(uvicorn.Server):
    """Waits where uvicorn looks ten times a second."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ending = asyncio.Event()

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for each in (*self.servers, *(sockets or [])):
            each.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        while self.server_state.connections or self.server_state.tasks:
            await asyncio.sleep(0.002)
        await self.lifespan.shutdown()
