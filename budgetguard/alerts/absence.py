"""A store that cannot be reached: it is asked again in the background, and both its absence and its return are told."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import StoreError
from ..ledger import Store

LOOK_S = 2.0
"""How often it is asked."""

LONG_S = 10.0
"""How long it has to be away before anybody is told: less is a restart, or a slow moment."""


@dataclass(frozen=True, slots=True)
class Returned:
    """It is there again."""

    after_s: float


@dataclass(frozen=True, slots=True)
class Gone:
    """It is away for so long."""

    error: str


class Absence:
    """Whether one store is away. In one thread."""

    def __init__(self, store: Store | None, *, time_s: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._time_s = time_s
        self._since_s: float | None = None
        self._looked_s = 0.0
        self._error = ""
        self._told = False

    def begin(self, error: str) -> None:
        """Somebody could not reach it."""
        if self._since_s is None and self._store is not None:
            self._since_s = self._looked_s = self._time_s()
        self._error = error

    def look(self) -> Gone | Returned | None:
        """Ask it, if that is due; what is to be told."""
        if self._since_s is None or self._store is None or self.due_s():
            return None
        now_s = self._looked_s = self._time_s()
        away_s = now_s - self._since_s
        try:
            self._store.balances(["models/"])
        except StoreError as error:
            self._error = str(error)
            if away_s < LONG_S or self._told:
                return None
            self._told = True
            return Gone(self._error)
        told, self._told, self._since_s = self._told, False, None
        return Returned(away_s) if told else None

    def due_s(self) -> float | None:
        """In how many seconds it is to be asked; `None`: not at all, or 0.0: now."""
        if self._since_s is None:
            return None
        return max(self._looked_s + LOOK_S - self._time_s(), 0.0)

    def forget(self) -> None:
        """Know nothing of it."""
        self._since_s, self._told = None, False
