"""
Several processes on one port, and their parent, which serves nothing itself.

It starts them, starts one again that dies, hands on SIGHUP, SIGTERM and Ctrl-C, and says that it listens when all of
them do. Each has a socket of its own on the port, between which the system shares who comes.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any, Final

from ....errors import BudgetGuardError
from ... import logs
from .settings import GatewaySettings
from .worker import BACKLOG, SIGNALS, read_again, serve_on

log = logging.getLogger("budgetguard.server")

AGAIN_S: Final = 1.0
"""How long after its start a worker that dies is started again, at least; twice as long each time it never listened."""
MOST_AGAIN_S: Final = 60.0
SHARED: Final = "PROMETHEUS_MULTIPROC_DIR"
"""Where workers keep what they count, so that each can tell of all: prometheus-client's own variable."""


@dataclass(slots=True)
class Worker:
    """One of them."""

    process: SpawnProcess
    told: Connection
    """Where it says that it listens."""
    started_s: float
    listens: bool = False
    silent: bool = False
    """Whether it will say nothing more."""

    def hear(self) -> bool:
        """Whether it listens, as far as it has said."""
        if not self.listens and not self.silent and self.told.poll():
            try:
                self.listens = bool(self.told.recv())
            except (EOFError, OSError):
                self.silent = True
        return self.listens

    def tell(self, number: int) -> None:
        """Send it a signal, if it runs."""
        if self.process.pid is not None and self.process.is_alive():
            with suppress(ProcessLookupError):
                os.kill(self.process.pid, number)


class Workers:
    """The parent of several workers. `run` it."""

    def __init__(self, settings: GatewaySettings, port: int, shared: str, when_ready: Any) -> None:
        self._settings, self._port, self._when_ready = settings, port, when_ready
        self._workers: list[Worker | None] = [None] * settings.workers
        self._waits_s = [AGAIN_S] * settings.workers
        self._ending = 0
        """How often it was told to end."""
        self._reload = False
        self._ready = False
        os.environ[SHARED] = shared  # before prometheus-client is imported in a worker
        self._context = multiprocessing.get_context("spawn")
        self._woken, self._wake = socket.socketpair()
        for each in (self._woken, self._wake):
            each.setblocking(False)

    def run(self) -> None:
        """Keep the workers running until told to end; then until all have ended."""
        handlers = {number: self._hang_up if number == signal.SIGHUP else self._end for number in SIGNALS}
        resource_tracker.ensure_running()  # its start lets signals through
        before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
        wakes = signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        try:
            while not self._ending:
                self._look()
            self._finish()
        finally:
            signal.set_wakeup_fd(wakes)
            for number, handler in before.items():
                signal.signal(number, handler)

    def _look(self) -> None:
        if self._reload:
            self._reload = False
            if read_again(self._settings.load) is not None:  # else each would say so
                self._each(signal.SIGHUP)
        dues = [self._see_to(place) for place in range(len(self._workers))]
        if not self._ready and all(each is not None and each.listens for each in self._workers):
            self._ready = True
            self._when_ready()
        due_s = min((due for due in dues if due is not None), default=None)
        living = [each for each, due in zip(self._workers, dues, strict=True) if each is not None and due is None]
        self._sleep(living, None if due_s is None else max(due_s - time.monotonic(), 0.0))

    def _see_to(self, place: int) -> float | None:
        """Start a worker where there is none, or one that died; when to look again, if nothing else happens before."""
        worker = self._workers[place]
        if worker is not None:
            if worker.hear():
                self._waits_s[place] = AGAIN_S
            if worker.process.is_alive():
                return None
            due_s = worker.started_s + self._waits_s[place]
            if time.monotonic() < due_s:
                return due_s
            code, waited_s = worker.process.exitcode, self._waits_s[place]
            log.error("a worker ended by itself, and is started again", extra={"exitcode": code})
            self._waits_s[place] = waited_s if worker.listens else min(waited_s * 2, MOST_AGAIN_S)
            worker.told.close()
            worker.process.close()
        self._workers[place] = self._started(place)
        return None

    def _started(self, place: int) -> Worker:
        told, tells = self._context.Pipe(duplex=False)
        made = self._context.Process(target=work, args=(self._settings, self._port, place, tells), daemon=False)
        # Held back until it can hear them: one that is told to end while it starts ends in good order.
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            made.start()
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)
            tells.close()
        return Worker(made, told, time.monotonic())

    def _sleep(self, living: list[Worker], seconds: float | None) -> None:
        """Until a signal, the end of a worker, or what one says; so long at most."""
        news = [each.told for each in living if not each.listens and not each.silent]
        wait([self._woken, *news, *(each.process.sentinel for each in living)], seconds)
        with suppress(BlockingIOError):
            self._woken.recv(4096)

    def _finish(self) -> None:
        until_s = time.monotonic() + self._settings.drain_s + 5
        told = 0
        while living := [each for each in self._workers if each is not None and each.process.is_alive()]:
            if told < self._ending:
                self._each(signal.SIGINT if self._ending > 1 else signal.SIGTERM)
                told = self._ending
            left_s = until_s - time.monotonic()
            if left_s <= 0:
                self._each(signal.SIGKILL)
            self._sleep(living, max(left_s, 0.1))

    def _end(self, number: int, _frame: Any) -> None:
        # A second Ctrl-C ends at once, a second SIGTERM says nothing new.
        self._ending = max(self._ending, 1) if number == signal.SIGTERM else self._ending + 1

    def _hang_up(self, *_: Any) -> None:
        self._reload = True

    def _each(self, number: int) -> None:
        for worker in filter(None, self._workers):
            worker.tell(number)


def work(settings: GatewaySettings, port: int, place: int, tells: Connection) -> None:
    """A worker, in a process of its own, which ends when its parent does."""
    logs.set_up(settings.log_level)
    threading.Thread(target=_end_with_parent, name="budgetguard-parent", daemon=True).start()
    _count_at(place)
    try:
        with bound(settings, port) as listening:
            configuration = settings.load()
            listening.listen(BACKLOG)
            serve_on(listening, settings, configuration, lambda: tells.send(True))
    except (BudgetGuardError, OSError) as error:
        log.error("a worker cannot serve: %s", error)  # noqa: TRY400
        sys.exit(2)


def bound(settings: GatewaySettings, port: int) -> socket.socket:
    """A socket on a port that others may share; it does not listen."""
    made = socket.socket(settings.family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        made.bind((settings.host, port))
    except BaseException:
        made.close()
        raise
    return made


def _count_at(place: int) -> None:
    """Count in the files of this place among the workers, so that who is started again goes on in those of who died."""
    from prometheus_client import values

    values.ValueClass = values.MultiProcessValue(lambda: place)  # type: ignore[no-untyped-call]


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGTERM)
