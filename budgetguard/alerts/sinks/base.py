"""What a sink is; a function as one; and the log, which is what there is where nothing is configured."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias, runtime_checkable

from ...errors import ConfigError
from ..alert import Alert

log = logging.getLogger("budgetguard")

LAST_S: Final = 1.0
"""How long a sink may wait for an answer when the process ends."""

_LONGEST_S: Final = 3600.0


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


@runtime_checkable
class LastSink(Protocol):
    """A sink that can be brief: where no thread begins any more, the end of the process waits for it."""

    def send_last(self, alert: Alert) -> None:
        """Have it told by one attempt, within `LAST_S` or so; raises if that fails."""
        ...


Hears: TypeAlias = Callable[[Alert], Any]
"""A function that is called with each alert."""


def require_timeout(timeout_s: object) -> None:
    """A number of seconds, or `ConfigError`."""
    if isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0 < timeout_s < _LONGEST_S:
        raise ConfigError(f"timeout_s={timeout_s!r}: a number of seconds is needed, such as 10")


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
