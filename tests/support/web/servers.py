"""Real servers in a thread of the test: uvicorn for ASGI, waitress for WSGI. And a client that reads pieces."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

from waitress import wasyncore
from waitress.server import create_server

from tests.support import serving


class Heard(NamedTuple):
    """What a client hears."""

    status: int
    headers: http.client.HTTPMessage
    body: bytes

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)


class Served:
    """An application on loopback."""

    port: int

    def get(self, path: str, user: str | None = None) -> Heard:
        """One request, its body read to the end."""
        with self.open(path, user) as answer:
            return Heard(answer.status, answer.headers, answer.read())

    @contextmanager
    def open(self, path: str, user: str | None = None) -> Iterator[http.client.HTTPResponse]:
        """One request, whose body is read as far as the test likes; then the client goes away."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("GET", path, headers={} if user is None else {"x-user": user})
            with connection.getresponse() as answer:
                yield answer
        finally:
            connection.close()


class Uvicorn(Served):
    """Serves an ASGI application while it is entered."""

    def __init__(self, app: Any) -> None:
        self._served = serving.InThread(app)
        self.port = self._served.port

    def get(self, path: str, user: str | None = None) -> Heard:
        """One request; what its task still had to do after the last byte without waiting is done."""
        heard = super().get(path, user)
        asyncio.run_coroutine_threadsafe(asyncio.sleep(0), self._served.loop).result(10)
        return heard

    def __enter__(self) -> Self:
        self._served.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._served.stop()


class Waitress(Served):
    """Serves a WSGI application while it is entered."""

    def __init__(self, app: Any) -> None:
        self._sockets: dict[int, Any] = {}
        self._server = create_server(app, host="127.0.0.1", port=0, threads=4, map=self._sockets)
        self.port = self._server.effective_port
        self._thread = threading.Thread(target=self._server.run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._server.trigger.pull_trigger(lambda: wasyncore.close_all(self._sockets))
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._server.task_dispatcher.shutdown()
