"""What is told to whom: the sinks, and the alerts that are turned off."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, get_args

from ..budgets.said.checks import require_choice
from ..errors import ConfigError
from .alert import What
from .sinks.base import Called, Sink

WHATS: Final = tuple(what for what in get_args(What) if what != "test")


@dataclass(frozen=True, slots=True)
class Alerts:
    """
    Who is told, and of what.

    * `sinks`: a `Webhook`, an `Email`, a `Log`, or a function that takes an `Alert`; none: the log.
    * `off`: what is not told: "threshold", "refusals", "spike", "forecast", "unpriced", "away".

    Raises `ConfigError` for anything else.
    """

    sinks: Sequence[Any] = ()
    off: Iterable[str] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        if isinstance(self.sinks, str) or not isinstance(self.sinks, Sequence):
            kind = type(self.sinks).__name__  # what it says may be a secret
            raise ConfigError(f"alerts: a sequence of sinks is needed, such as [Webhook('https://...')], and no {kind}")
        if isinstance(self.off, str) or not isinstance(self.off, Iterable):
            raise ConfigError(f"off={self.off!r}: a list is needed, such as ['spike']")
        object.__setattr__(self, "sinks", tuple(_sink(each) for each in self.sinks))
        object.__setattr__(self, "off", frozenset(require_choice(each, WHATS, "off") for each in self.off))

    @classmethod
    def of(cls, given: Alerts | Sequence[Any]) -> Alerts:
        """Those, or all of what these sinks are told."""
        return given if isinstance(given, Alerts) else cls(given)

    @property
    def configured(self) -> bool:
        """Whether somebody said where alerts go."""
        return bool(self.sinks)


def _sink(given: object) -> Sink:
    if isinstance(given, Sink):
        return given
    if callable(given):
        return Called(given)
    kind = type(given).__name__
    raise ConfigError(f"alerts: a {kind} is no sink: a Webhook, an Email or a function that takes an alert is needed")
