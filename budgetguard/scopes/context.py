"""
`budget(...)`: the scope of a request, a job, a script.

    with budget(user="ann", limit=0.10, tags={"feature": "search"}) as b:
        client.responses.create(model="gpt-4o-mini", input="hi")
        print(b.spent, b.remaining)

Calls inside are guarded whether or not `patch()` was called, count in this scope
and in those around it, and carry its tags.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from types import FrameType, TracebackType
from typing import Any, get_args

from ..alerts.alert import Alert
from ..alerts.scopes import ScopeHerald
from ..budgets.bars import Bar, as_html
from ..budgets.crowds import MANY
from ..budgets.news import Mark
from ..budgets.said.checks import (
    require_choice,
    require_fraction,
    require_fractions,
    require_in_flight,
    require_models,
    require_text,
)
from ..budgets.said.fallbacks import NO_FALLBACKS, Fallbacks
from ..budgets.said.words import in_our_words
from ..concurrency.locks import latch
from ..errors import BudgetExceededError, ConfigError, find_budget_error
from ..guards.scope import OnCut, Scope, current, leave, merge_tags
from ..ledger import Account, Enforce
from ..money import Money, parse_dollars
from ..process.family.file import is_first
from ..process.state import PROCESS
from ..process.tally import Tally
from ..sdks.install import default_guard, install
from .refusals import is_lost, package_of


class budget:
    """
    A scope of calls, for `with` and `async with`.

    * `user`: whose budget the calls count on; a tag like those in `tags`.
    * `limit`: dollars that the calls inside may cost together; `None` for no limit of its own.
    * `tags`: what rules match and reports group by.
    * `enforce`: "hard", "soft" or "observe", for this `limit`.
    * `wait`: seconds that a call waits for room that other calls in flight hold.
    * `in_flight`: how many calls at once should find room in `limit` when none states an output cap; by default as
      many as were lately seen.
    * `on_cut`: "raise" has an answer that ended at an output cap which was added here raise `AnswerCutError`, "warn"
      does not; by default as the scope around it, or `Settings.on_cut`.
    * `fallback`: a model, or several in order, of which the first that fits is asked where the one that was asked for
      does not, in this `limit` or in a budget that says none of its own (docs/fallbacks.md).
    * `degrade_at`: the part of this `limit` from which on the fallback is asked at once.
    * `warn_at`: parts of `limit`, such as `(0.5, 0.8, 1.0)`: when the calls inside have come to one, `on_warning` is
      called with an `Alert`, once, in a thread of its own; without it, that is logged.
    * `reraise`: on exit, raise a refusal that was swallowed inside. By default only if an installed package
      swallowed it, not if your own code did, nor a web framework, which answered it; and one that leaves wrapped in a
      package's error leaves as itself.

    It can be entered again after it was left, and goes on counting; inside of itself, or in two tasks at once, it
    cannot. Raises `ConfigError` for a limit, user or tag that is none.
    """

    @in_our_words
    def __init__(
        self,
        *,
        user: str | None = None,
        limit: Money | float | str | None = None,
        tags: Mapping[str, str] | None = None,
        enforce: Enforce = "hard",
        wait: float = 0.0,
        in_flight: int | None = None,
        on_cut: OnCut | None = None,
        fallback: str | Sequence[str] = (),
        degrade_at: float | None = None,
        reraise: bool | None = None,
        warn_at: float | Sequence[float] = (),
        on_warning: Callable[[Alert], object] | None = None,
    ) -> None:
        own = _tags(tags)
        if user is not None:
            own["user"] = require_text(user, "user")
        self._tags = own
        self._wait_s = _wait_s(wait)
        self._reraise = reraise
        self._on_cut: OnCut | None = None
        if on_cut is not None:
            self._on_cut = require_choice(on_cut, get_args(OnCut), "on_cut")  # type: ignore[assignment]  # checked by it
        self._fallbacks = _fallbacks(fallback, degrade_at, limit)
        self._scope: Scope | None = None
        self._entered = latch()
        self._home: str | None = None
        self._tally = Tally(
            Account(
                "scope//all",
                None if limit is None else parse_dollars(limit, name="limit"),
                require_choice(enforce, get_args(Enforce), "enforce"),  # type: ignore[arg-type]  # checked by it
                MANY,
            ),
            require_in_flight(in_flight),
        )
        _mark(self._tally, require_fractions(warn_at, "warn_at"), on_warning)

    def __enter__(self) -> budget:
        if not self._entered.acquire(blocking=False):
            raise ConfigError("budget(...): it is entered already: make one for each task, and for each level")
        install()
        PROCESS.scoped = True
        self._scope = self._inside(current.get())
        current.set(self._scope)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        scope = self._scope
        if scope is None or not self._entered.locked():
            raise ConfigError("budget(...): left before it was entered: use it in a `with` statement")
        leave(scope)
        self._scope = replace(scope, parent=None, opened_by=None, refusals=[])
        refusals, scope.refusals = scope.refusals, []
        self._entered.release()
        refusal = next(iter(refusals), None) if error is None else find_budget_error(error)
        if refusal is None or refusal is error or self._reraise is False:
            return
        if error is not None and (isinstance(error, ExceptionGroup) or not isinstance(error, Exception)):
            return
        if self._reraise or is_lost(refusal, self._home or _package_of_caller()):
            raise refusal from None

    async def __aenter__(self) -> budget:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    @property
    def refusal(self) -> BudgetExceededError | None:
        """The last refusal of a call inside, whoever caught it, until the scope is left."""
        return next(iter(self._scope.refusals), None) if self._scope else None

    @property
    def spent(self) -> Money:
        """What the calls inside have cost so far, those of inner scopes included."""
        return Money(self._tally.settled)

    @property
    def cut(self) -> int:
        """How many answers inside ended at an output cap that was added here, those of inner scopes included."""
        return self._tally.cut

    @property
    def fallbacks(self) -> int:
        """How many calls inside were sent to another model than their own, those of inner scopes included."""
        return self._tally.fallbacks

    @property
    def remaining(self) -> Money | None:
        """Dollars left in the tightest budget over this scope, calls in flight taken off; `None` without a limit."""
        return self._tightest()[0]

    @property
    def resets_at(self) -> datetime | None:
        """When the tightest budget in dollars over this scope begins again (aware, UTC); `None` if it never does."""
        return self._tightest()[1]

    def __repr__(self) -> str:
        return f"<budget {self._bar()}>"

    def _repr_html_(self) -> str:
        return as_html("budget", lambda: [self._bar()])

    def _bar(self) -> Bar:
        """What this scope itself has taken of its own limit; nothing is asked of a store."""
        tags = sorted(self._tags.items(), key=lambda tag: tag[0] != "user")
        whose = ", ".join(f"{name}={value!r}" for name, value in tags)
        return Bar(whose, self._tally.settled, self._tally.held, self._tally.account.limit)

    def _tightest(self) -> tuple[Money | None, datetime | None]:
        scope = self._scope or self._inside(current.get())
        rooms = [
            (account.limit - balance.settled - balance.held, account.end_ms)
            for account, balance in (scope.guard or default_guard()).balances(scope.tags, scope)
            if account.limit is not None and account.unit == "dollars"
        ]
        if not rooms:
            return None, None
        room, end_ms = min(rooms, key=lambda pair: pair[0])
        return Money(max(room, 0)), None if end_ms is None else datetime.fromtimestamp(end_ms / 1000, UTC)

    def of_package(self, module: str) -> budget:
        """Say whose code is inside, where that cannot be seen from who leaves the scope; returns itself."""
        self._home = module.partition(".")[0]
        return self

    def _inside(self, outer: Scope | None) -> Scope:
        around = outer or Scope()
        return Scope(
            tags=merge_tags(around.tags, self._tags),
            tallies=(*around.tallies, self._tally),
            guard=around.guard,
            wait_s=self._wait_s or around.wait_s,
            on_cut=self._on_cut or around.on_cut,
            fallbacks=_beside(around, self._fallbacks),
            parent=outer,
            opened_by=self,
        )


def _fallbacks(models: str | Sequence[str], degrade_at: float | None, limit: Money | float | str | None) -> Fallbacks:
    named = require_models(models, "fallback")
    if degrade_at is None:
        return Fallbacks(named) if named else NO_FALLBACKS
    part = require_fraction(degrade_at, "degrade_at")
    if not named:
        raise ConfigError(f"degrade_at={degrade_at!r}: say which model is asked from then on, as in fallback=...")
    if limit is None:
        raise ConfigError(f"degrade_at={degrade_at!r}, limit=None: nothing is ever near it; leave degrade_at out")
    return Fallbacks(named, part)


def _beside(around: Scope, own: Fallbacks) -> tuple[Fallbacks, ...]:
    """What all scopes say, in the order of their tallies; nothing while none says anything."""
    if not around.fallbacks and own is NO_FALLBACKS:
        return ()
    return (*(around.fallbacks or (NO_FALLBACKS,) * len(around.tallies)), own)


def _mark(tally: Tally, parts: Sequence[float], told: Callable[[Alert], object] | None) -> None:
    """Have the program told when a scope comes to these parts of its limit."""
    if told is not None and not callable(told):
        raise ConfigError(f"on_warning={told!r}: a function is needed, which is called with an Alert")
    if (parts or told is not None) and tally.account.limit is None:
        raise ConfigError("limit=None: nothing is ever near it; leave warn_at and on_warning out, or give a limit")
    if told is not None and not parts:
        raise ConfigError("on_warning: say when it is called, as in warn_at=(0.8, 1.0)")
    if parts and tally.account.limit:
        tally.mark = Mark(tally.account, parts, ScopeHerald(told, partial(is_first, tally)))


def _wait_s(wait: object) -> float:
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait < float("inf"):
        raise ConfigError(f"wait={wait!r}: a number of seconds of at least 0 is needed")
    return wait


def _tags(tags: Mapping[str, str] | None) -> dict[str, str]:
    if tags is not None and not isinstance(tags, Mapping):
        raise ConfigError(f"tags={tags!r}: a mapping of texts is needed, such as {{'team': 'search'}}")
    return {require_text(name, "tags"): _tag(name, value) for name, value in (tags or {}).items()}


def _tag(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"tags[{name!r}]={value!r}: the value of a tag is a text")
    return require_text(value, "tags['user']") if name == "user" else value


def _package_of_caller() -> str:
    """The top-level package whose code leaves the scope; an application may be installed as a package itself."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and package_of(frame) in {__name__.partition(".")[0], "contextlib"}:
        frame = frame.f_back
    return "" if frame is None else package_of(frame)
