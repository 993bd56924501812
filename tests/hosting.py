"""A server of budgetguard on loopback, in a thread of the test, so that its store has the test's clock."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import uvicorn

from budgetguard.server.app import App


class Hosted:
    """A running server."""

    def __init__(self, store: str, *, open_mode: bool = True, clock: Callable[[], float] | None = None, **more: Any):
        self.app = App(store, open_mode=open_mode, clock=clock, **more)
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        config = uvicorn.Config(self.app, log_config=None, access_log=False, timeout_keep_alive=75, lifespan="on")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        while not self._server.started:
            self._thread.join(0.005)
            assert self._thread.is_alive(), "the server did not start"

    def _run(self) -> None:
        asyncio.run(self._server.serve(sockets=[self._socket]))

    def stop(self) -> None:
        """End it, and close its store."""
        self._server.should_exit = True
        self._thread.join(10)
        assert not self._thread.is_alive()
        self.app.close()

    def ask(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, Any]:
        """One request: the status, the JSON (or text) of the answer, and its headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, sent, {"budgetguard-project": "shop", **(headers or {})})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        kind = answer.getheader("content-type", "")
        return answer.status, json.loads(data) if kind.startswith("application/json") else data, answer.headers

    def post(self, path: str, body: Any, **more: Any) -> tuple[int, Any]:
        """A POST: the status, and the JSON of the answer."""
        return self.ask("POST", path, body, **more)[:2]
