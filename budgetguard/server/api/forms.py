"""What the endpoints for people read and answer: amounts in dollars, times in ISO 8601."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from ...budgets.rules import DEFAULT_IN_FLIGHT
from .schemas import Text

PAGE = 100
MOST_PAGE = 1_000

Dollars = float | str | None
"""A number, or text such as "0.25" that is exact; null: no limit."""
Short = Annotated[str, Meta(max_length=500)]
"""A text in a query string, whose whole length is bounded, too."""
PageSize = Annotated[int, Meta(ge=1, le=MOST_PAGE)]
Enforcement = Literal["hard", "soft", "observe"]
Expiry = Literal["release", "charge"]
InFlight = Annotated[int, Meta(ge=1, le=1_000_000)]


class BudgetRule(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A budget: dollars, renewed every period ("daily", "weekly", "monthly", "yearly", "rolling 7d"; null: never)."""

    limit: Dollars
    period: Text | None = None
    timezone: Text | None = None
    enforce: Enforcement = "hard"
    on_expire: Expiry = "release"
    in_flight: InFlight = DEFAULT_IN_FLIGHT


class BudgetNew(BudgetRule, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A budget for a user who has none."""

    user: Text


class BudgetChange(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What is to change of a budget; `reset`: begin again with nothing spent."""

    limit: Dollars | UnsetType = UNSET
    period: Text | UnsetType | None = UNSET
    timezone: Text | UnsetType | None = UNSET
    enforce: Enforcement | None = None
    on_expire: Expiry | None = None
    in_flight: InFlight | None = None
    reset: bool = False


class BudgetOut(Struct, frozen=True, kw_only=True):
    """A user's budget and its books in this period."""

    user: str
    limit: float | None
    spent: float
    held: float
    left: float | None
    period: str
    timezone: str
    enforce: Enforcement
    on_expire: Expiry
    in_flight: int
    created_at: str
    updated_at: str
    resets_at: str | None
    version: int


class BudgetsPage(Struct, frozen=True):
    """Budgets; `next` is the `after` of the next page, null on the last."""

    budgets: list[BudgetOut]
    next: str | None


class PageQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """Which page."""

    after: Short | None = None
    limit: PageSize = PAGE


class UserOut(Struct, frozen=True):
    """Somebody who has a budget, or spent something."""

    user: str
    has_budget: bool
    spent: float
    calls: int


class UsersPage(Struct, frozen=True):
    """Users, by name."""

    users: list[UserOut]
    next: str | None


class EntriesQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """Which entries; `tag` is name=value and may be repeated; times are [since, until)."""

    user: Short | None = None
    model: Short | None = None
    tag: Annotated[list[Short], Meta(max_length=20)] = []
    since: Short | None = None
    until: Short | None = None
    after: Short | None = None
    limit: PageSize | None = None
    format: Literal["json", "csv"] = "json"


class EntryShown(Struct, frozen=True, kw_only=True):
    """One call."""

    hold_id: str
    at: str
    cost: float
    cost_nano: int
    user: str | None
    provider: str
    model: str
    tags: dict[str, str]
    usage: dict[str, int]
    flags: list[str]
    accounts: list[str]


class EntriesOut(Struct, frozen=True):
    """Entries, the oldest first."""

    entries: list[EntryShown]
    next: str | None


class SpendQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """How to group (`by`, may be repeated), and which entries."""

    by: Annotated[list[Annotated[str, Meta(min_length=1, max_length=500)]], Meta(max_length=20)] = []
    user: Short | None = None
    model: Short | None = None
    tag: Annotated[list[Short], Meta(max_length=20)] = []
    since: Short | None = None
    until: Short | None = None


class SpendGroup(Struct, frozen=True):
    """What one group adds up to."""

    group: dict[str, str]
    cost: float
    calls: int
    input_tokens: int
    output_tokens: int
    estimated: int


class SpendOut(Struct, frozen=True):
    """The groups, and all of them together."""

    by: list[str]
    groups: list[SpendGroup]
    cost: float
