"""What a sink is; a function as one; and the log, which is what there is where nothing is configured."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

from ..alert import Alert

log = logging.getLogger("budgetguard")


@runtime_checkable
class Sink(Protocol):
    """Somewhere alerts go."""

    @property
    def name(self) -> str:
        """What it is called in records and in the log: without any secret."""
        ...

    def send(self, alert: Alert) -> None:
        """Have it told; raises if that fails for good. It may block."""
        ...


Hears: TypeAlias = Callable[[Alert], Any]
"""A function that is called with each alert."""


@dataclass(frozen=True, slots=True)
class Called:
    """A function of the program."""

    function: Hears

    @property
    def name(self) -> str:
        """The function's."""
        return str(getattr(self.function, "__qualname__", type(self.function).__qualname__))

    def send(self, alert: Alert) -> None:
        """Call it."""
        self.function(alert)


@dataclass(frozen=True, slots=True)
class Log:
    """One line in the log for each alert, at the level of a warning."""

    name: str = "log"

    def send(self, alert: Alert) -> None:
        """Log it."""
        log.warning("%s", alert.text)
