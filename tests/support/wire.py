"""Bytes on sockets: requests that no client library would send, and an upstream that keeps what it really received."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from typing import Self, TypeAlias

Answer: TypeAlias = bytes | Iterable[bytes]
"""Of an upstream: whole, or in pieces, each of which is sent when it is there."""

ANSWER = {
    "id": "1",
    "object": "chat.completion",
    "model": "gpt-4o-mini",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "ok"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


def reply(body: bytes | None = None, status: str = "200 OK", *headers: str) -> bytes:
    """A whole answer; OpenAI's shortest one, unless it is said otherwise."""
    said = json.dumps(ANSWER).encode() if body is None else body
    lines = [f"HTTP/1.1 {status}", f"content-length: {len(said)}", *headers]
    if not any(line.lower().startswith("content-type") for line in headers):
        lines.append("content-type: application/json")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + said


class RawUpstream:
    """A server that keeps the bytes of every request, and answers each as it is told to."""

    def __init__(self, answer: Callable[[bytes], Answer] | bytes | None = None) -> None:
        self.answer = answer if callable(answer) else (lambda _request: reply() if answer is None else answer)
        self.requests: list[bytes] = []
        self.connections: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.root = f"http://127.0.0.1:{self._listening.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with closing(connection), suppress(OSError), self._open(connection):
            rest = b""
            while True:
                while b"\r\n\r\n" not in rest:
                    piece = connection.recv(65_536)
                    if not piece:
                        return
                    rest += piece
                head, _, rest = rest.partition(b"\r\n\r\n")
                length = int(headers_of(head).get("content-length", ["0"])[0])
                while len(rest) < length:
                    rest += connection.recv(65_536)
                request, rest = head + b"\r\n\r\n" + rest[:length], rest[length:]
                self.requests.append(request)
                answer = self.answer(request)
                for piece in [answer] if isinstance(answer, bytes) else answer:
                    connection.sendall(piece)

    @contextmanager
    def _open(self, connection: socket.socket) -> Iterator[None]:
        self.connections.append(connection)
        try:
            yield
        finally:
            self.connections.remove(connection)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(10)


def headers_of(head: bytes) -> dict[str, list[str]]:
    """The headers of a request, by their names in lower case; each as often as it is there."""
    found: dict[str, list[str]] = {}
    for line in head.partition(b"\r\n\r\n")[0].split(b"\r\n")[1:]:
        name, _, value = line.decode("latin-1").partition(":")
        found.setdefault(name.strip().lower(), []).append(value.strip())
    return found


def exchange(port: int, sent: bytes, timeout_s: float = 10.0) -> bytes:
    """Send bytes, and return all that comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout_s) as raw:
        received = b""
        with suppress(ConnectionError):
            raw.sendall(sent)
        with suppress(ConnectionError):
            while piece := raw.recv(65_536):
                received += piece
    return received


def request_of(
    path: str, body: bytes, *headers: str, method: str = "POST", version: str = "1.1", length: bool = True
) -> bytes:
    """A request, after which the connection is closed."""
    lines = [f"{method} {path} HTTP/{version}", "host: localhost", "connection: close", *headers]
    if length:
        lines.append(f"content-length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body
