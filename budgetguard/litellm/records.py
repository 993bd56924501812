"""
LiteLLM's records of users: dicts of dollars, and the file `user_cost.json`.

    {"ann": {"total_budget": 10, "duration": 28, "created_at": 1.7e9, "last_updated_at": 1.7e9,
             "current_cost": 0.02, "model_cost": {"gpt-4o": 0.02}}}

`duration` counts days there: 1, 7, 28 and 365 are its daily, weekly, monthly
and yearly; any other number of days is a rolling period here.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

from ..budgets.periods import Period
from ..budgets.rules import Budget, UserBudget, user_rule
from ..budgets.said.checks import require_moment, require_text
from ..budgets.users import Users
from ..errors import ConfigError
from ..ledger import Millis
from ..money import DOLLAR, Money, Nano, parse_dollars

_DAYS = {"daily": 1, "weekly": 7, "monthly": 28, "yearly": 365}
_PERIODS = {days: name for name, days in _DAYS.items()}
_DAY_MS = 86_400_000
_EXACT_DIGITS = 12
"""Of a sum of floats in dollars, up to $1,000: as far as that, it is what was added."""


class UserDict(Mapping[str, dict[str, Any]]):
    """Every user's record by name, read from the store on each look."""

    def __init__(self, users: Users) -> None:
        self._users = users

    def __getitem__(self, user: str) -> dict[str, Any]:
        return records(self._users, [self._users.get(user)], self._users.coverage.now_ms())[user]

    def __iter__(self) -> Iterator[str]:
        return (own.user for own in self._users.all())

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __contains__(self, user: object) -> bool:
        return isinstance(user, str) and self._users.find(user) is not None

    def __repr__(self) -> str:
        return repr(dict(self))


def records(users: Users, budgets: Collection[UserBudget], now_ms: Millis) -> dict[str, dict[str, Any]]:
    """The records of users by name, of what the store says now."""
    standings = users.standings(budgets, now_ms)  # before the models: what no model accounts for looks imported
    costs = users.spent_by_model(budgets, now_ms)
    return {
        own.user: _record(own, now_ms, each.spent, costs[own.user])
        for own, each in zip(budgets, standings, strict=True)
    }


def _record(own: UserBudget, now_ms: Millis, spent: int, costs: Mapping[str, Nano]) -> dict[str, Any]:
    """
    A record of what was spent in this period, in all and on each model.

    Like LiteLLM's, it has times only with a duration, and costs only once there were some. One that does not count
    dollars says its `unit`, in which the budget and the cost then are, while those of models are dollars.
    """
    limit, unit = own.rule.limit, own.rule.unit
    scale = DOLLAR if unit == "dollars" else 1
    made: dict[str, Any] = {"total_budget": float("inf") if limit is None else limit / scale}
    if unit != "dollars":
        made["unit"] = unit
    start_s = (own.rule.window(now_ms).start_ms or 0) / 1000
    length = days(own.rule)
    if length is not None:
        renewed_s = max(own.updated_s, start_s) if own.rule.period.rolling_ms is None else own.updated_s
        made |= {"duration": length, "created_at": own.created_s, "last_updated_at": renewed_s}
    begun = start_s > 0 and start_s >= own.updated_s
    if spent or own.epoch or begun:  # zeros after a reset, by hand or by the calendar
        made |= {
            "current_cost": spent / scale,
            "model_cost": {model: nano / DOLLAR for model, nano in costs.items()},
        }
    return made


def import_file(users: Users, path: str | os.PathLike[str]) -> int:
    """
    Read a whole `user_cost.json`, check it, and only then take its users over.

    Doing it again changes nothing; a file that grew in the meantime adds what is new in it.
    """
    found = {user: read_record(f"{path}: user {user!r}", user, raw) for user, raw in _load(path).items()}
    for user, record in found.items():
        own = users.put(user, record.rule(), created_s=record.created_at)
        for model, cost in record.model_cost.items():
            users.book_rest(own, cost, model=model, hold_id=_bookings(own, model, record))
    return len(found)


def export_file(users: Users, path: str | os.PathLike[str]) -> int:
    """Write the users whose budget is in dollars as a `user_cost.json`: whole, or not at all."""
    found = records(users, list(in_dollars(users.all())), users.coverage.now_ms())
    target = Path(path)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent) as beside:
            whole = Path(beside, target.name)
            whole.write_text(json.dumps(found, indent=4), "utf-8")
            whole.replace(target)
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written ({error.strerror}): give another file") from error
    return len(found)


def in_dollars(budgets: Iterable[UserBudget]) -> Iterator[UserBudget]:
    """Those that LiteLLM can know of."""
    return (own for own in budgets if own.rule.unit == "dollars")


def require_dollars(own: UserBudget) -> None:
    """Raise `ConfigError` for a budget that LiteLLM cannot know of."""
    if own.rule.unit != "dollars":
        raise ConfigError(
            f"user={own.user!r}, unit={own.rule.unit!r}: LiteLLM's two endpoints keep budgets in dollars only; use a "
            "server of budgetguard (`budgetguard serve`)"
        )


def days(rule: Budget) -> int | None:
    """The period of a budget as LiteLLM has it; `None`: it never renews."""
    rolling = rule.period.rolling_ms
    if rolling is not None:
        return max(rolling // _DAY_MS, 1)
    return _DAYS.get(rule.period.name)


def _load(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        data = json.loads(Path(path).read_text("utf-8-sig"))  # editors on Windows put a byte order mark before it
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as a LiteLLM user_cost.json ({error})") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a LiteLLM user_cost.json is an object of users")
    return data


@dataclass(frozen=True, slots=True)
class UserRecord:
    """One user's record, found to be in order."""

    total_budget: Money | None
    days: int | None
    period: str | None
    created_at: float | None
    last_updated_at: float | None
    model_cost: Mapping[str, Nano]

    def rule(self, before: Budget | None = None) -> Budget:
        """The budget that it says; what LiteLLM does not know of is as `before`."""
        if before is None:
            return user_rule(self.total_budget, self.period)
        return user_rule(
            self.total_budget,
            self.period,
            timezone=before.period.timezone,
            enforce=before.enforce,
            on_expire=before.on_expire,
            in_flight=before.in_flight,
            warn_at=() if self.total_budget is None else before.warn_at,
        )


def read_record(where: str, user: str, raw: Any) -> UserRecord:
    """Check one user's record; raises `ConfigError` that says where it is and what is wrong with it."""
    require_text(user, where)
    if not isinstance(raw, dict) or "total_budget" not in raw:
        raise ConfigError(f"{where}: a record with total_budget is needed")
    limit = raw["total_budget"]
    length = raw.get("duration")
    if length is not None and (isinstance(length, bool) or not isinstance(length, int) or length < 1):
        raise ConfigError(f"{where}: duration={length!r}: a number of days is needed")
    period = None if length is None else _PERIODS.get(length, f"rolling {length}d")
    Period.parse(period, name=f"{where}: duration")
    return UserRecord(
        # LiteLLM writes a user without a limit as Infinity.
        None if limit == float("inf") else Money(parse_dollars(limit, name=f"{where}: total_budget")),
        length,
        period,
        _moment(raw, "created_at", where),
        _moment(raw, "last_updated_at", where),
        _model_cost(raw, where),
    )


def _moment(raw: Mapping[str, Any], name: str, where: str) -> float | None:
    value = raw.get(name)
    return None if value is None else require_moment(value, f"{where}: {name}")


def _model_cost(raw: Mapping[str, Any], where: str) -> Mapping[str, Nano]:
    models = raw.get("model_cost") or {}
    if not isinstance(models, dict):
        raise ConfigError(f"{where}: model_cost={models!r}: an object of models is needed")
    costs = {model: _sum_of_floats(cost, f"{where}: model_cost[{model!r}]") for model, cost in models.items()}
    total = _sum_of_floats(raw.get("current_cost", 0), f"{where}: current_cost")
    missing = total - sum(costs.values())
    return {**costs, "(imported)": missing} if missing > 1 else costs  # 1: a sum of floats, rounded up


def _sum_of_floats(cost: object, name: str) -> Nano:
    """What LiteLLM's client added up, without what floats add to it: 0.01 six times is 0.060000000000000005."""
    return parse_dollars(round(cost, _EXACT_DIGITS) if type(cost) is float else cost, name=name)


def _bookings(own: UserBudget, model: str, record: UserRecord) -> Callable[[Nano], str]:
    """The ids under which a record's cost is booked, and what a later state of the file adds to it."""
    turns = count()

    def hold_id(_booked: Nano) -> str:
        text = json.dumps([own.user, model, record.created_at, record.last_updated_at, next(turns)])
        return hashlib.sha256(text.encode()).hexdigest()[:32]

    return hold_id
