"""
`budgetguard gateway`: the gateway as a process, or as several on one port.

A parent that serves nothing itself starts the workers, starts one again that dies, hands on SIGHUP (read the
configuration again) and SIGTERM (finish what is under way). Each worker has a socket of its own on the same port.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import multiprocessing
import os
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import Any, Final

import uvicorn

from ...errors import ConfigError
from .. import logs
from ..keys import KeyRing
from ..keys.finding.loopback import is_loopback
from ..protocol import Protocol
from .app import Gateway
from .config.resolve import Configuration

log = logging.getLogger("budgetguard.server")

KEEP_ALIVE_S: Final = 75
"""How long an idle connection stays open: longer than a proxy in front keeps it."""
BACKLOG: Final = 1024
AGAIN_S: Final = 1.0
"""How long after its start a worker that dies is started again, at least."""
_SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """What `budgetguard gateway` was told. `load` reads the configuration, also again."""

    load: Callable[[], Configuration]
    store: str
    host: str = "127.0.0.1"
    port: int = 4000
    open_mode: bool = False
    project: str | None = None
    workers: int = 1
    drain_s: int = 600
    """How long calls under way may take when the gateway is told to end."""
    log_level: str = "info"


def serve_gateway(settings: GatewaySettings) -> None:
    """Serve until SIGTERM or Ctrl-C; calls under way are finished. Raises `ConfigError` for what cannot be."""
    _check(settings)
    logs.set_up(settings.log_level)
    configuration = settings.load()
    with ExitStack() as opened:
        listening = opened.enter_context(_listen(settings, alone=settings.workers == 1))
        port = listening.getsockname()[1]
        _say(settings, port, configuration)
        if settings.workers == 1:
            _serve(settings, listening, configuration)
        else:
            shared = opened.enter_context(tempfile.TemporaryDirectory(prefix="budgetguard-"))
            _Workers(settings, port, shared).run()
    log.info("stopped")


def _check(settings: GatewaySettings) -> None:
    if settings.open_mode and not is_loopback(settings.host):
        raise ConfigError(f"--open, --host {settings.host}: without keys a gateway is for this machine only: 127.0.0.1")
    memory = settings.store.startswith("memory:")
    if memory and not settings.open_mode:
        raise ConfigError("--store memory://: keys are kept in the store, so one in memory has none; add --open")
    if memory and settings.workers > 1:
        raise ConfigError("--workers: processes share budgets in a store; memory:// is one process's own")
    if settings.store.startswith(("http:", "https:")):
        raise ConfigError("--store: a gateway stands before a store, not before another server; name that one's store")
    if settings.workers > 1 and not hasattr(socket, "SO_REUSEPORT"):
        raise ConfigError("--workers: this system has no SO_REUSEPORT: run several gateways behind a load balancer")


def _serve(settings: GatewaySettings, listening: socket.socket, configuration: Configuration) -> None:
    app = Gateway(configuration, settings.store, open_mode=settings.open_mode, project=settings.project)
    config = uvicorn.Config(
        app,
        loop="auto",
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=settings.drain_s,
        backlog=BACKLOG,
    )
    server = uvicorn.Server(config)
    with _signals(app, settings):
        gc.collect()
        gc.freeze()  # prices and modules stay: no collection has to look through them
        with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
            try:
                runner.run(server.serve(sockets=[listening]))
            finally:
                runner.run(app.aclose())


@contextmanager
def _signals(app: Gateway, settings: GatewaySettings) -> Iterator[None]:
    """SIGTERM and Ctrl-C end the server, which uvicorn raises again when it has ended; SIGHUP reads the file again."""

    def reload(*_: Any) -> None:
        try:
            app.reload(settings.load())
        except (ConfigError, OSError) as error:
            log.error("the configuration is wrong, and the one before is kept: %s", error)  # noqa: TRY400
        else:
            log.info("the configuration was read again")

    ends: dict[Any, Any] = {number: (lambda *_: None) for number in (signal.SIGTERM, signal.SIGINT)}
    if hasattr(signal, "SIGHUP"):
        ends[signal.SIGHUP] = reload
    before = {number: signal.signal(number, handler) for number, handler in ends.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _listen(settings: GatewaySettings, *, alone: bool) -> Iterator[socket.socket]:
    """A socket on the port: the server's own, or one that keeps the port for the workers and serves nobody."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if not alone:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((settings.host, settings.port))
        if alone:
            made.listen(BACKLOG)
        yield made
    except (OSError, OverflowError) as error:
        raise ConfigError(f"--host {settings.host} --port {settings.port}: cannot be listened on ({error})") from error
    finally:
        made.close()


def _work(settings: GatewaySettings, port: int) -> None:
    """A worker, in a process of its own, which ends when its parent does."""
    logs.set_up(settings.log_level)
    threading.Thread(target=_end_with_parent, name="budgetguard-parent", daemon=True).start()
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        listening.bind((settings.host, port))
        configuration = settings.load()
        listening.listen(BACKLOG)
        _serve(settings, listening, configuration)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)


class _Workers:
    """The parent of several workers."""

    def __init__(self, settings: GatewaySettings, port: int, shared: str) -> None:
        self._settings, self._port = settings, port
        self._processes: list[BaseProcess | None] = [None] * settings.workers
        self._started_s = [0.0] * settings.workers
        self._ending = False
        os.environ[_SHARED] = shared  # before prometheus-client is imported in a worker
        self._context = multiprocessing.get_context("spawn")

    def run(self) -> None:
        """Keep the workers running until told to end; then until all have ended."""
        handlers: dict[Any, Any] = {signal.SIGTERM: self._end, signal.SIGINT: self._end, signal.SIGHUP: self._hand_on}
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        try:
            while not self._ending:
                for place in range(self._settings.workers):
                    self._see_to(place)
                time.sleep(0.1)
            for process in filter(None, self._processes):
                process.join(self._settings.drain_s + 5)
                if process.is_alive():
                    process.kill()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _see_to(self, place: int) -> None:
        process = self._processes[place]
        if process is not None and process.is_alive():
            return
        if process is not None:
            log.error("a worker ended by itself, and is started again", extra={"exitcode": process.exitcode})
        if self._ending or time.monotonic() - self._started_s[place] < AGAIN_S:
            return
        made = self._context.Process(target=_work, args=(self._settings, self._port), daemon=False)
        made.start()
        self._started_s[place] = time.monotonic()
        self._processes[place] = made

    def _end(self, *_: Any) -> None:
        self._ending = True
        self._each(signal.SIGTERM)

    def _hand_on(self, *_: Any) -> None:
        self._each(signal.SIGHUP)

    def _each(self, number: int) -> None:
        for process in filter(None, self._processes):
            if process.pid is not None and process.is_alive():
                with suppress(ProcessLookupError):
                    os.kill(process.pid, number)


def _say(settings: GatewaySettings, port: int, configuration: Configuration) -> None:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    names = ", ".join(configuration.upstreams) or "none"
    log.info("listening", extra={"url": f"http://{host}:{port}/v1", "store": settings.store.partition(":")[0]})
    log.info("upstreams", extra={"upstreams": names})
    if settings.open_mode:
        log.warning(
            "OPEN MODE: no key is asked for; every program on this machine may call models by this gateway, and change "
            "every budget. Leave --open out, and create keys, for anything but a trial."
        )
        return
    from ..projects import Projects

    ring = KeyRing(Projects(settings.store).own)
    if next(ring.all(), None) is None:
        log.warning("there is no key yet, so nobody is answered: budgetguard keys create PROJECT --scope call")
