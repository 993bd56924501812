"""The server as one ASGI application."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager
from typing import Any

from starlette.exceptions import HTTPException
from starlette.routing import Route, Router

from ..ledger import Clock
from . import native, people, whole_dicts
from .api import Endpoint, Runner, Served, send_json, send_refused
from .keys import Keys
from .metrics import Metrics
from .problems import NOT_FOUND, Refused
from .projects import Projects

THREADS = 32
"""How many requests ask the store at once; the others wait."""
MOST_WAITING = 1_000


class App:
    """The hosted API over the store at a URL. `close` when it is over."""

    def __init__(
        self,
        store: str,
        *,
        open_mode: bool = False,
        project: str | None = None,
        clock: Clock | None = None,
        threads: int = THREADS,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self.projects = Projects(store, clock=clock, default=project)
        self.keys = Keys(self.projects.own, open_mode=open_mode)
        self.metrics = Metrics()
        self.runner = Runner(threads, most_waiting)
        self.endpoints: list[Endpoint] = [*native.ENDPOINTS, *people.ENDPOINTS, *whole_dicts.ENDPOINTS]
        routes = [Route("/health", endpoint=_Plain(_health), methods=["GET"])]
        routes += [self._route(endpoint) for endpoint in self.endpoints]
        self._router = Router(routes, redirect_slashes=False, lifespan=self._lifespan)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._router(scope, receive, send)
            return
        scope["budgetguard.request_id"] = request_id = secrets.token_hex(8)
        if scope["path"].startswith("//"):  # LiteLLM's client, given an api_base with a slash at its end
            scope["path"] = "/" + scope["path"].lstrip("/")
        scope["app"] = self  # so that Starlette raises where a method is not allowed

        async def tell(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode())]
            await send(message)

        try:
            await self._router(scope, receive, tell)
        except HTTPException as error:
            allowed = (error.headers or {}).get("Allow", "")
            if error.status_code == 405:
                refused = Refused(
                    405, f"{scope['method']} is not for this path", headers=((b"allow", allowed.encode()),)
                )
            else:
                refused = Refused(404, "there is nothing at this path: see /openapi.json", code=NOT_FOUND)
            await send_refused(tell, refused)

    def close(self) -> None:
        """Wait for the requests under way, and close the stores."""
        self.runner.threads.shutdown(wait=True)
        self.projects.close()

    @asynccontextmanager
    async def _lifespan(self, _: Any) -> AsyncIterator[None]:
        yield

    def _route(self, endpoint: Endpoint) -> Route:
        served = Served(endpoint, self.projects, self.keys, self.runner, self.metrics)
        return Route(endpoint.path, endpoint=served, methods=[endpoint.method])


class _Plain:
    """An endpoint without a key, answered at once."""

    def __init__(self, answer: Callable[[], bytes]) -> None:
        self._answer = answer

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        await send_json(send, 200, self._answer())


def _health() -> bytes:
    return b'{"status":"ok"}'
