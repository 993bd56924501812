"""The page as an ASGI application under `/ui`, beside the API: what is asked of it runs in threads of its own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl

from ...budgets.steering.audit import whoami
from ..api.endpoint import Runner
from ..api.requests import read_body
from ..keys import Keys
from ..problems import Refused
from ..projects import Projects
from .answer import PageAnswer, went_to
from .desk import Desk, PageRequest
from .door.door import Door, Tickets
from .door.sessions import Sessions
from .door.visits import visit_of
from .links import HOME
from .live.streams import LiveText, Streams
from .live.watching import Watching
from .shelf import MOMENT_S, Shelf
from .view import PageServer, View

log = logging.getLogger("budgetguard.server")

THREADS = 4
"""How many views are made at once: what hosts budgets has others."""
MOST_WAITING = 200
EVENTS = f"{HOME}/events"
READ_AGAIN_S = 10.0
"""How long the history is let alone once all of it is read."""
MOST_BYTES = 65_536
"""How long a form may be."""


class PageSite:
    """The page of a server. `close` when it is over."""

    def __init__(
        self,
        projects: Projects,
        keys: Keys,
        views: Sequence[View],
        *,
        open_mode: bool = False,
        project: str = "default",
        tickets: Tickets | None = None,
    ) -> None:
        self._runner = Runner(THREADS, MOST_WAITING, 1, 1.0)
        self.door = Door(keys, Sessions(projects.own), open_mode=open_mode, tickets=tickets)
        self._server = PageServer(projects, self.door.way, project, whoami() if self.door.way != "keys" else "")
        self.shelf = Shelf()
        self._reading: asyncio.Task[None] | None = None
        self._read_again_s = 0.0
        self._desk = Desk(views, self._server, self.door, self.shelf)
        self._watch = Watching(self._server, self.door, self.shelf)
        self.streams = Streams(self._read)

    @staticmethod
    def answers(scope: Mapping[str, Any]) -> bool:
        """Whether a request is for the page."""
        path: str = scope["path"]
        return path == HOME or path.startswith(f"{HOME}/") or (path == "/" and _is_browser(scope))

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """ASGI; nothing is raised."""
        if scope["path"] == EVENTS:
            answer = await self._stream(scope, receive, send)
            if answer is not None:
                await _send(send, answer, head_only=False)
            return
        begin = time.perf_counter()
        answer = await self._answer(scope, receive)
        self._read_on()
        await _send(send, answer, head_only=scope["method"] == "HEAD")
        log.debug(
            "page",
            extra={
                "path": scope["path"].partition("/enter/")[0][:200],  # a ticket is in no log
                "status": answer.status,
                "ms": round((time.perf_counter() - begin) * 1000, 2),
            },
        )

    def _read_on(self) -> None:
        """Read the history beside what is asked, until all of it is read."""
        now_s = time.monotonic()
        if (self._reading is None or self._reading.done()) and now_s >= self._read_again_s:
            self._read_again_s = now_s + READ_AGAIN_S
            self._reading = asyncio.create_task(self._read_all())

    async def _read_all(self) -> None:
        try:
            while await self._runner.run(self.shelf.read_more, blocking=True):
                await asyncio.sleep(MOMENT_S)  # calls that this process answers have the other half of the time
        except Exception:  # views say what is missing, and it is tried again
            log.exception("history of the page")

    def close(self) -> None:
        """Wait for what is under way."""
        if self._reading is not None and not self._reading.get_loop().is_closed():
            self._reading.get_loop().call_soon_threadsafe(self._reading.cancel)
        self._runner.close()

    async def _stream(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> PageAnswer | None:
        """Tell a viewer what happens, for as long as they look; an answer where they may not."""
        headers = headers_of(scope)
        asked = request_of(scope, headers, scope["method"], {})
        if asked.method != "GET":
            return _plain(Refused(405, "events are read with GET"))
        try:
            project = await self._runner.run(self._desk.watched, asked, blocking=True)
            await self.streams.stream(project, asked.visit.id, scope, receive, send)
        except Refused as refused:
            return _plain(refused)
        return None

    async def _read(self, project: str, visits: frozenset[str]) -> LiveText:
        return await self._runner.run(self._watch.read, project, visits, blocking=True)

    async def _answer(self, scope: MutableMapping[str, Any], receive: Any) -> PageAnswer:
        path: str = scope["path"]
        if path in ("/", HOME):
            return went_to(f"{HOME}/")
        try:
            asked = await _read(scope, receive)
            return await self._runner.run(self._desk.answer, asked, blocking=True)
        except Refused as refused:  # a body that is too long, or too much to do: no view is made of that
            return _plain(refused)


def _plain(refused: Refused) -> PageAnswer:
    return PageAnswer(refused.status, f"{refused.message}\n".encode(), "text/plain; charset=utf-8", refused.headers)


def _is_browser(scope: Mapping[str, Any]) -> bool:
    """Whether a page is wanted: programs are told by the API that there is nothing at `/`."""
    wanted = (value for name, value in scope["headers"] if name == b"accept")
    return scope["method"] in ("GET", "HEAD") and any(b"text/html" in value for value in wanted)


async def _read(scope: MutableMapping[str, Any], receive: Any) -> PageRequest:
    headers = headers_of(scope)
    method = "GET" if scope["method"] == "HEAD" else scope["method"]
    if method not in ("GET", "POST"):
        raise Refused(405, "a page is asked for with GET, and a form is sent with POST")
    form: dict[str, str] = {}
    if method == "POST":
        if not headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            raise Refused(415, "a form is sent as application/x-www-form-urlencoded")
        raw = await read_body(scope, receive, MOST_BYTES)
        with suppress(ValueError):  # it has more fields than any form of ours
            form = dict(parse_qsl(raw.decode("ascii", "replace"), keep_blank_values=True, max_num_fields=100))
    return request_of(scope, headers, method, form)


def request_of(
    scope: Mapping[str, Any], headers: Mapping[str, str], method: str, form: Mapping[str, str]
) -> PageRequest:
    """What a browser asks."""
    address = (scope.get("client") or ("",))[0]
    visit = visit_of(headers, address=address, secure=scope.get("scheme") == "https")
    path = scope["path"].removeprefix(f"{HOME}/")
    return PageRequest(method, path, scope["query_string"], headers, visit, form)


def headers_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """The headers of a request; the last counts, but for cookies, which may come in several."""
    found: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        found[key] = f"{found[key]}; {text}" if key == "cookie" and key in found else text
    return found


async def _send(send: Any, answer: PageAnswer, *, head_only: bool) -> None:
    await send({"type": "http.response.start", "status": answer.status, "headers": answer.all_headers()})
    await send({"type": "http.response.body", "body": b"" if head_only else answer.body})
