"""`budgetguard serve`: the server as a process."""

from __future__ import annotations

import logging
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import uvicorn

from ..errors import ConfigError
from . import logs
from .app import App
from .keys import KeyRing
from .keys.finding.loopback import is_loopback
from .protocol import Protocol
from .turns import short_turns

log = logging.getLogger("budgetguard.server")

KEEP_ALIVE_S = 75
"""How long an idle connection stays open: longer than a proxy in front keeps it."""
SHUTDOWN_S = 15
"""How long requests under way may take when the server is told to end."""
_BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class ServerSettings:
    """What `budgetguard serve` was told."""

    store: str
    host: str = "127.0.0.1"
    port: int = 8080
    open_mode: bool = False
    project: str | None = None
    log_level: str = "info"


def serve(settings: ServerSettings) -> None:
    """Serve until SIGTERM or Ctrl-C; requests under way are finished. Raises `ConfigError` for what cannot be."""
    if settings.open_mode and not is_loopback(settings.host):
        raise ConfigError(f"--open, --host {settings.host}: without keys a server is for this machine only: 127.0.0.1")
    if settings.store.startswith("memory:") and not settings.open_mode:
        raise ConfigError("--store memory://: keys are kept in the store, so one in memory has none; add --open")
    if settings.store.startswith(("http:", "https:")):
        raise ConfigError("--store: a server stands before a store, not before another server; name that one's store")
    logs.set_up(settings.log_level)
    listening = listen_on(settings.host, settings.port)
    app = App(settings.store, open_mode=settings.open_mode, project=settings.project, jobs=True)
    try:
        _say(settings, listening.getsockname()[1], app)
        run_until_told(app, listening)
    finally:
        listening.close()
        app.close()
        log.info("stopped")


def run_until_told(app: App, listening: socket.socket) -> None:
    """Serve on a socket until SIGTERM or Ctrl-C."""
    config = uvicorn.Config(
        app,
        loop="auto",
        http=Protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=SHUTDOWN_S,
        backlog=_BACKLOG,
    )
    server = uvicorn.Server(config)
    with _signals_end(server), short_turns():
        server.run(sockets=[listening])


@contextmanager
def _signals_end(server: uvicorn.Server) -> Iterator[None]:
    """
    Let a signal only end the server, so that what comes after it is done: before uvicorn has handlers of its own, and
    when it has ended and raises again what it heard.
    """

    def end(*_: object) -> None:
        server.should_exit = True

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def listen_on(host: str, port: int) -> socket.socket:
    """A socket that listens; raises `ConfigError` where that cannot be."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--host {host} --port {port}: cannot be listened on ({error})") from error


def _say(settings: ServerSettings, port: int, app: App) -> None:
    url = f"http://{settings.host}:{port}"
    log.info("listening", extra={"url": url, "store": settings.store.partition(":")[0]})
    if settings.open_mode:
        log.warning(
            "OPEN MODE: no key is asked for; every program on this machine that reaches %s may spend, read and change "
            "every budget. Leave --open out, and create keys, for anything but a trial.",
            url,
        )
    elif next(KeyRing(app.projects.own).all(), None) is None:
        log.warning("there is no key yet, so nobody is answered: budgetguard keys create PROJECT --scope admin")
