"""A relay on loopback: it hands on every byte between two that talk HTTP, and remembers the bodies."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from http.client import HTTPResponse, IncompleteRead, parse_headers
from io import BytesIO
from typing import Any, NamedTuple


class Passed(NamedTuple):
    """One request and its answer, as they were on the wire."""

    target: str
    asked: bytes
    said: bytes


class _Kept(BytesIO):
    """A file of bytes that stands for a socket, and stays open."""

    def makefile(self, _mode: str) -> _Kept:
        return self

    def close(self) -> None:
        """`HTTPResponse` closes what it has read; the next answer is behind it."""


class Relay:
    """Listens before the server at a port of loopback; start it with `with`."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._heard: list[tuple[bytearray, bytearray]] = []
        self._changed = threading.Condition()
        self._sockets: list[socket.socket] = []

    def __enter__(self) -> Relay:
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_exc: object) -> None:
        for each in [self._listening, *self._sockets]:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def take(self) -> Passed:
        """The only exchange since the last time, once it is whole; raises `AssertionError`."""
        with self._changed:
            assert self._changed.wait_for(lambda: self._whole() is not None, 10), "no whole exchange went by"
            found = self._whole()
        self.forget()
        assert found is not None
        assert len(found) == 1, f"{len(found)} exchanges went by"
        return found[0]

    def forget(self) -> None:
        """Begin anew."""
        with self._changed:
            for asked, said in self._heard:
                asked.clear()
                said.clear()

    def _whole(self) -> list[Passed] | None:
        found: list[Passed] = []
        for asked, said in self._heard:
            requests, answers = BytesIO(bytes(asked)), _Kept(bytes(said))
            while line := requests.readline():
                passed = _exchange(line, requests, answers)
                if passed is None:
                    return None
                found.append(passed)
        return found or None

    def _listen(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                server = socket.create_connection(("127.0.0.1", self._port))
                self._sockets += [client, server]
                heard = (bytearray(), bytearray())
                with self._changed:
                    self._heard.append(heard)
                for ends, kept in (((client, server), heard[0]), ((server, client), heard[1])):
                    threading.Thread(target=self._hand_on, args=(*ends, kept), daemon=True).start()

    def _hand_on(self, here: socket.socket, there: socket.socket, kept: bytearray) -> None:
        with suppress(OSError):
            while piece := here.recv(65_536):
                with self._changed:
                    kept += piece
                    self._changed.notify_all()
                there.sendall(piece)
        with suppress(OSError):
            there.shutdown(socket.SHUT_WR)


def _exchange(line: bytes, requests: BytesIO, answers: _Kept) -> Passed | None:
    """The next request and its answer; `None` if one of them is not whole."""
    method, target, _ = line.decode("latin-1").split(" ", 2)
    size = int(parse_headers(requests).get("content-length") or 0)
    asked = requests.read(size)
    if len(asked) < size or answers.tell() == len(answers.getvalue()):
        return None
    answer: Any = HTTPResponse(answers, method=method)  # type: ignore[arg-type]
    try:
        answer.begin()
        said = answer.read()
    except (IncompleteRead, ValueError, OSError):
        return None
    return Passed(target, asked, said)
