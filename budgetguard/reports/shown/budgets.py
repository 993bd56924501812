"""What the views of budgets show: every rule, subject and user with their books, and one subject's way through them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from ...budgets.steering.states import Condition
from ...ledger import Enforce, Millis, Unit
from .figures import Figures, Forecast, GroupShown, HistoryRead, Stacked
from .lists import CallsShown, ChangeShown, RefusalShown


@dataclass(frozen=True, slots=True)
class BudgetShown:
    """One account that limits somebody now: a budget, a subject, a period."""

    budget: str
    """The name of the rule; "users" for a user's own."""
    subject: str
    """As account keys have it: escaped values, by commas; "" if the budget is for all."""
    who: Mapping[str, str]
    """The tags that the subject is made of."""
    own: bool
    """Whether it is a user's own budget, kept in the store, rather than a rule's."""
    account: str
    """The key of its account."""
    unit: Unit
    enforce: Enforce
    limit: int | None
    """As it holds now; `None`: counted only."""
    rule_limit: int | None
    """As the rule has it, before what was changed by hand."""
    spent: int
    held: int
    left: int | None
    state: Condition
    period: str
    zone: str
    start_ms: Millis | None
    end_ms: Millis | None
    resets_ms: Millis | None
    """When it has room again."""
    forecast: Forecast | None = None
    """`None` for periods without an end, rolling ones, and calls at once."""
    by: str = ""
    """Who changed it last by hand, and why."""
    note: str = ""

    @property
    def used(self) -> float | None:
        """The part of the limit that is spent or held."""
        if self.limit is None:
            return None
        return (self.spent + self.held) / self.limit if self.limit else 1.0


BudgetOrder: TypeAlias = Literal["name", "used", "spent", "left", "resets"]


@dataclass(frozen=True, slots=True)
class BudgetsQuery:
    """Which budgets, and which page of them."""

    search: str = ""
    """In the name of the budget or of its subject, upper and lower case alike."""
    states: frozenset[Condition] = frozenset()
    """None: all."""
    budget: str | None = None
    order: BudgetOrder = "used"
    descending: bool = True
    offset: int = 0
    limit: int = 50


@dataclass(frozen=True, slots=True)
class BudgetsShown:
    """One page of budgets."""

    query: BudgetsQuery
    rows: tuple[BudgetShown, ...]
    count: int
    """How many match."""
    states: Mapping[str, int]
    """How many of those that match, whatever their state, are in which."""
    read: HistoryRead


@dataclass(frozen=True, slots=True)
class SubjectShown:
    """
    All of one subject: the budgets that its calls touch, in the order in which they are asked.

    The arithmetic of a refusal is in the row of the budget that says no: limit - spent - held = left.
    """

    tag: str
    value: str
    budgets: tuple[BudgetShown, ...]
    """A hundred at most: of others, such as the users of a team, those that are used most."""
    refusing: BudgetShown | None
    """The first of them that has no room for a call."""
    month: Figures
    last_month: Figures
    by_day: Stacked
    """Thirty days, by model."""
    models: tuple[GroupShown, ...]
    tags: Mapping[str, tuple[GroupShown, ...]]
    """The dearest values of each other tag that its calls have."""
    calls: CallsShown
    refusals: tuple[RefusalShown, ...]
    changes: tuple[ChangeShown, ...]
    read: HistoryRead
