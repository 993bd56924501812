"""
The way to the upstreams: aiohttp, without anything that it would do by itself.

No cookie is kept, no redirect followed (it would take the key along), nothing decoded, no header added, and a
connection on which an answer was not read to its end is closed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from time import monotonic
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from aiohttp import (
    ClientError,
    ClientResponse,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    InvalidURL,
)
from yarl import URL

from .connections import KeptConnections, NotSentError, said_of

MOST_HEAD: Final = 65_536
"""How long a line of an answer's head may be, in bytes."""
MOST_ANSWER: Final = 256_000_000
"""How long an answer that is read whole may be: pictures are long."""

_SKIPPED: Final = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
Headers = Iterable[tuple[str, str]]


class BrokenOffError(Exception):
    """The request was on its way, and no whole answer came back: it may have been answered, and billed."""


class UpstreamReply:
    """An upstream's answer, whose body is not read yet."""

    __slots__ = ("_response", "status")

    def __init__(self, response: ClientResponse) -> None:
        self._response = response
        self.status = response.status

    @property
    def headers(self) -> tuple[tuple[bytes, bytes], ...]:
        """As they came."""
        return self._response.raw_headers

    @property
    def named(self) -> Mapping[str, str]:
        """The same by their names, in any case."""
        return self._response.headers

    def header(self, name: str) -> str:
        """One of them; "" where it is not there."""
        return self._response.headers.get(name, "")

    @property
    def framed(self) -> bool:
        """Whether it says where it ends; else a body that was cut off ends as a whole one does."""
        named = self._response.headers
        return "transfer-encoding" in named or "content-length" in named

    async def read(self) -> bytes:
        """The whole body; raises `BrokenOffError`."""
        pieces, size = [], 0
        try:
            async for piece in self._response.content.iter_any():
                pieces.append(piece)
                size += len(piece)
                if size > MOST_ANSWER:
                    break
        except (ClientError, OSError, TimeoutError) as error:
            self._response.close()
            raise BrokenOffError(said_of(error)) from error
        except BaseException:
            self._response.close()
            raise
        if size > MOST_ANSWER:
            self._response.close()
            raise BrokenOffError(f"the answer is longer than {MOST_ANSWER:,} bytes")
        self._response.release()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body as it comes; raises `BrokenOffError`."""
        try:
            async for piece in self._response.content.iter_any():
                yield piece
        except (ClientError, OSError, TimeoutError) as error:
            raise BrokenOffError(said_of(error)) from error

    def close(self) -> None:
        """Close the connection, if the answer was not read to its end."""
        self._response.close()


class UpstreamClient:
    """The connections of one process to all upstreams. Made on its event loop; `close` when it is over."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._kept = KeptConnections(clock)
        self._session = ClientSession(
            connector=self._kept,
            cookie_jar=DummyCookieJar(),
            auto_decompress=False,
            skip_auto_headers=_SKIPPED,
            max_line_size=MOST_HEAD,
            max_field_size=MOST_HEAD,
            requote_redirect_url=False,
        )
        self._timeouts: dict[tuple[float, float], ClientTimeout] = {}
        self._proxies: dict[str, str | None] = {}

    async def send(
        self, method: str, url: str, headers: Headers, body: bytes, *, connect_s: float, read_s: float
    ) -> UpstreamReply:
        """Send a request, and wait for the head of its answer; raises `NotSentError` and `BrokenOffError`."""
        timeout = self._timeouts.get((connect_s, read_s))
        if timeout is None:
            timeout = ClientTimeout(total=None, sock_connect=connect_s, sock_read=read_s)
            self._timeouts[connect_s, read_s] = timeout
        try:
            response = await self._session.request(
                method,
                URL(url, encoded=True),
                data=body or None,
                headers=headers if isinstance(headers, list) else list(headers),
                timeout=timeout,
                allow_redirects=False,
                proxy=self._proxy_to(url),
            )
        except InvalidURL as error:
            raise NotSentError(said_of(error)) from error
        except (TimeoutError, ClientError, OSError) as error:
            raise BrokenOffError(said_of(error)) from error
        keep_alive = response.headers.get("keep-alive")
        if keep_alive is not None:
            self._kept.told((response.url.raw_host or "", response.url.port), keep_alive)
        if not 200 <= response.status < 600:  # it changes the protocol, or speaks none that is known
            response.close()
            raise BrokenOffError(f"status {response.status}")
        return UpstreamReply(response)

    def _proxy_to(self, url: str) -> str | None:
        """The proxy that the environment names for a URL, looked up once for each place: aiohttp would each time."""
        place = url[: url.find("/", 8)]
        if place not in self._proxies:
            parts = urlsplit(place)
            named = getproxies().get(parts.scheme)
            self._proxies[place] = None if named is None or proxy_bypass(parts.netloc) else named
        return self._proxies[place]

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()
