"""How long a step may take before it fails, and how a store's URL asks for other times."""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import parse_qsl

from ..errors import ConfigError

RESERVE_S = 0.25
"""How long a reserve may take, connecting included, in seconds."""

SETTLE_S = 0.5
"""How long a settle or a release may take: what does not get through is repeated later, and nobody waits for it."""

CHANGE_S = 2.0
"""How long a batch of settlements, and anything else that writes and that somebody waits for, may take."""

READ_S = 10.0
"""How long one page of a report may take, and rows of other books: nobody's call waits for them."""

LONGEST_S = 60.0
"""The longest deadline that a URL may ask for."""


class Deadlines(NamedTuple):
    """How long the steps of a call may take, in seconds."""

    reserve_s: float = RESERVE_S
    settle_s: float = SETTLE_S


def take_deadlines(query: str, otherwise: Deadlines) -> tuple[Deadlines, list[tuple[str, str]]]:
    """The deadlines that a URL's query asks for, and its other options; raises `ConfigError`."""
    said: dict[str, float] = {}
    others: list[tuple[str, str]] = []
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name in Deadlines._fields:
            said[name] = _seconds(name, value)
        else:
            others.append((name, value))
    return otherwise._replace(**said), others


def _seconds(name: str, value: str) -> float:
    try:
        seconds = float(value)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= LONGEST_S:
        raise ConfigError(f"store: {name}={value} is no time in seconds, above 0 and up to {LONGEST_S:g}")
    return seconds
