"""
urllib3's connections, as a hosted store needs them: a request goes out in one piece, and its answer arrives within one
deadline or not at all.
"""

from __future__ import annotations

import http.client
import io
import socket
import time
from typing import Any

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import SSLError

from . import rows as wire

_AWAY = {502, 503, 504}
"""What a proxy, or a server whose store is away, answers."""


class _Timed(io.RawIOBase):
    """A socket read within a time for all of it: its own timeout begins again with every byte that arrives."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._raw = sock.makefile("rb", buffering=0)
        timeout_s = sock.gettimeout()
        self._deadline = None if timeout_s is None else time.monotonic() + timeout_s

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        if self._deadline is not None:
            left_s = self._deadline - time.monotonic()
            if left_s <= 0:
                raise TimeoutError
            self._sock.settimeout(left_s)
        return self._raw.readinto(buffer)

    def close(self) -> None:
        self._raw.close()
        super().close()


class _TimedResponse(http.client.HTTPResponse):
    """An answer that has arrived in time, or not at all."""

    def __init__(self, sock: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = io.BufferedReader(_Timed(sock))


class _Whole:
    """Sends a request in one piece: a head that comes alone wakes the server twice."""

    response_class = _TimedResponse
    _pieces: list[bytes] | None = None

    def request(self, *args: Any, **kwargs: Any) -> None:
        self._pieces = []
        try:
            super().request(*args, **kwargs)  # type: ignore[misc]  # of the class beside it
            pieces, self._pieces = self._pieces, None
            self.send(b"".join(pieces))
        finally:
            self._pieces = None

    def send(self, data: bytes) -> None:
        if self._pieces is None:
            super().send(data)  # type: ignore[misc]
        else:
            self._pieces.append(data)


class _Connection(_Whole, HTTPConnection):  # type: ignore[misc]  # bytes are all that a request of ours has
    pass


class _SecureConnection(_Whole, HTTPSConnection):  # type: ignore[misc]
    pass


class HttpPool(urllib3.HTTPConnectionPool):
    """Connections to a server."""

    ConnectionCls = _Connection


class SecurePool(urllib3.HTTPSConnectionPool):
    """Connections with TLS."""

    ConnectionCls = _SecureConnection


def is_away(answer: urllib3.BaseHTTPResponse) -> bool:
    """Whether the server cannot do it now, or a proxy says so for whatever is behind it."""
    proxys = wire.API_HEADER not in answer.headers
    return answer.status in _AWAY or (proxys and (answer.status >= 500 or answer.status == 429))


def told(answer: urllib3.BaseHTTPResponse) -> str:
    """What an answer says of its cause, if it says anything."""
    try:
        return str(wire.load(answer.data)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"a proxy in front of it answered {answer.status}"


def cause(error: BaseException) -> str:
    """The first cause, in the driver's words without its objects."""
    if isinstance(error, SSLError):
        return f"TLS: {error}; a certificate of your own is trusted by SSL_CERT_FILE"
    while error.__cause__ is not None:
        error = error.__cause__
    return type(error).__name__ if not isinstance(error, OSError) else (error.strerror or type(error).__name__)
