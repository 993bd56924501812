"""
Server-sent events: whoever looks gets each new piece of text, and a sign of life in between.

One task for each project reads while somebody looks, and wakes all of them with the same bytes. Who reads too slowly
is let go, as is everybody when the server ends or their session is over.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from ...problems import Refused
from ...protocol import CONNECTION
from ..answer import PageAnswer

log = logging.getLogger("budgetguard.server")

EVERY_S = 2.0
"""How often the figures are read, while somebody looks."""
HEARTBEAT_S = 15.0
SLOW_S = 10.0
"""How long one piece may take to be sent."""
MOST_VIEWERS = 500

_AGAIN = b"retry: 5000\n\n"
_ALIVE = b":\n\n"


@dataclass(eq=False)
class Viewer:
    """Somebody who looks."""

    visit_id: str
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    over: bool = False
    """Whether the stream is to end."""

    def end(self) -> None:
        """Let it end."""
        self.over = True
        self.woken.set()


@dataclass(eq=False)
class Audience:
    """All who look at one project."""

    viewers: set[Viewer] = field(default_factory=set)
    text: bytes = b""
    task: asyncio.Task[None] | None = None


@dataclass(frozen=True, slots=True)
class LiveText:
    """What was read for an audience: the text, and whose sessions are over."""

    text: bytes
    over: frozenset[str]


class Streams:
    """The audiences of one server; `read` is given a project's name and the visits that look at it."""

    def __init__(self, read: Callable[[str, frozenset[str]], Awaitable[LiveText]]) -> None:
        self._read = read
        self._audiences: dict[str, Audience] = {}

    @property
    def viewers(self) -> int:
        """How many look."""
        return sum(len(each.viewers) for each in self._audiences.values())

    async def stream(
        self, project: str, visit_id: str, scope: MutableMapping[str, Any], receive: Any, send: Any
    ) -> None:
        """Serve one viewer until one of both goes; raises `Refused` where there are too many."""
        if self.viewers >= MOST_VIEWERS:
            raise Refused(503, f"{MOST_VIEWERS} people look already: load the page again for what is new")
        viewer, connection = Viewer(visit_id), scope.get(CONNECTION)
        audience = self._joined(project, viewer)
        gone = asyncio.create_task(_until_gone(receive, viewer))
        if connection is not None:
            connection.when_ending = viewer.end
        try:
            await send({"type": "http.response.start", "status": 200, "headers": _headers()})
            await _serve(audience, viewer, send)
            await _push(send, b"", more=False)
        except TimeoutError:
            log.info("a viewer of the page read too slowly, and was let go")
            if connection is not None:
                connection.transport.abort()
        finally:
            if connection is not None:
                connection.when_ending = None
            self._left(project, viewer)
            gone.cancel()
            with suppress(asyncio.CancelledError):
                await gone

    def _joined(self, project: str, viewer: Viewer) -> Audience:
        audience = self._audiences.setdefault(project, Audience())
        audience.viewers.add(viewer)
        if audience.task is None:
            audience.task = asyncio.create_task(self._keep_reading(project, audience))
        return audience

    def _left(self, project: str, viewer: Viewer) -> None:
        audience = self._audiences[project]
        audience.viewers.discard(viewer)
        if not audience.viewers:
            del self._audiences[project]
            if audience.task is not None:
                audience.task.cancel()

    async def _keep_reading(self, project: str, audience: Audience) -> None:
        """Read while somebody looks. What goes wrong is logged, and tried again."""
        while True:
            try:
                found = await self._read(project, frozenset(each.visit_id for each in audience.viewers))
            except Refused as refused:
                log.info("figures of the page: %s", refused.message)
            except Exception:
                log.exception("figures of the page")
            else:
                for each in audience.viewers:
                    if each.visit_id in found.over:
                        each.end()
                if found.text != audience.text:
                    audience.text = found.text
                    for each in audience.viewers:
                        each.woken.set()
            await asyncio.sleep(EVERY_S)


async def _serve(audience: Audience, viewer: Viewer, send: Any) -> None:
    await _push(send, _AGAIN)
    sent = b""
    while not viewer.over:
        if audience.text is not sent:
            sent = audience.text
            await _push(send, sent)
        viewer.woken.clear()
        try:
            async with asyncio.timeout(HEARTBEAT_S):
                await viewer.woken.wait()
        except TimeoutError:
            await _push(send, _ALIVE)


async def _push(send: Any, body: bytes, *, more: bool = True) -> None:
    """Send a piece; raises `TimeoutError` for a viewer who does not take it."""
    async with asyncio.timeout(SLOW_S):
        await send({"type": "http.response.body", "body": body, "more_body": more})


async def _until_gone(receive: Any, viewer: Viewer) -> None:
    """End the stream when its viewer is gone."""
    while (await receive())["type"] != "http.disconnect":
        pass
    viewer.end()


def _headers() -> list[tuple[bytes, bytes]]:
    answer = PageAnswer(200, kind="text/event-stream; charset=utf-8", headers=((b"x-accel-buffering", b"no"),))
    return [header for header in answer.all_headers() if header[0] != b"content-length"]
