"""A TCP proxy on loopback that cuts, refuses or stalls what passes through it."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from typing import Literal, TypeAlias

Mode: TypeAlias = Literal["pass", "refuse", "cut_before", "cut_after", "stall"]


class Proxy:
    """
    Passes connections on to `host:port`, by its `mode`, which may change at any time:

    "pass": as they are; "refuse": new ones are closed at once, and old ones cut; "cut_before": a request is not passed
    on, and its connection cut; "cut_after": it is passed on, and the connection cut instead of its answer; "stall":
    nothing is passed on in either direction, new connections included.
    """

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        self.mode: Mode = "pass"
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._closed = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Cut everything, and listen no more."""
        self._closed.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        while not self._closed.is_set():
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.mode == "refuse":
                client.close()
                continue
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        self._wait_while_stalled()
        try:
            server = socket.create_connection(self._target)
        except OSError:
            client.close()
            return
        pair = (client, server)
        for source, sink, asks in ((client, server, True), (server, client, False)):
            threading.Thread(target=self._pump, args=(source, sink, asks, pair), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, asks: bool, pair: tuple[socket.socket, ...]) -> None:
        try:
            while data := source.recv(65536):
                self._wait_while_stalled()
                mode = self.mode
                if mode == "refuse" or mode == ("cut_before" if asks else "cut_after"):
                    break
                sink.sendall(data)
        except OSError:
            pass  # the other direction has ended
        for each in pair:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _wait_while_stalled(self) -> None:
        while self.mode == "stall" and not self._closed.wait(0.01):
            continue
