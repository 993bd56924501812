"""
`budget(...)`: the scope of a request, a job, a script.

    with budget(user="ann", limit=0.10, tags={"feature": "search"}) as b:
        client.responses.create(model="gpt-4o-mini", input="hi")
        print(b.spent, b.remaining)

Calls inside are guarded whether or not `patch()` was called, count in this scope
and in those around it, and carry its tags.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from types import FrameType, TracebackType
from typing import Any, get_args

from .budgets import DEFAULT_IN_FLIGHT, require_choice, require_in_flight, require_text
from .errors import BudgetExceededError, ConfigError, find_budget_error
from .install import default_guard, install
from .ledger import Account, Enforce
from .money import Money, parse_dollars
from .scope import NO_TAGS, Scope, current, merge_tags
from .tally import Tally


class budget:
    """
    A scope of calls, for `with` and `async with`.

    * `user`: whose budget the calls count on; a tag like those in `tags`.
    * `limit`: dollars that the calls inside may cost together; `None` for no limit of its own.
    * `tags`: what rules match and reports group by.
    * `enforce`: "hard", "soft" or "observe", for this `limit`.
    * `wait`: seconds that a call waits for room that other calls in flight hold.
    * `in_flight`: how many calls at once should find room in `limit` when none states an output cap.
    * `reraise`: on exit, raise a refusal that was swallowed inside. By default only if an installed package
      swallowed it, not if your own code did; and one that leaves wrapped in a framework's error leaves as itself.

    Raises `ConfigError` for a limit, user or tag that is none.
    """

    def __init__(
        self,
        *,
        user: str | None = None,
        limit: Money | float | str | None = None,
        tags: Mapping[str, str] | None = None,
        enforce: Enforce = "hard",
        wait: float = 0.0,
        in_flight: int = DEFAULT_IN_FLIGHT,
        reraise: bool | None = None,
    ) -> None:
        own = {require_text(name, "tags"): _tag(name, value) for name, value in (tags or {}).items()}
        if user is not None:
            own["user"] = require_text(user, "user")
        if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait < float("inf"):
            raise ConfigError(f"wait={wait!r}: a number of seconds of at least 0 is needed")
        self._tags = own
        self._wait_s = wait
        self._reraise = reraise
        self._scope: Scope | None = None
        self._tally = Tally(
            Account(
                "scope//all",
                None if limit is None else parse_dollars(limit, name="limit"),
                require_choice(enforce, get_args(Enforce), "enforce"),  # type: ignore[arg-type]  # checked by it
                require_in_flight(in_flight),
            )
        )

    def __enter__(self) -> budget:
        install()
        outer = current.get()
        self._scope = Scope(
            tags=merge_tags(outer.tags if outer is not None else NO_TAGS, self._tags),
            tallies=(*(outer.tallies if outer is not None else ()), self._tally),
            guard=outer.guard if outer is not None else None,
            wait_s=self._wait_s or (outer.wait_s if outer is not None else 0.0),
            parent=outer,
        )
        current.set(self._scope)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        scope = self._scope
        if scope is None:
            raise ConfigError("budget(...): left before it was entered: use it in a `with` statement")
        current.set(scope.parent)
        self._scope = replace(scope, parent=None, refusals=[])
        refusals, scope.refusals = scope.refusals, []
        if error is not None:
            refusal = find_budget_error(error)
            if refusal is not None and refusal is not error and self._reraise is not False and _is_framework(error):
                raise refusal
        elif refusals and (self._reraise or (self._reraise is None and _swallowed_by_package(refusals[0]))):
            raise refusals[0]

    async def __aenter__(self) -> budget:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    @property
    def spent(self) -> Money:
        """What the calls inside have cost so far, those of inner scopes included."""
        return Money(self._tally.settled)

    @property
    def remaining(self) -> Money | None:
        """The room left in the tightest budget over this scope, calls in flight taken off; `None` without a limit."""
        return self._tightest()[0]

    @property
    def resets_at(self) -> datetime | None:
        """When the tightest budget over this scope begins again (aware, UTC); `None` if it never does."""
        return self._tightest()[1]

    def _tightest(self) -> tuple[Money | None, datetime | None]:
        scope = self._scope or current.get() or Scope()
        purses = (scope.guard or default_guard()).balances(merge_tags(scope.tags, self._tags), scope)
        rooms = [
            (account.limit - balance.settled - balance.held, account.end_ms)
            for account, balance in purses
            if account.limit is not None
        ]
        if not rooms:
            return None, None
        room, end_ms = min(rooms, key=lambda pair: pair[0])
        return Money(max(room, 0)), None if end_ms is None else datetime.fromtimestamp(end_ms / 1000, UTC)


def _tag(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"tags[{name!r}]={value!r}: the value of a tag is a text")
    return value


def _is_framework(error: BaseException) -> bool:
    return not isinstance(error, BudgetExceededError | BaseExceptionGroup) and isinstance(error, Exception)


def _swallowed_by_package(error: BudgetExceededError) -> bool:
    """Whether the frame that caught the error, the outermost it unwound to, is an installed package's."""
    if error.__traceback__ is None:
        return False
    frame: FrameType = error.__traceback__.tb_frame
    path = frame.f_code.co_filename.replace("\\", "/")
    return "/site-packages/" in path or "/dist-packages/" in path
