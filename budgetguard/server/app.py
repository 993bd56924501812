"""The server as one ASGI application."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Callable, MutableMapping
from contextlib import asynccontextmanager, suppress
from typing import Any
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.routing import Route, Router

from ..ledger import Clock
from ..stores.deadlines import Deadlines, take_deadlines
from ..stores.http.rows import API_HEADER
from .api import ledger, status
from .api.access.audit import KeyAudit
from .api.access.keys import KeyApi
from .api.access.limits import LimitsApi
from .api.action import Action
from .api.dollars import budgets, spend, steering
from .api.endpoint import (
    Runner,
    Served,
    ask_store,
    problem_of,
    send_json,
    send_refused,
)
from .api.litellm import endpoints as litellm_endpoints
from .api.litellm.daily import EVERY_S, run_daily
from .keys import Keys
from .metrics import Metrics
from .page.door.door import Tickets
from .page.site import PageSite
from .page.views import VIEWS
from .problems import NOT_FOUND, Refused
from .projects import Projects

log = logging.getLogger("budgetguard.server")

THREADS = 16
"""How many requests ask the store at once; the others wait."""
MOST_WAITING = 1_000
_NATIVE = (API_HEADER.encode(), b"v1")
LINES = 8
"""How many batches of one project are with its server at once."""


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
        jobs: bool = False,
        keys_in_queries: bool = False,
        tickets: Tickets | None = None,
    ) -> None:
        self._jobs = jobs
        self.projects = Projects(store, clock=clock, default=project)
        self.keys = Keys(self.projects.own, open_mode=open_mode, by_query=keys_in_queries)
        self.metrics = Metrics()
        deadlines, _ = take_deadlines(urlsplit(store).query, Deadlines())
        self.runner = Runner(threads, most_waiting, LINES, deadlines.reserve_s)
        own, hear = self.projects.own, KeyAudit(self.projects)
        self.page = PageSite(
            self.projects, self.keys, VIEWS, open_mode=open_mode, project=project or "default", tickets=tickets
        )
        table = [*ledger.ENDPOINTS, *budgets.ENDPOINTS, *steering.ENDPOINTS, *spend.ENDPOINTS]
        table += [*litellm_endpoints.ENDPOINTS, *KeyApi(own, hear).endpoints(), *LimitsApi(own, hear).endpoints()]
        self.endpoints = status.endpoints(self.projects, self.metrics, table)
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
        if "\n" in scope["path"]:  # a route's pattern stops there; what a path names is read from raw_path
            scope["path"] = scope["path"].replace("\n", " ")
        if self.page.answers(scope):
            await self.page(scope, receive, send)
            return
        scope["app"] = self  # so that Starlette raises where a method is not allowed

        async def tell(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), _NATIVE]
            await send(message)

        try:
            await self._router(scope, receive, tell)
        except HTTPException as error:
            await send_refused(tell, await self._nothing_there(scope, error))

    async def _nothing_there(self, scope: MutableMapping[str, Any], error: HTTPException) -> Refused:
        """The answer to a path or method that is none: those without a key do not learn what there is."""
        try:
            if self.keys.known(scope) is None:
                await ask_store(self.keys, self.projects, self.runner, scope)
        except Exception as failed:
            return failed if isinstance(failed, Refused) else problem_of(failed, scope)
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "")
            return Refused(405, f"{scope['method']} is not for this path", headers=((b"allow", allowed.encode()),))
        told = "there is nothing at this path: see /openapi.json"
        if "/v1/v1/" in scope["path"]:
            told += ". It has /v1 twice: Anthropic's SDKs add it to the base URL, OpenAI's have it in theirs"
        return Refused(404, told, code=NOT_FOUND)

    def close(self) -> None:
        """Wait for the requests under way, and close the stores."""
        self.page.close()
        self.runner.close()
        self.keys.use.close()
        self.projects.close()

    @asynccontextmanager
    async def _lifespan(self, _: Any) -> AsyncIterator[None]:
        work = asyncio.create_task(self._work()) if self._jobs else None
        try:
            yield
        finally:
            if work is not None:
                work.cancel()
                with suppress(asyncio.CancelledError):
                    await work

    async def _work(self) -> None:
        """Look now and then whether the day's work is done. What goes wrong is logged, and tried again later."""
        while True:
            try:
                await self.runner.run(run_daily, self.projects, blocking=True)
            except Exception:
                log.exception("daily job")
            await asyncio.sleep(EVERY_S)

    def _route(self, endpoint: Action) -> Route:
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
