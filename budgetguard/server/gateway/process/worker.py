"""
One process that serves: its server, and what it does at a signal.

SIGTERM and Ctrl-C end it, when the calls under way are over; a second Ctrl-C ends it at once. SIGHUP has the
configuration read again, beside the event loop, as prices are long.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import uvicorn

from ....errors import ConfigError
from ...turns import short_turns
from ..app import Gateway
from ..config.resolve import Configuration
from ..guards import give_back
from .draining import DrainingProtocol, DrainingServer
from .settings import GatewaySettings

log = logging.getLogger("budgetguard.server")

KEEP_ALIVE_S: Final = 75
"""How long an idle connection stays open: longer than a proxy in front keeps it."""
BACKLOG: Final = 1024
SIGNALS: Final = frozenset(
    number for number in (signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", None)) if number is not None
)
"""What a process that serves is told."""


def serve_on(
    listening: socket.socket, settings: GatewaySettings, configuration: Configuration, when_ready: Callable[[], None]
) -> None:
    """Serve on a socket until a signal says to end; then finish what is under way, and give leases back."""
    app = Gateway(configuration, settings.store, open_mode=settings.open_mode, project=settings.project)
    config = uvicorn.Config(
        app,
        loop="auto",
        http=DrainingProtocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.drain_s,
        backlog=BACKLOG,
    )
    server = DrainingServer(config, when_ready)
    gc.collect()
    gc.freeze()  # prices and modules stay: no collection has to look through them
    with (
        short_turns(),
        asyncio.Runner(loop_factory=config.get_loop_factory()) as runner,
        _signals(server, Reloading(app, settings, runner.get_loop())),
    ):
        try:
            runner.run(server.serve(sockets=[listening]))
        finally:
            runner.run(app.aclose())


class Reloading:
    """Reads the configuration again, in a thread of its own, one after the other."""

    def __init__(self, app: Gateway, settings: GatewaySettings, loop: asyncio.AbstractEventLoop) -> None:
        self._app, self._load, self._loop = app, settings.load, loop
        self._wanted = threading.Event()
        threading.Thread(target=self._run, name="budgetguard-reload", daemon=True).start()

    def ask(self, *_: Any) -> None:
        """Have it read again, soon."""
        self._wanted.set()

    def _run(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            configuration = read_again(self._load)
            if configuration is not None and not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._take, configuration)

    def _take(self, configuration: Configuration) -> None:
        before = self._app.reload(configuration)
        self._loop.run_in_executor(None, give_back, before)
        log.info("the configuration was read again")


def read_again(load: Callable[[], Configuration]) -> Configuration | None:
    """The configuration as it is now; `None`, and a line in the log, if it is wrong."""
    try:
        return load()
    except (ConfigError, OSError) as error:
        log.error("the configuration is wrong, and the one before is kept: %s", error)  # noqa: TRY400
        return None


@contextmanager
def _signals(server: DrainingServer, reloading: Reloading) -> Iterator[None]:
    """
    What signals do: uvicorn has its own handlers once it runs, and raises again what it heard when it has ended, which
    is to do nothing more.
    """

    def end(*_: Any) -> None:
        server.should_exit = True

    handlers = {number: reloading.ask if number == getattr(signal, "SIGHUP", None) else end for number in SIGNALS}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    if hasattr(signal, "pthread_sigmask"):  # a worker begins with these held back
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
