"""
The connections to upstreams that are kept for the next call: none that its upstream may be about to close.

A request that meets a close on its way looks like one that was answered and lost: it is booked as held, and its client
gets an error. So a connection is given up before its upstream does so, who says when (`keep-alive: timeout=5`), or has
been seen to.
"""

from __future__ import annotations

import re
import select
from collections.abc import Callable
from functools import lru_cache, partial
from time import monotonic
from typing import Any, Final

from aiohttp import ClientError, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection

KEEP_S: Final = 60.0
"""How long an idle connection is kept, at most."""
LEAST_S: Final = 1.0
"""No server ends an idle connection sooner: one that does is ending itself."""
SEEN_S: Final = 900.0
"""How long it is remembered when an upstream closed a connection: it may have been for another reason."""
_PART: Final = 0.75
"""How much of the time that an upstream waits a connection may be idle."""
_STATED: Final = re.compile(r"(?:^|[,;\s])timeout=(\d{1,6})(?![\d.])", re.IGNORECASE)

_CAN_LOOK: Final = hasattr(select, "poll")  # not on Windows

Place = tuple[str, int | None]
"""The host and the port of an upstream."""


class NotSentError(Exception):
    """There was no connection: the request cannot have arrived."""


class KeptConnection(ResponseHandler):
    """A connection that says when it is closed while it is idle."""

    idle_since_s: float | None = None
    place: Place = ("", None)

    def __init__(self, loop: Any, closed: Callable[[Place, float], None]) -> None:
        super().__init__(loop=loop)
        self._told_closed = closed

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is closed: by the upstream, if it has a transport still."""
        if self.idle_since_s is not None and self.transport is not None:
            self._told_closed(self.place, self.idle_since_s)
        super().connection_lost(exc)


class KeptConnections(TCPConnector):
    """
    Connections that live, on which nothing has arrived since their last answer: what comes unasked would be taken for
    the answer to whoever asks next.
    """

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        super().__init__(limit=0, keepalive_timeout=KEEP_S)
        self._clock = clock
        self._stated: dict[Place, float] = {}
        self._seen: dict[Place, tuple[float, float]] = {}  # after how long it closed one, and when
        self._factory: Any = partial(KeptConnection, self._loop, self._closed_idle)

    def told(self, place: Place, keep_alive: str) -> None:
        """An upstream said in a header how long it waits."""
        stated = _stated(keep_alive)
        if stated is not None:
            self._stated[place] = stated

    def keeps_s(self, place: Place) -> float:
        """How long a connection to there may be idle."""
        least = self._stated.get(place, KEEP_S / _PART)
        seen = self._seen.get(place)
        if seen is not None:
            if self._clock() - seen[1] > SEEN_S:
                del self._seen[place]
            else:
                least = min(least, seen[0])
        return least * _PART

    async def connect(self, req: Any, traces: Any, timeout: Any) -> Connection:  # as aiohttp has it
        """A connection to send a request on; raises `NotSentError`: until there is one, a proxy has seen no call."""
        try:
            return await super().connect(req, traces, timeout)
        except (ClientError, OSError) as error:
            raise NotSentError(said_of(error)) from error

    def _closed_idle(self, place: Place, since_s: float) -> None:
        now_s = self._clock()
        if now_s - since_s >= LEAST_S:
            seen = self._seen.get(place)
            self._seen[place] = min(now_s - since_s, KEEP_S if seen is None else seen[0]), now_s

    async def _get(self, key: Any, traces: Any) -> Connection | None:
        found = await super()._get(key, traces)
        while found is not None and not self._is_usable(found.protocol):
            found.close()
            found = await super()._get(key, traces)
        return found

    def _is_usable(self, kept: Any) -> bool:
        if kept is None or kept.should_close:
            return False
        since_s, kept.idle_since_s = kept.idle_since_s, None
        if since_s is not None and _has_arrived(kept.transport):
            return False
        return since_s is None or self._clock() - since_s <= self.keeps_s(kept.place)

    def _release(self, key: Any, protocol: Any, *, should_close: bool = False) -> None:
        protocol.place, protocol.idle_since_s = (key.host, key.port), self._clock()
        super()._release(key, protocol, should_close=should_close)


def _has_arrived(transport: Any) -> bool:
    """
    Whether something has arrived that the event loop has not looked at yet: the end, as nothing was asked. Of an
    upstream that restarts it is there for a while on a loop that is busy.
    """
    if not _CAN_LOOK:
        return False
    waiting = select.poll()
    waiting.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(waiting.poll(0))


def said_of(error: BaseException) -> str:
    """What an error is called, and its status where it has one: its text may have the URL in it."""
    status = getattr(error, "status", None)
    return f"{type(error).__name__} {status}" if isinstance(status, int) and status else type(error).__name__


@lru_cache(256)
def _stated(keep_alive: str) -> float | None:
    found = _STATED.search(keep_alive)
    return None if found is None else float(found[1])
