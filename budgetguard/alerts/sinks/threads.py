"""
A sink, and the thread that sends to it.

A sink that fails or hangs delays neither a call nor the other sinks: each has its own thread and a bounded queue. That
it fails is logged once an hour.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from ...concurrency.errands import Errands
from ..alert import Alert
from .base import LastSink, Sink

log = logging.getLogger("budgetguard")

MOST_WAITING = 1_000
"""Alerts that wait for one sink; what is beyond is left out, and that is logged."""

AGAIN_S = 3600.0
"""How often it is logged that a sink fails."""


class SinkThread:
    """One sink, with its thread."""

    def __init__(self, sink: Sink, *, most: int = MOST_WAITING, time_s: Callable[[], float] = time.monotonic) -> None:
        self.sink = sink
        self._time_s = time_s
        self._logged_s = float("-inf")
        self._worker = Errands(f"alerts-{sink.name}", self, most=most)

    def put(self, alert: Alert) -> None:
        """Have it sent soon. Never waits."""
        if not self._worker.put(alert):
            self._log("is not told of %r, as %d alerts wait for it already", alert.text, MOST_WAITING)

    def work(self, alert: Alert) -> None:
        """Send it."""
        try:
            if self._worker.threadless and isinstance(self.sink, LastSink):
                self.sink.send_last(alert)
            else:
                self.sink.send(alert)
        except Exception as error:
            self._log("was not told of %r: %s: %s", alert.text, type(error).__name__, error)

    def rest(self, final: bool) -> None:
        """Nothing is due."""

    def renew(self) -> None:
        """Nothing is kept."""

    def drain(self, timeout_s: float) -> bool:
        """Wait until all was sent, for so long at most; whether it was."""
        return self._worker.drain(timeout_s)

    def _log(self, text: str, *args: object) -> None:
        now_s = self._time_s()
        if now_s - self._logged_s >= AGAIN_S:
            self._logged_s = now_s
            log.error("%s " + text + " (said once an hour)", self.sink.name, *args)
