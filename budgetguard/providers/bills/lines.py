"""
A bill as plain rows: what its lines cost, and what was used by the provider's own count.

Amounts are whole billionths of a nano-dollar until they are added up: providers state more digits than nano-dollars
have, and are rounded once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from ...calls import Usage

ATTO_PER_NANO = 10**9
"""What amounts of a bill are counted in: 1e-18 dollars."""

BillDay: TypeAlias = str
"""A day of UTC: "2026-10-31"."""


@dataclass(frozen=True, slots=True)
class BillLine:
    """One line of a bill: what something cost on a day."""

    day: BillDay
    item: str
    """As the provider calls it."""
    atto: int
    """1e-18 dollars."""
    model: str = ""
    """The model whose tokens these are; "": a tool, a fee, or a line that names nothing."""
    project: str = ""
    """The project or workspace, as its id; "": the default one, or not said."""


@dataclass(frozen=True, slots=True)
class BillUsage:
    """What was used of a model on a day, by the provider's own count."""

    day: BillDay
    model: str
    usage: Usage
    calls: int = 0
    """Requests; 0: the provider does not say."""
    tier: str = ""
    """The service tier, as the provider calls it; "" and "standard" alike: the standard one."""
    long: bool = False
    """Whether these are the tokens of calls with a long context, which has prices of its own."""
    project: str = ""


BillRow: TypeAlias = BillLine | BillUsage


@dataclass(frozen=True, slots=True)
class ProviderBill:
    """All rows of a time."""

    lines: tuple[BillLine, ...] = ()
    used: tuple[BillUsage, ...] = ()
    notes: tuple[str, ...] = ()
    """What stands on it beside these, a sentence each."""


@dataclass(frozen=True, slots=True)
class BillRequest:
    """One list that is asked for, page by page."""

    path: str
    params: tuple[tuple[str, str], ...]
    read: Callable[[Any], Iterator[BillRow]]
    """A page as rows; raises `BillError` for one that is not as documented."""
    note: Callable[[Any], str] = field(default=lambda _page: "")
    """What a page says beside its rows; "" for nothing."""


@dataclass(frozen=True, slots=True)
class BillSource:
    """A provider that tells what it bills."""

    name: str
    base: str
    """The URL before the paths of its requests."""
    keys: tuple[str, ...]
    """Variables that may have the key that is needed, the usual one first."""
    key_kind: str
    """Which key that is, and where it is made."""
    headers: Callable[[str], Mapping[str, str]]
    """What a key is sent in."""
    requests: Callable[[int, int], Sequence[BillRequest]]
    """What to ask for a time, in seconds: whole days of UTC."""
    late_h: int
    """How many hours after its end a day may not be on the bill yet."""
    unsaid: tuple[str, ...]
    """What the provider does not tell, a sentence each."""
    fold: Callable[[str], str] = str
    """A model's name as usage, costs and answers may all be read; the provider spells it differently there."""
    fees_apart: bool = True
    """Whether tools have lines of their own, beside those of the model that used them."""
    days: int | None = None
    """For how many days back it tells anything; `None`: long enough."""
