"""
HTTP for the fake provider: the standard library's server, a thread a connection.

It knows nothing of models or money: it parses a request, and writes what it is
told to, or half of it.
"""

from __future__ import annotations

import contextlib
import gzip
import json
import selectors
import socket
import socketserver
import threading
import zlib
from collections.abc import Callable, Mapping
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl

from .plan import BadRequestError

BACKLOG = 1024


class Connection(BaseHTTPRequestHandler):
    """One connection: its requests, one after the other."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: FakeServer
    _squeeze: Any = None

    def handle(self) -> None:
        """Serve until either side closes; a client that goes away is no error."""
        try:
            super().handle()
        except (ConnectionError, TimeoutError):
            self.close_connection = True

    def do_GET(self) -> None:
        """Answer a request, whatever its method."""
        self.server.answer(self)

    do_POST = do_DELETE = do_PUT = do_PATCH = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Keep quiet: the requests are kept by the provider."""

    def read_body(self) -> dict[str, Any]:
        """The body's JSON or form; raises `BadRequestError` for anything else."""
        raw = self._body()
        if not raw:
            return {}
        kind = self.headers.get("content-type", "")
        if kind.startswith("multipart/form-data"):
            return _form(kind, raw)
        if kind.startswith("application/x-www-form-urlencoded"):
            return dict(parse_qsl(raw.decode()))
        try:
            body = json.loads(raw)
        except ValueError:
            raise BadRequestError("We could not parse the JSON body of your request.") from None
        if not isinstance(body, dict):
            raise BadRequestError("The JSON body of a request must be an object.")
        return body

    def send(self, status: int, headers: Mapping[str, str], body: bytes, *, squeeze: bool, half: bool = False) -> None:
        """A whole answer, in one piece; with `half` its headers and the first half of its body."""
        if squeeze:
            body = gzip.compress(body, mtime=0)
            headers = {**headers, "content-encoding": "gzip"}
        self._send_head(status, {**headers, "content-length": str(len(body))}, body[: len(body) // 2] if half else body)

    def begin_stream(self, headers: Mapping[str, str], *, squeeze: bool) -> None:
        """The headers of an answer in pieces."""
        self._squeeze = zlib.compressobj(wbits=31) if squeeze else None
        more = {"transfer-encoding": "chunked", **({"content-encoding": "gzip"} if squeeze else {})}
        self._send_head(200, {**headers, **more})

    def send_piece(self, piece: bytes) -> None:
        """One piece of such an answer; raises `ConnectionError` if the client has gone."""
        if self.is_gone():
            raise ConnectionResetError("the client has closed the connection")
        if self._squeeze is not None:
            piece = self._squeeze.compress(piece) + self._squeeze.flush(zlib.Z_SYNC_FLUSH)
        self._send_chunk(piece)

    def end_stream(self) -> None:
        """The end of an answer in pieces."""
        if self._squeeze is not None:
            self._send_chunk(self._squeeze.flush())
        self.wfile.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Close the connection without another word."""
        self.close_connection = True
        with contextlib.suppress(OSError):  # the client may have been faster
            self.connection.shutdown(socket.SHUT_RDWR)

    def is_gone(self) -> bool:
        """Whether the client has closed its side."""
        try:
            return len(self.connection.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)) == 0
        except BlockingIOError:
            return False
        except OSError:
            return True

    def _body(self) -> bytes:
        """What was sent, also where it came in chunks, with no length before it."""
        if "chunked" not in (self.headers.get("transfer-encoding") or "").lower():
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        body = bytearray()
        while size := int(self.rfile.readline().partition(b";")[0], 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline().strip():  # trailers, to the empty line
            pass
        return bytes(body)

    def _send_head(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        lines = [f"HTTP/1.1 {status} {self.responses.get(status, ('',))[0]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.wfile.write("\r\n".join([*lines, "", ""]).encode() + body)

    def _send_chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


class FakeServer(socketserver.ThreadingTCPServer):
    """Listens on loopback, and hands every request to one function."""

    allow_reuse_address = True
    daemon_threads = True
    block_on_close = False
    request_queue_size = BACKLOG
    timeout = 0  # a client that was there is gone

    def __init__(self, host: str, port: int, answer: Callable[[Connection], None]) -> None:
        super().__init__((host, port), Connection)
        self.answer = answer
        self.closing = threading.Event()
        self._open: dict[Any, threading.Thread] = {}
        self._lock = threading.Lock()
        self._bell, self._rung = socket.socketpair()
        self._loop = threading.Thread(target=self._serve, name="fake-provider", daemon=True)

    @property
    def port(self) -> int:
        """The port it listens on."""
        return int(self.server_address[1])

    def start(self) -> None:
        """Listen, in a thread of its own."""
        self._loop.start()

    def stop(self) -> None:
        """Close the port and every connection, and wait for their threads."""
        self.closing.set()
        with contextlib.suppress(OSError), self._bell:  # which a forked child has, too: closing alone rings nothing
            self._bell.shutdown(socket.SHUT_RDWR)
        self._loop.join(timeout=5)
        self.server_close()
        with self._lock:
            connections = dict(self._open)
        for connection in connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed by its own thread in the meantime
        for thread in connections.values():
            thread.join(timeout=5)

    def _serve(self) -> None:
        """Until it is told, and not until it looks again: tests stop thousands."""
        with selectors.DefaultSelector() as ready, self._rung:
            ready.register(self, selectors.EVENT_READ)
            ready.register(self._rung, selectors.EVENT_READ)
            while ready.select() and not self.closing.is_set():
                self.handle_request()

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Remember the connection for as long as it is open."""
        with self._lock:
            self._open[request] = threading.current_thread()
        try:
            super().process_request_thread(request, client_address)
        finally:
            with self._lock:
                self._open.pop(request, None)


def _form(kind: str, raw: bytes) -> dict[str, Any]:
    """The fields of a multipart form; a name that is there twice, or ends in "[]", gives a list."""
    message = BytesParser().parsebytes(b"content-type: " + kind.encode() + b"\r\n\r\n" + raw)
    if not message.is_multipart():
        raise BadRequestError("We could not parse the form of your request.")
    fields: dict[str, Any] = {}
    for part in message.walk():
        name = part.get_param("name", header="content-disposition")
        if not isinstance(name, str):
            continue
        payload = part.get_payload(decode=True)
        value: Any = payload if isinstance(payload, bytes) else b""
        if part.get_filename() is None:
            value = value.decode("utf-8", "replace")
        if name.endswith("[]"):
            fields.setdefault(name.removesuffix("[]"), []).append(value)
        elif name in fields:
            fields[name] = [*(fields[name] if isinstance(fields[name], list) else [fields[name]]), value]
        else:
            fields[name] = value
    return fields
