"""A clock that stands still, so that tests never sleep."""

from __future__ import annotations

START_S = 1_798_804_800.0
"""Where a `StoppedClock` stands unless told otherwise: 2027-01-01T12:00:00Z."""


class StoppedClock:
    """
    A clock to pass as `clock=`: it shows the same time, in seconds since the epoch, until it is moved.

    Stores round to whole milliseconds; so does this clock, in order that adding steps up gives round numbers.
    """

    def __init__(self, start_s: float = START_S) -> None:
        self._ms = round(start_s * 1000)

    def __call__(self) -> float:
        """The time it shows, in seconds since the epoch."""
        return self._ms / 1000

    def advance(self, seconds: float) -> None:
        """Move on by some seconds; back, if they are negative."""
        self._ms += round(seconds * 1000)

    def set(self, seconds: float) -> None:
        """Show another time, in seconds since the epoch."""
        self._ms = round(seconds * 1000)
