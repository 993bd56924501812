"""An upstream that answers with these bytes, whatever it is asked."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress

Say = Callable[[bytes], None]
Script = Callable[[Say], None]
"""What it does with a request: it is given what sends bytes."""


class ScriptedUpstream:
    """Listens on loopback; a script a request, the last one for all others; each ends its connection. Use `with`."""

    def __init__(self, *scripts: Script | bytes) -> None:
        self._scripts = list(scripts)
        self.asked: list[bytes] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.root_url = f"http://127.0.0.1:{self._listening.getsockname()[1]}"

    def __enter__(self) -> ScriptedUpstream:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self._listening.close()

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            request = b""
            while not _whole(request):
                piece = connection.recv(65_536)
                if not piece:
                    return
                request += piece
            script = self._scripts[min(len(self.asked), len(self._scripts) - 1)]
            self.asked.append(request)
            if isinstance(script, bytes):
                connection.sendall(script)
            else:
                script(connection.sendall)


def _whole(request: bytes) -> bool:
    head, end, body = request.partition(b"\r\n\r\n")
    sizes = [int(line.split(b":")[1]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    return bool(end) and len(body) >= sum(sizes)


def answer(body: bytes, *headers: str, status: str = "200 OK", kind: str = "application/json") -> bytes:
    """A whole answer."""
    lines = [f"HTTP/1.1 {status}", f"content-type: {kind}", f"content-length: {len(body)}", "connection: close"]
    return "\r\n".join([*lines, *headers, "", ""]).encode() + body


def events(*pieces: Iterable[bytes] | bytes) -> bytes:
    """The head of a stream of events that ends with its connection, and its beginning."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
    return head + b"".join(piece if isinstance(piece, bytes) else b"".join(piece) for piece in pieces)
