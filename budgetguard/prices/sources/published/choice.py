"""
Which list of prices is meant: the installed one, a newer one that is kept, one that renews itself, or a file.

Only "updating" asks the network, in a thread of its own that nobody waits for: until a newer list has come and was
checked, the one before holds. The kept list is shared by all programs of a user, so that one of them fetches it a day.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Final

from ....concurrency.locks import mutex
from ....errors import ConfigError
from .. import list as pricelist
from . import kept

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot

log = logging.getLogger("budgetguard")

INSTALLED: Final = "installed"
UPDATED: Final = "updated"
UPDATING: Final = "updating"

_FRESH: Final = timedelta(days=1)
_LOOK_S: Final = 3_600.0
"""How often a long-lived process looks whether the kept list is a day old, or another process has renewed it."""


def check_list(stated: str, where: str) -> None:
    """Raises `ConfigError` for what is neither a word for a list nor the path of a file."""
    if stated not in {INSTALLED, UPDATED, UPDATING} and not Path(stated).is_file():
        raise ConfigError(
            f"{where}={stated!r}: there is no such file; write {INSTALLED!r}, {UPDATED!r}, {UPDATING!r}, or the path "
            "of a price list in JSON"
        )


def open_list(stated: str | None) -> Callable[[], DataSnapshot]:
    """Where to ask for the list that holds now; raises `ConfigError` for one that cannot be used."""
    if stated is None or stated == INSTALLED:
        return pricelist.source()
    if stated == UPDATING:
        return _renewing(kept.default_path())
    snapshot = kept.read_list(kept.default_path() if stated == UPDATED else Path(stated)).snapshot
    return lambda: snapshot


@cache
def _renewing(path: Path) -> RenewedList:
    """One for each file in a process: books share it."""
    return RenewedList(path, default_url())


def default_url() -> str:
    """Where genai-prices publishes its data."""
    from genai_prices.update_prices import DEFAULT_UPDATE_URL

    return DEFAULT_UPDATE_URL


class RenewedList:
    """A kept list that is fetched again once it is a day old, by a thread that starts with the first price."""

    def __init__(self, path: Path, url: str, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        import httpcore2  # noqa: F401  (not by the thread: a child forked meanwhile would have half of it for good)

        self._path = path
        self._url = url
        self._clock = clock
        self._snapshot: DataSnapshot = pricelist.source()()
        self._read: float | None = None
        """When the file was written that was read last."""
        self._failing = False
        self._process = 0
        self._starting = mutex("price list")
        self._try(self._read_kept)

    def __call__(self) -> DataSnapshot:
        """The list that holds now. A forked child has no thread of its parent's, and starts its own."""
        if self._process != os.getpid():
            self._start()
        return self._snapshot

    def look(self) -> None:
        """Read the kept list if another one is there, and fetch it if it is old. What fails is said once."""
        self._try(self._renew)

    def _renew(self) -> None:
        self._read_kept()
        if self._clock() - self._written() >= _FRESH:
            kept.update(self._url, self._path, self._clock())
            self._read_kept()

    def _try(self, step: Callable[[], None]) -> None:
        try:
            step()
        except Exception as error:  # it is nobody's call: whatever it is, the list before holds
            log.log(
                logging.DEBUG if self._failing else logging.WARNING,
                "prices are not renewed, those before hold: %s",
                error,
            )
            self._failing = True
        else:
            self._failing = False

    def _written(self) -> datetime:
        return datetime.min.replace(tzinfo=UTC) if self._read is None else datetime.fromtimestamp(self._read, UTC)

    def _read_kept(self) -> None:
        try:
            written = self._path.stat().st_mtime
        except FileNotFoundError:
            return
        if written != self._read:
            self._snapshot = kept.read_list(self._path).snapshot
            self._read = written

    def _start(self) -> None:
        with self._starting:
            if self._process == os.getpid():
                return
            self._process = os.getpid()
            try:
                threading.Thread(target=self._run, name="budgetguard-prices", daemon=True).start()
            except RuntimeError:  # the interpreter is about to exit
                log.debug("no thread can be started to renew prices")

    def _run(self) -> None:
        wait = threading.Event()
        while True:
            self.look()
            wait.wait(_LOOK_S)
