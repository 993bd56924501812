"""The scope that a task runs in: what it brought along, inside of what was stated where its queue is set up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeAlias, TypeVar

from ...errors import BudgetExceededError, UnpricedModelError, find_budget_error
from ...ledger import Enforce
from ...money import Money, parse_dollars
from ...scopes.context import budget
from .baggage import log, read_header

T = TypeVar("T")
V = TypeVar("V")

Dollars: TypeAlias = Money | float | str | None
PerTask: TypeAlias = V | Callable[[T], V]
"""A value, or a function that gives it for a task."""

FINAL = (BudgetExceededError, UnpricedModelError)
"""Refusals: what is refused now is refused again, so a task that they end is not tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskOptions(Generic[T]):
    """
    What holds for every task of a queue; each a value, or a function of the task that gives it.

    * `user`, `tags`: of tasks that bring none along, such as those that a scheduler sends.
    * `limit`: dollars that one task may cost, all of its attempts together.
    * `enforce`, `wait`: as in `budget(...)`.

    Raises `ConfigError` at once for values that `budget` refuses.
    """

    user: PerTask[str | None, T] = None
    limit: PerTask[Dollars, T] = None
    tags: PerTask[Mapping[str, str] | None, T] = None
    enforce: Enforce = "hard"
    wait: float = 0.0

    def __post_init__(self) -> None:
        plain = {name: getattr(self, name) for name in ("user", "limit", "tags") if not callable(getattr(self, name))}
        budget(**plain, enforce=self.enforce, wait=self.wait)

    def scope(self, task: T, header: object, *, module: str, limit: Dollars = None) -> budget:
        """
        The scope of one attempt at a task whose code is in `module`; `limit` is what the task itself states.

        What the task brought along wins over what is stated. Raises `ConfigError` for what `budget` refuses.
        """
        carried = read_header(header)
        tags = {**(_of(self.tags, task) or {}), **carried.tags}
        if "user" not in tags and (user := _of(self.user, task)) is not None:
            tags["user"] = user
        most = _of(self.limit, task) if limit is None else limit
        if most is not None:
            most = Money(max(parse_dollars(most, name="limit") - carried.spent, 0))
        return budget(limit=most, tags=tags, enforce=self.enforce, wait=self.wait).of_package(module)


def is_final(error: BaseException | None) -> bool:
    """Whether an error is a refusal, or wraps one: it makes no sense to try again."""
    return isinstance(error, UnpricedModelError) or find_budget_error(error) is not None


def leave_scope(scope: budget, name: str, error: object) -> None:
    """
    Leave the scope of a task that has ended, with an error perhaps. Raises nothing: its result is on its way.

    A refusal that a package swallowed inside can only be said here.
    """
    try:
        scope.__exit__(None, None, None)
    except BudgetExceededError as refusal:
        if not isinstance(error, BaseException):
            log.warning("%s ended well, but a package inside swallowed a refusal: %s", name, refusal)


def _of(stated: Any, task: Any) -> Any:
    return stated(task) if callable(stated) else stated
