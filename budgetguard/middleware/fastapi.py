"""
`Depends(budget_of(...))`: a scope for some of FastAPI's paths, that the path's own code can ask.

The dependency is async also where the path is not: what a sync one sets in its thread is lost on the way to the path.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import fastapi
from fastapi.params import Depends
from fastapi.requests import HTTPConnection
from fastapi.responses import Response

from ..errors import BudgetExceededError, ConfigError
from ..ledger import Enforce
from ..scopes.context import budget
from .web.answers import STATUS, answer_to, refusal_in
from .web.options import LimitOption, ScopeOptions, TagsOption, UserOption, say_lost

OLDEST = (0, 118)
"""Before it, a dependency ended when the view returned: a streamed body would have been outside of the scope."""


def budget_of(
    *,
    user: UserOption | Depends = None,
    limit: LimitOption | Depends = None,
    tags: TagsOption | Depends = None,
    wait: float = 0.0,
    enforce: Enforce = "hard",
) -> Callable[..., AsyncIterator[budget]]:
    """
    `b: Annotated[budget, Depends(budget_of(user=Depends(current_user_id), limit=0.10))]`, for `def` and `async def`.

    The scope lasts until the body is sent and the background tasks are done. `user`, `limit` (dollars a request) and
    `tags` are values, functions of the request, plain or async, or dependencies that give one; `wait` and `enforce`
    are as in `budget`. A refusal is answered with a 402, unless the application has an exception handler for it.
    Raises `ConfigError` for values that `budget` refuses, and with a FastAPI older than 0.118.
    """
    _require_bodies_inside()
    given = {"user": user, "limit": limit, "tags": tags}
    waiting = {name: each for name, each in given.items() if isinstance(each, Depends)}
    plain = {name: each for name, each in given.items() if name not in waiting}
    ScopeOptions(**plain, wait=wait, enforce=enforce)  # type: ignore[arg-type]  # refused now what can be refused now

    async def scope(connection: HTTPConnection, **found: Any) -> AsyncIterator[budget]:
        _answer_refusals(connection)
        now: dict[str, Any] = {**plain, **{name: _giving(value) for name, value in found.items()}}
        made = await ScopeOptions(**now, wait=wait, enforce=enforce).awaited(connection)
        module = getattr(connection.scope.get("endpoint"), "__module__", None)
        async with made:
            try:
                yield made
            except Exception as error:
                refusal = refusal_in(error, module)
                if refusal is None or refusal is error:
                    raise
                raise refusal from None
            say_lost(made, module)

    return _depending(scope, waiting)


async def answer_refusal(_request: Any, refusal: Exception) -> Response:
    """The 402 for a refusal: FastAPI's and Starlette's exception handler."""
    assert isinstance(refusal, BudgetExceededError)
    answer = answer_to(refusal)
    return Response(answer.body, STATUS, dict(answer.headers))


def _require_bodies_inside() -> None:
    if tuple(map(int, fastapi.__version__.split(".")[:2])) < OLDEST:
        raise ConfigError("budget_of: streamed bodies need fastapi 0.118 or newer: upgrade it, or use BudgetMiddleware")


def _depending(scope: Callable[..., AsyncIterator[budget]], on: Mapping[str, Depends]) -> Callable[..., Any]:
    """The dependency, with those that it has itself where FastAPI looks for them: in its signature."""
    parameters = [inspect.Parameter("connection", inspect.Parameter.KEYWORD_ONLY, annotation=HTTPConnection)]
    parameters += [inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=each) for name, each in on.items()]
    scope.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # FastAPI reads it
    return scope


def _giving(value: Any) -> Callable[[Any], Any]:
    """A function of the request, that gives what another dependency has found."""
    return lambda _request: value


def _answer_refusals(connection: HTTPConnection) -> None:
    """See to it that a refusal has a handler in the application, where it has none of its own."""
    handlers, _ = connection.scope.get("starlette.exception_handlers", ({}, {}))
    if not any(kind in handlers for kind in BudgetExceededError.__mro__):
        handlers[BudgetExceededError] = answer_refusal
