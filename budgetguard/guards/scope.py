"""
The scope of a call: who makes it, and which limits of this process it is under.

A `ContextVar` holds the innermost scope, so tasks inherit it. Threads do not, but by `carry_scope` or
`patch(threads=True)`; and a process-wide default (`process/state.py`) covers those that nobody thought of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol, TypeAlias, TypeVar

from ..budgets.said.fallbacks import Fallbacks
from ..errors import BudgetExceededError
from ..ledger import Account, Balance
from ..process.state import PROCESS
from ..process.tally import Tally

OnCut: TypeAlias = Literal["warn", "raise"]

T = TypeVar("T")

NO_TAGS: Mapping[str, str] = MappingProxyType({})


class Accountant(Protocol):
    """What a scope asks of the guard that calls in it are put to."""

    def balances(self, tags: Mapping[str, str], scope: Scope | None) -> list[tuple[Account, Balance]]:
        """Every account that a call with these tags touches now, and what it has taken."""
        ...


@dataclass(slots=True)
class Scope:
    """What holds for every call made inside: all tags and limits of the scopes around it are already in here."""

    tags: Mapping[str, str] = field(default_factory=lambda: NO_TAGS)
    tallies: tuple[Tally, ...] = ()
    """What these scopes may spend and have, the outermost first."""
    guard: Accountant | None = None
    """The guard of the context-local `BudgetManager`; `None`: the process's default."""
    wait_s: float = 0.0
    """How long a call waits for room that is only held."""
    on_cut: OnCut | None = None
    """What an answer does that ended at an output cap of ours; `None`: what the guard's settings say."""
    parent: Scope | None = None
    opened_by: object = None
    """The `budget` or `BudgetManager` that was entered."""
    passed: bool = False
    """Whether it was left out of turn, so that leaving an inner one leads past it."""
    refusals: list[BudgetExceededError] = field(default_factory=list)
    """Refusals inside, until the scope ends, so that one a framework swallowed is not lost."""
    fallbacks: tuple[Fallbacks, ...] = ()
    """What each of these scopes says of other models, in the order of their tallies; nothing if none of them does."""


current: ContextVar[Scope | None] = ContextVar("budgetguard_scope", default=None)


def scoped() -> tuple[Tally, ...]:
    """The limits of the scope that this thread is in."""
    scope = current.get()
    return () if scope is None else scope.tallies


PROCESS.around = scoped


def run_within(scope: Scope, function: Callable[..., T], /, *args: Any, **kwargs: Any) -> T:
    """Call a function in a scope."""
    token = current.set(scope)
    try:
        return function(*args, **kwargs)
    finally:
        current.reset(token)


def leave(scope: Scope) -> None:
    """
    End a scope: the one around it is the current one again.

    Left before an inner one, or in another task than it was entered in, it changes nothing here, and is passed
    over when the inner one is left.
    """
    if current.get() is not scope:
        scope.passed = True
        return
    current.set(not_left(scope.parent))


def not_left(scope: Scope | None) -> Scope | None:
    """The scope, or the nearest around it that was not left out of turn."""
    while scope is not None and scope.passed:
        scope = scope.parent
    return scope


def note_refusal(scope: Scope | None, error: BudgetExceededError) -> None:
    """Remember a refusal in the scope, and in those around it."""
    for follower in PROCESS.followers:
        follower.refused(scope, error)
    while scope is not None:
        scope.refusals[:] = [error]
        scope = scope.parent


def merge_tags(outer: Mapping[str, str], inner: Mapping[str, Any]) -> Mapping[str, str]:
    """The outer tags with the inner ones over them."""
    return MappingProxyType({**outer, **inner}) if inner else outer
