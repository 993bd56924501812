"""
A small TCP proxy that breaks connections on purpose.

    with Proxy("127.0.0.1", port) as proxy:
        proxy.mode = "stall"

    pass          all goes through
    refuse        nobody is let in, and whoever is in is thrown out
    cut_before    a request is not passed on, and its connection closed
    cut_after     a request is passed on, and its connection closed when the answer comes
    stall         nothing is passed on any more, and nothing closed
"""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType
from typing import Literal, Self, TypeAlias

Mode: TypeAlias = Literal["pass", "refuse", "cut_before", "cut_after", "stall"]


class Proxy:
    """Listens on `port` of loopback, and passes on to a server. `mode` may be changed at any time."""

    def __init__(self, host: str, port: int) -> None:
        self.target = (host, port)
        self._mode: Mode = "pass"
        self._pairs: list[tuple[socket.socket, socket.socket]] = []
        self._lock = threading.Lock()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def mode(self) -> Mode:
        """What it does to connections."""
        return self._mode

    @mode.setter
    def mode(self, mode: Mode) -> None:
        self._mode = mode
        if mode == "refuse":
            self.cut()

    def cut(self) -> None:
        """Close every connection."""
        with self._lock:
            pairs, self._pairs = self._pairs, []
        for pair in pairs:
            _close(pair)

    def close(self) -> None:
        """Close everything, and listen no more."""
        self._listener.close()
        self.cut()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                if self._mode == "refuse":
                    raise ConnectionRefusedError
                server = socket.create_connection(self.target, timeout=5)
                server.settimeout(None)
            except OSError:
                client.close()
                continue
            for each in (client, server):
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            pair = (client, server)
            with self._lock:
                self._pairs.append(pair)
            threading.Thread(target=self._pump, args=(pair, client, server, "cut_before"), daemon=True).start()
            threading.Thread(target=self._pump, args=(pair, server, client, "cut_after"), daemon=True).start()

    def _pump(
        self, pair: tuple[socket.socket, socket.socket], source: socket.socket, sink: socket.socket, cut: str
    ) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if self._mode == cut:
                    break
                if self._mode == "stall":
                    continue
                sink.sendall(data)
        _close(pair)


def _close(pair: tuple[socket.socket, socket.socket]) -> None:
    for each in pair:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
