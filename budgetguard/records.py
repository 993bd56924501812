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
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .budgets import UserBudget, require_text, unescape
from .errors import ConfigError
from .money import DOLLAR, parse_dollars

if TYPE_CHECKING:
    from .manager import BudgetManager

_DAYS = {"daily": 1, "weekly": 7, "monthly": 28, "yearly": 365}
_PERIODS = {days: name for name, days in _DAYS.items()}
_DAY_MS = 86_400_000


class UserDict(Mapping[str, dict[str, Any]]):
    """Every user's record by name, read from the store on each look."""

    def __init__(self, manager: BudgetManager) -> None:
        self._manager = manager

    def __getitem__(self, user: str) -> dict[str, Any]:
        return record(self._manager, self._manager.budget_of(user))

    def __iter__(self) -> Iterator[str]:
        return iter(self._manager.get_users())

    def __len__(self) -> int:
        return len(self._manager.get_users())

    def __contains__(self, user: object) -> bool:
        return isinstance(user, str) and self._manager.is_valid_user(user)

    def __repr__(self) -> str:
        return repr(dict(self))


def record(manager: BudgetManager, own: UserBudget) -> dict[str, Any]:
    """One user's record; like LiteLLM's, it has times only with a duration, and costs only with some spent."""
    limit = own.rule.limit
    made: dict[str, Any] = {"total_budget": float("inf") if limit is None else limit / DOLLAR}
    days = _days(own)
    if days is not None:
        made |= {"duration": days, "created_at": own.created_s, "last_updated_at": own.updated_s}
    spent = manager.spent(own)
    if spent:
        made |= {"current_cost": spent / DOLLAR, "model_cost": model_costs(manager, own)}
    return made


def model_costs(manager: BudgetManager, own: UserBudget) -> dict[str, float]:
    """What the user spent in this period on each model, in dollars."""
    costs: dict[str, float] = {}
    for prefix in own.model_prefixes(manager.guard.now_ms()):
        for balance in manager.store.accounts(prefix):
            model = unescape(balance.key.removeprefix(prefix))
            costs[model] = costs.get(model, 0.0) + balance.settled / DOLLAR
    return costs


def import_file(manager: BudgetManager, path: str | os.PathLike[str]) -> int:
    """Read a whole `user_cost.json`, check it, and only then take its users over. Doing it again changes nothing."""
    users = {user: _checked(path, user, raw) for user, raw in _load(path).items()}
    for user, raw in users.items():
        manager.set_budget(user, raw["total_budget"], raw["period"], created_at=raw["created_at"])
        own = manager.budget_of(user)
        for model, dollars in raw["model_cost"].items():
            cost = parse_dollars(dollars, name=f"{user}: model_cost[{model!r}]")
            manager.book(own, cost, model=model, usage={}, hold_id=_import_id(user, model, cost, raw))
    return len(users)


def export_file(manager: BudgetManager, path: str | os.PathLike[str]) -> int:
    """Write the users as a `user_cost.json`: whole, or not at all."""
    users = dict(manager.user_dict)
    target = Path(path)
    try:
        with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=target.parent, delete=False) as file:
            json.dump(users, file, indent=4)
        os.replace(file.name, target)
    except OSError as error:
        raise ConfigError(f"{target}: cannot be written ({error.strerror}): give another file") from error
    return len(users)


def _days(own: UserBudget) -> int | None:
    rolling = own.rule.period.rolling_ms
    if rolling is not None:
        return max(rolling // _DAY_MS, 1)
    return _DAYS.get(own.rule.period.name)


def _load(path: str | os.PathLike[str]) -> dict[str, Any]:
    try:
        data = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as a LiteLLM user_cost.json ({error})") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: a LiteLLM user_cost.json is an object of users")
    return data


def _checked(path: str | os.PathLike[str], user: str, raw: Any) -> dict[str, Any]:
    where = f"{path}: user {user!r}"
    require_text(user, f"{path}: user")
    if not isinstance(raw, dict) or "total_budget" not in raw:
        raise ConfigError(f"{where}: a record with total_budget is needed")
    parse_dollars(raw["total_budget"], name=f"{where}: total_budget")
    days = raw.get("duration")
    if days is not None and (isinstance(days, bool) or not isinstance(days, int) or days < 1):
        raise ConfigError(f"{where}: duration={days!r}: a number of days is needed")
    models = raw.get("model_cost") or {}
    if not isinstance(models, dict):
        raise ConfigError(f"{where}: model_cost={models!r}: an object of models is needed")
    known = sum(parse_dollars(cost, name=f"{where}: model_cost[{model!r}]") for model, cost in models.items())
    total = parse_dollars(raw.get("current_cost", 0), name=f"{where}: current_cost")
    if total > known:
        models = {**models, "(imported)": (total - known) / DOLLAR}
    period = None if days is None else _PERIODS.get(days, f"rolling {days}d")
    return {
        "total_budget": raw["total_budget"],
        "period": period,
        "created_at": raw.get("created_at"),
        "updated_at": raw.get("last_updated_at"),
        "model_cost": models,
    }


def _import_id(user: str, model: str, cost: int, raw: Mapping[str, Any]) -> str:
    """The id of an imported cost: the same for the same record, so that importing it again changes nothing."""
    text = json.dumps([user, model, cost, raw["created_at"], raw["updated_at"]])
    return hashlib.sha256(text.encode()).hexdigest()[:32]
