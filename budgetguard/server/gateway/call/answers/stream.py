"""
A stream on its way to a client: handed on as it comes, kept awake while it is silent, ended when its reader is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Any, Final

from .....calls import Ending
from ....problems import Refused
from ...client import BrokenOffError, UpstreamReply
from ...config.model import Api
from ..refusals import event_of
from .listening import StreamEar

log = logging.getLogger("budgetguard.server")

PING: Final = b": ping\n\n"
_EVENTS: Final = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"))


class Outlet:
    """
    The way to the client of a stream.

    It watches, from before anything is sent to an upstream, whether the client is there; and while there is nothing to
    hand on, it sends a comment now and then, which has the status out.
    """

    def __init__(self, receive: Any, send: Any, ping_s: float, headers: Sequence[tuple[bytes, bytes]]) -> None:
        self.gone = False
        self.started = False
        self._receive, self._send, self._ping_s = receive, send, ping_s
        self._headers = headers
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.current_task()
        self._reply: UpstreamReply | None = None
        self._between = True  # whether what was handed on ends where an event does
        self._busy = False
        self._at_s = self._loop.time()
        self._timer: asyncio.TimerHandle | None = None
        self._watcher = self._loop.create_task(self._watch())
        self._pinging: asyncio.Task[None] | None = None

    def headed(self, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Have the head of the answer have these, if a comment is what it is sent for."""
        self._headers = headers

    def wait_for_answer(self) -> None:
        """A request is on its way: from now on the client is kept awake."""
        if self._ping_s and self._timer is None:
            self._timer = self._loop.call_later(self._ping_s, self._look)

    async def start(self, status: int, headers: Sequence[tuple[bytes, bytes]]) -> None:
        """Send the head of the answer, unless it is out."""
        if not self.started:
            self.started = True
            await self._send({"type": "http.response.start", "status": status, "headers": [*headers]})

    async def hand_on(self, reply: UpstreamReply, ear: StreamEar) -> Ending:
        """Hand on a stream to its end; how it ended."""
        self._reply = reply
        try:
            async for piece in reply.pieces():
                out = ear.take(piece)
                if out:
                    await self._give(out)
                if self.gone:
                    reply.close()
                    return "left"
            rest = ear.last()
            if rest:
                await self._give(rest)
        except BrokenOffError:
            return "left" if self.gone else "dropped"
        except asyncio.CancelledError:
            reply.close()
            if not self.left():
                raise
            return "left"
        finally:
            self._reply = self._task = None
        return "whole" if reply.framed else "dropped"

    def left(self) -> bool:
        """Whether it was for a client that is gone that the task was cancelled; it goes on then."""
        task = asyncio.current_task()
        if self.gone and task is not None:
            task.uncancel()
        return self.gone

    async def fail(self, api: Api, refused: Refused, request_id: str) -> None:
        """Say in the stream that it came to nothing: its status is out."""
        apart = b"" if self._between else b"\n\n"
        await self._give(apart + event_of(api, refused, request_id))
        await self.end()

    async def end(self) -> None:
        """Nothing more will come."""
        await self.quiet()
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def close(self) -> None:
        """Stop watching."""
        await self.quiet()
        self._watcher.cancel()

    async def quiet(self) -> None:
        """No comment is sent from now on: what follows may have a status of its own, unless one is out."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._pinging is not None:
            await asyncio.wait([self._pinging])

    async def _give(self, piece: bytes) -> None:
        self._busy, self._at_s = True, self._loop.time()
        self._between = piece.endswith((b"\n\n", b"\r\n\r\n"))
        await self._send({"type": "http.response.body", "body": piece, "more_body": True})
        self._busy = False

    async def _watch(self) -> None:
        """Wait until the client is gone; have whatever is waited for end then."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.gone = True
        if self._reply is not None:
            self._reply.close()
        if self._task is not None:
            self._task.cancel("the client is gone")

    def _look(self) -> None:
        silent_s = self._loop.time() - self._at_s
        if silent_s >= self._ping_s and self._between and not self._busy:
            self._pinging = self._loop.create_task(self._ping())
            self._at_s, silent_s = self._loop.time(), 0.0
        self._timer = self._loop.call_later(max(self._ping_s - silent_s, 0.01), self._look)

    async def _ping(self) -> None:
        if not self._busy:
            await self.start(200, (*_EVENTS, *self._headers))
        if self._between and not self._busy:  # a piece may have gone out since it was decided on
            await self._send({"type": "http.response.body", "body": PING, "more_body": True})
