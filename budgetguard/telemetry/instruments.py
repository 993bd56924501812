"""The metrics, in rows whose number is bounded, and the tracer: made once in a process."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Final, Protocol

from opentelemetry import metrics, trace
from opentelemetry.metrics import CallbackOptions, Observation

from ..money import DOLLAR, Nano
from .attributes import Attribute, Attributes

NAME: Final = "budgetguard"
MOST_ROWS: Final = 1_000
"""Combinations of attributes that are told apart; what is beyond is "(others)"."""
OTHERS: Final = "(others)"

_TOKENS: Final = tuple(4**power for power in range(14))
"""The bounds that the conventions advise for tokens, and those for seconds."""
_SECONDS: Final = tuple(0.01 * 2**power for power in range(14))
_OWN_SECONDS: Final = (0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 2.5, 10)


class InFlight(Protocol):
    """A call that has been sent, and is not settled."""

    pid: int
    """The process whose call it is."""
    held: Nano
    row: Attributes
    """What metrics say of it."""


class Instruments:
    """What all guards of this process tell by."""

    def __init__(self) -> None:
        meter = metrics.get_meter(NAME)
        self.tracer = trace.get_tracer(NAME)
        self.tokens = meter.create_histogram(
            "gen_ai.client.token.usage",
            "{token}",
            "Number of input and output tokens used.",
            explicit_bucket_boundaries_advisory=_TOKENS,
        )
        self.duration = meter.create_histogram(
            "gen_ai.client.operation.duration",
            "s",
            "GenAI operation duration.",
            explicit_bucket_boundaries_advisory=_SECONDS,
        )
        self.cost = meter.create_counter("budgetguard.cost", "USD", "What calls cost.")
        self.refusals = meter.create_counter(
            "budgetguard.call.refusals", "{call}", "Calls that were refused, by budget and reason: nothing was sent."
        )
        self.guard = meter.create_histogram(
            "budgetguard.guard.duration",
            "s",
            "What the guard adds to a call: before it is sent, and after its answer.",
            explicit_bucket_boundaries_advisory=_OWN_SECONDS,
        )
        meter.create_observable_up_down_counter(
            "budgetguard.holds", [self._holds], "{call}", "Calls of this process in flight."
        )
        meter.create_observable_up_down_counter(
            "budgetguard.held", [self._held], "USD", "What is held for calls of this process in flight."
        )
        self.open: dict[int, InFlight] = {}
        """The calls in flight."""
        self._rows: set[tuple[Attribute, ...]] = set()

    def row(self, said: Attributes) -> Attributes:
        """These attributes, or what stands for all that came after too many others."""
        row = tuple(said.values())
        if row in self._rows:
            return said
        if len(self._rows) >= MOST_ROWS:
            return dict.fromkeys(said, OTHERS)
        self._rows.add(row)
        return said

    def _holds(self, _options: CallbackOptions) -> Iterable[Observation]:
        return _observed({row: float(count) for row, count in Counter(map(_row, self._living())).items()})

    def _held(self, _options: CallbackOptions) -> Iterable[Observation]:
        sums: Counter[tuple[tuple[str, Attribute], ...]] = Counter()
        for each in self._living():
            sums[_row(each)] += each.held
        return _observed({row: nano / DOLLAR for row, nano in sums.items()})

    def _living(self) -> list[InFlight]:
        """Those of this process: a forked child knows its parent's."""
        pid = os.getpid()
        return [each for each in list(self.open.values()) if each.pid == pid]


def _row(call: InFlight) -> tuple[tuple[str, Attribute], ...]:
    return tuple(call.row.items())


def _observed(found: Mapping[tuple[tuple[str, Attribute], ...], float]) -> list[Observation]:
    return [Observation(amount, dict(row)) for row, amount in found.items()]


@cache
def instruments() -> Instruments:
    """Those of this process."""
    return Instruments()
