"""What is said once of the scopes of all requests: values, or functions that give one for a request."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from uuid import UUID

from ...errors import ConfigError
from ...ledger import Enforce
from ...money import Money
from ...scopes.context import budget
from ...scopes.refusals import caught_by, is_lost

log = logging.getLogger("budgetguard")

Who: TypeAlias = str | int | UUID | None
"""A user; numbers are written as text. A function may say nobody by an empty text, too."""
UserOption: TypeAlias = Who | Callable[..., Who | Awaitable[Who]]
Limit: TypeAlias = Money | float | str | None
LimitOption: TypeAlias = Limit | Callable[..., Limit | Awaitable[Limit]]
Tags: TypeAlias = Mapping[str, str] | None
TagsOption: TypeAlias = Tags | Callable[..., Tags | Awaitable[Tags]]


@dataclass(frozen=True, slots=True)
class ScopeOptions:
    """
    How a request's `budget(...)` is made: `user`, `limit` (dollars a request) and `tags` may be functions.

    What they are called with is the framework's: a request, an environ, nothing. Raises `ConfigError`, at once for
    values that `budget` refuses, and on a request for what a function gives.
    """

    user: UserOption = None
    limit: LimitOption = None
    tags: TagsOption = None
    wait: float = 0.0
    enforce: Enforce = "hard"

    def __post_init__(self) -> None:
        self._budget(*(None if callable(each) else each for each in (self.user, self.limit, self.tags)))

    @property
    def asks(self) -> bool:
        """Whether anything is a function, so that the request is looked at."""
        return callable(self.user) or callable(self.limit) or callable(self.tags)

    def made(self, *request: Any) -> budget:
        """The scope of one request, where nothing can be awaited."""
        found = [each(*request) if callable(each) else each for each in (self.user, self.limit, self.tags)]
        for each in found:
            if inspect.isawaitable(each):
                if inspect.iscoroutine(each):
                    each.close()
                raise ConfigError("user=, limit=, tags=: an async function cannot be awaited here: give a plain one")
        return self._budget(*found)

    async def awaited(self, *request: Any) -> budget:
        """The scope of one request; functions may be async."""
        found = [each(*request) if callable(each) else each for each in (self.user, self.limit, self.tags)]
        return self._budget(*[await each if inspect.isawaitable(each) else each for each in found])

    def _budget(self, user: Any, limit: Any, tags: Any) -> budget:
        if isinstance(user, int | UUID) and not isinstance(user, bool):
            user = str(user)
        if callable(self.user) and isinstance(user, str) and not user.strip():
            user = None  # how servers and frameworks say nobody
        return budget(user=user, limit=limit, tags=tags, enforce=self.enforce, wait=self.wait, reraise=False)


def say_lost(scope: budget, module: str | None = None) -> None:
    """
    Warn of a refusal that a package swallowed, where the request was answered as if there had been none.

    To be asked inside of the scope. `module` is one of the application's own, which may be an installed package.
    """
    refusal = scope.refusal
    if refusal is not None and is_lost(refusal, (module or "").partition(".")[0]):
        log.warning("%s swallowed a refusal, and the request was answered without it: %s", caught_by(refusal), refusal)
