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
