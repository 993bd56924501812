"""What the lists show: calls, holds, refusals, cut answers, prices in use, alerts, changes, and the store's health."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from ...ledger import Millis, Unit
from ...money import Nano
from .figures import HistoryRead


@dataclass(frozen=True, slots=True)
class CallShown:
    """One call of the history."""

    id: str
    at_ms: Millis
    user: str
    tags: Mapping[str, str]
    """The user among them."""
    provider: str
    model: str
    cost: Nano
    input_tokens: int
    output_tokens: int
    usage: Mapping[str, int]
    flags: tuple[str, ...]
    """In order: "capped", "cut", "estimated", "expired", "fallback", "late", "manual", "tier", "unpriced"."""
    accounts: tuple[str, ...]
    """What it was charged to."""
    units: Mapping[Unit, int]


@dataclass(frozen=True, slots=True)
class CallsQuery:
    """Which calls: all that match every field that is set, the newest first."""

    since_ms: Millis | None = None
    until_ms: Millis | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    """ "" for calls without the tag."""
    model: str | None = None
    provider: str | None = None
    flags: frozenset[str] = frozenset()
    """Those that have all of these."""
    account: str | None = None
    """Those that were charged to an account whose key begins with this: "free/", "users/ann/"."""
    before: str | None = None
    """The `next` of the page before."""
    limit: int = 100


@dataclass(frozen=True, slots=True)
class CallsShown:
    """One page of calls."""

    rows: tuple[CallShown, ...]
    next: str | None
    """The `before` of the next page; `None`: there is none."""
    searched_ms: Millis | None = None
    """Set where a page was given out before it was full: down to this moment everything was looked at."""


@dataclass(frozen=True, slots=True)
class HoldShown:
    """Money that is set aside for a call in flight."""

    id: str
    placed_ms: Millis
    age_ms: Millis
    expires_ms: Millis
    cost: Nano
    units: Mapping[Unit, int]
    user: str
    tags: Mapping[str, str]
    provider: str
    model: str
    accounts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class HoldsShown:
    """What is held now, the oldest first."""

    rows: tuple[HoldShown, ...]
    count: int
    cost: Nano
    """Of all, those on other pages included."""


@dataclass(frozen=True, slots=True)
class RefusalShown:
    """Refusals that are alike, within a few seconds."""

    id: str
    at_ms: Millis
    last_ms: Millis
    times: int
    budget: str
    subject: str
    account: str
    unit: Unit
    user: str
    tags: Mapping[str, str]
    model: str
    provider: str
    busy: bool
    spent: int
    held: int
    limit: int | None
    wanted: int
    room: int


@dataclass(frozen=True, slots=True)
class RefusalGroup:
    """Refusals of one hour, budget, user or model, and what they would have cost at most."""

    name: str
    times: int
    cost: Nano
    busy: int


@dataclass(frozen=True, slots=True)
class RefusalsShown:
    """Refusals of a span: as groups, and the newest of them one by one."""

    by: str
    """ "hour", "day", "budget", "user", "model"."""
    groups: tuple[RefusalGroup, ...]
    rows: tuple[RefusalShown, ...]
    times: int
    cost: Nano
    next: str | None
    """The `before` of the next page of rows."""


@dataclass(frozen=True, slots=True)
class CutShown:
    """Answers of one model that ended at a cap which a budget added, of all its answers in the span."""

    model: str
    provider: str
    cut: int
    calls: int
    cost: Nano
    """Of all of these calls."""


@dataclass(frozen=True, slots=True)
class CutBudget:
    """How many of the answers that were cut are charged to a budget."""

    budget: str
    cut: int


@dataclass(frozen=True, slots=True)
class CutsShown:
    """Cut answers of a span, by model, and by budget."""

    models: tuple[CutShown, ...]
    budgets: tuple[CutBudget, ...]
    newest: tuple[CallShown, ...]
    read: HistoryRead


@dataclass(frozen=True, slots=True)
class PriceShown:
    """A model that was called lately, and what we take its price for."""

    provider: str
    model: str
    calls: int
    cost: Nano
    unpriced: int
    """How many of the calls had no known price."""
    priced: bool
    rates: tuple[tuple[str, int, Nano], ...]
    """Kind of usage, from how many input tokens on, and what a million of them cost; or one, of what is no token."""
    source: str
    """Who says so: "declared" (in a price file or program), "shipped with budgetguard", or a list with its version."""


@dataclass(frozen=True, slots=True)
class PricesShown:
    """Prices in use: models without one first, then the dearest."""

    rows: tuple[PriceShown, ...]
    days: int
    list_version: str
    """Of the installed price list."""
    read: HistoryRead


@dataclass(frozen=True, slots=True)
class AlertShown:
    """Something that somebody was told."""

    id: str
    at_ms: Millis
    what: str
    budget: str
    subject: str
    account: str
    unit: Unit
    part: float | None
    settled: int
    held: int
    limit: int | None
    text: str
    sinks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class AlertsShown:
    """Alerts, the newest first."""

    rows: tuple[AlertShown, ...]
    next: str | None


@dataclass(frozen=True, slots=True)
class ChangeShown:
    """Who changed what, when and why."""

    id: str
    at_ms: Millis
    who: str
    via: str
    what: str
    budget: str
    subject: str
    before: str
    """As JSON, as the audit has it."""
    after: str
    note: str


@dataclass(frozen=True, slots=True)
class ChangesShown:
    """Changes by hand, the newest first."""

    rows: tuple[ChangeShown, ...]
    next: str | None


HealthState: TypeAlias = Literal["ok", "warn", "bad"]


@dataclass(frozen=True, slots=True)
class HealthLine:
    """One thing that was looked at."""

    name: str
    state: HealthState
    text: str
    """What was found, a sentence; what to do, if something is to be done."""
    value: float | None = None
    """The number in it, in the unit that its name says."""


@dataclass(frozen=True, slots=True)
class HealthShown:
    """How the store, the books and the history are."""

    at_ms: Millis
    state: HealthState
    """The worst of the lines."""
    lines: tuple[HealthLine, ...]
    """round trip, journal, open holds, clock, versions, history, engine."""
