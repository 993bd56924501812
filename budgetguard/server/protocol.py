"""HTTP as uvicorn reads it, but that what is no HTTP is also answered by an error of ours."""

from __future__ import annotations

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from .problems import INVALID
from .schemas import ErrorOut, Problem


class Protocol(HttpToolsProtocol):
    """Reads requests; the error for a broken one is JSON."""

    def send_400_response(self, msg: str) -> None:
        """Answer a request that cannot be read, and close the connection."""
        body = msgspec.json.encode(ErrorOut(Problem("this is no HTTP request that can be read", INVALID)))
        head = b"HTTP/1.1 400 Bad Request\r\ncontent-type: application/json\r\nconnection: close\r\n"
        self.transport.write(head + b"content-length: %d\r\n\r\n" % len(body) + body)
        self.transport.close()
