"""`/v1/budgets`: who may spend how much, and what is left of it."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from ....budgets.rules import Budget, UserBudget, user_rule
from ....budgets.steering.states import Condition
from ....budgets.users import Standing, Users
from ....errors import ConfigError
from ....ledger import Unit
from ....money import Money
from ...keys import ADMIN
from ...problems import Refused
from ..action import Action, Ask
from ..schemas import Done
from ..wire import Text
from .fields import READERS, PageQuery, author_of, figure, iso

Limit = float | str | None
"""A number, or text such as "0.25" that is exact; null: no limit."""
Enforcement = Literal["hard", "soft", "observe"]
Expiry = Literal["release", "charge"]
InFlight = Annotated[int, Meta(ge=1, le=1_000_000)]
Parts = Annotated[list[Annotated[float, Meta(gt=0, le=1)]], Meta(max_length=20)]
"""Of a limit, at which somebody is told."""


class BudgetRule(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """
    A budget: dollars, or a whole number of another unit, renewed every period ("daily", "weekly", "monthly", "yearly",
    "rolling 7d"; null: never).
    """

    limit: Limit
    unit: Unit = "dollars"
    period: Text | None = None
    timezone: Text | None = None
    enforce: Enforcement = "hard"
    on_expire: Expiry = "release"
    in_flight: InFlight | None = None
    warn_at: Parts = []


class BudgetNew(BudgetRule, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A budget for a user who has none."""

    user: Text


class BudgetChange(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """What is to change of a budget; another unit needs a limit in it. `reset`: begin again with nothing spent."""

    limit: Limit | UnsetType = UNSET
    unit: Unit | None = None
    period: Text | UnsetType | None = UNSET
    timezone: Text | UnsetType | None = UNSET
    enforce: Enforcement | None = None
    on_expire: Expiry | None = None
    in_flight: InFlight | UnsetType | None = UNSET
    warn_at: Parts | UnsetType = UNSET
    reset: bool = False


class BudgetOut(Struct, frozen=True, kw_only=True):
    """
    A user's budget and its books in this period, amounts in its unit. `limit_now` is the limit as people changed it
    since; what is left is of that.
    """

    user: str
    unit: Unit
    limit: float | None
    limit_now: float | None
    spent: float
    held: float
    left: float | None
    state: Condition
    period: str
    timezone: str
    enforce: Enforcement
    on_expire: Expiry
    in_flight: int | None
    warn_at: list[float]
    created_at: str
    updated_at: str
    resets_at: str | None
    version: int


class BudgetsPage(Struct, frozen=True):
    """Budgets; `next` is the `after` of the next page, null on the last."""

    budgets: list[BudgetOut]
    next: str | None


def list_budgets(ask: Ask) -> BudgetsPage:
    """Every user's budget, by name, page by page."""
    asked: PageQuery = ask.query
    found = list(islice(ask.project.users.all(after=asked.after), asked.limit))
    last = found[-1].user if len(found) == asked.limit else None
    now_ms = ask.project.store.now_ms()
    return BudgetsPage([_shown(each) for each in ask.project.users.standings(found, now_ms)], last)


def create_budget(ask: Ask) -> BudgetOut:
    """Give a user a budget; 409 if they have one."""
    user = ask.body.user
    own = _users(ask).add(user, _rule(ask.body))
    if own is None:
        told = f"user {user!r} has a budget already: change it with PATCH or PUT"
        raise Refused(409, told, code="exists", param="user")
    return _standing(ask, own)


def read_budget(ask: Ask) -> BudgetOut:
    """One user's budget and what is left of it."""
    return _standing(ask, ask.project.users.get(ask.rest))


def replace_budget(ask: Ask) -> BudgetOut:
    """Give a user this budget, whether they had one or not; the spend stays."""
    return _standing(ask, _users(ask).put(ask.rest, _rule(ask.body)))


def change_budget(ask: Ask) -> BudgetOut:
    """Change what is named, and leave the rest; `reset` begins the period again with nothing spent."""
    said: BudgetChange = ask.body

    def changed(own: UserBudget) -> UserBudget:
        now_s = ask.project.clock()
        made = replace(own.ruled(_changed(own.rule, said)), updated_s=now_s)
        return made.renewed(now_s) if said.reset else made

    return _standing(ask, _users(ask).change(ask.rest, changed))


def delete_budget(ask: Ask) -> Done:
    """Take a user's budget away; the history stays."""
    _users(ask).remove(ask.rest)
    return Done()


def _users(ask: Ask) -> Users:
    """The project's, changed by whoever asks."""
    return ask.project.users.by(author_of(ask.caller))


def _rule(said: BudgetRule) -> Budget:
    return user_rule(
        said.limit,
        said.period,
        enforce=said.enforce,
        on_expire=said.on_expire,
        in_flight=said.in_flight,
        timezone=said.timezone,
        unit=said.unit,
        warn_at=said.warn_at,
    )


def _changed(rule: Budget, said: BudgetChange) -> Budget:
    """The rule with what was named; a time zone alone keeps the period's length."""
    unit = said.unit or rule.unit
    if unit != rule.unit and isinstance(said.limit, UnsetType):
        raise ConfigError(f"unit={unit!r}: say the limit in it, too")
    limit = Money(rule.limit) if rule.unit == "dollars" and rule.limit is not None else rule.limit
    return user_rule(
        said.limit if not isinstance(said.limit, UnsetType) else limit,
        said.period if not isinstance(said.period, UnsetType) else rule.period.name,
        timezone=said.timezone if not isinstance(said.timezone, UnsetType) else rule.period.timezone,
        enforce=said.enforce or rule.enforce,
        on_expire=said.on_expire or rule.on_expire,
        in_flight=said.in_flight if not isinstance(said.in_flight, UnsetType) else rule.in_flight,
        unit=unit,
        warn_at=said.warn_at if not isinstance(said.warn_at, UnsetType) else rule.warn_at,
    )


def _standing(ask: Ask, own: UserBudget) -> BudgetOut:
    return _shown(ask.project.users.standing(own, ask.project.store.now_ms()))


def _shown(standing: Standing) -> BudgetOut:
    own, rule = standing.budget, standing.budget.rule
    return BudgetOut(
        user=own.user,
        unit=rule.unit,
        limit=None if rule.limit is None else figure(rule.limit, rule.unit),
        limit_now=None if standing.limit is None else figure(standing.limit, rule.unit),
        spent=figure(standing.spent, rule.unit),
        held=figure(standing.held, rule.unit),
        left=None if standing.left is None else figure(standing.left, rule.unit),
        state=standing.state,
        period=rule.period.name,
        timezone=rule.period.timezone,
        enforce=rule.enforce,
        on_expire=rule.on_expire,
        in_flight=rule.in_flight,
        warn_at=list(rule.warn_at),
        created_at=iso(round(own.created_s * 1000)),
        updated_at=iso(round(own.updated_s * 1000)),
        resets_at=None if standing.resets_ms is None else iso(standing.resets_ms),
        version=own.version,
    )


_ADMIN = frozenset({ADMIN})

ENDPOINTS = [
    Action("GET", "/v1/budgets", list_budgets, BudgetsPage, READERS, query=PageQuery, slow=True),
    Action("POST", "/v1/budgets", create_budget, BudgetOut, _ADMIN, BudgetNew, status=201, statuses=(409,)),
    Action("GET", "/v1/budgets/{user:path}", read_budget, BudgetOut, READERS, statuses=(404,)),
    Action("PUT", "/v1/budgets/{user:path}", replace_budget, BudgetOut, _ADMIN, BudgetRule),
    Action("PATCH", "/v1/budgets/{user:path}", change_budget, BudgetOut, _ADMIN, BudgetChange, statuses=(404, 409)),
    Action("DELETE", "/v1/budgets/{user:path}", delete_budget, Done, _ADMIN, statuses=(404,)),
]
