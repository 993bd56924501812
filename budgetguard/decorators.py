"""`@budgeted(...)`: a function whose calls to models count on someone's budget."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from typing import Any, TypeVar, cast

from .context import budget
from .errors import ConfigError
from .ledger import Enforce
from .money import Money

F = TypeVar("F", bound=Callable[..., Any])


def budgeted(
    user: str | Callable[..., str | None] | None = None,
    *,
    limit: Money | float | str | None = None,
    tags: Mapping[str, str] | None = None,
    enforce: Enforce = "hard",
    wait: float = 0.0,
) -> Callable[[F], F]:
    """
    Run a function inside `budget(...)`, a new scope for every call.

    `user` is a name, or a function of the call's arguments that gives one: it may take them all, or name the
    ones it wants (`user=lambda request: request.user.id`). Works on functions, coroutine functions,
    generators and async generators; between the items of a generator the caller is outside of the scope.
    No earlier `patch()` is needed. Raises `ConfigError` at once for arguments that `budget` refuses.
    """
    if user is not None and not isinstance(user, str) and not callable(user):
        raise ConfigError(f"user={user!r}: a name, or a function of the call's arguments, is needed")
    budget(user=user if isinstance(user, str) else None, limit=limit, tags=tags, enforce=enforce, wait=wait)

    def decorate(function: F) -> F:
        who = _who(user, function)

        def scope(args: tuple[Any, ...], kwargs: dict[str, Any]) -> budget:
            return budget(user=who(args, kwargs), limit=limit, tags=tags, enforce=enforce, wait=wait)

        return cast(F, _wrap(function, scope))

    return decorate


Scoped = Callable[[tuple[Any, ...], dict[str, Any]], budget]


def _wrap(function: Callable[..., Any], scope: Scoped) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        def async_items(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
            return _inside_async(function(*args, **kwargs), scope(args, kwargs))

        return async_items
    if inspect.isgeneratorfunction(function):

        @functools.wraps(function)
        def items(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
            return _inside(function(*args, **kwargs), scope(args, kwargs))

        return items
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            async with scope(args, kwargs):
                return await function(*args, **kwargs)

        return coroutine

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        with scope(args, kwargs):
            return function(*args, **kwargs)

    return plain


def _inside(items: Generator[Any, Any, Any], scope: budget) -> Generator[Any, Any, Any]:
    """Run a generator with the scope entered while it runs, and only then."""
    resume: Callable[[], Any] = functools.partial(next, items)
    try:
        while True:
            with scope:
                try:
                    item = resume()
                except StopIteration as end:
                    return end.value
            try:
                resume = functools.partial(items.send, (yield item))
            except GeneratorExit:
                raise
            except BaseException as error:
                resume = functools.partial(items.throw, error)
    finally:
        with scope:
            items.close()


async def _inside_async(items: AsyncGenerator[Any, Any], scope: budget) -> AsyncGenerator[Any, Any]:
    """Run an async generator with the scope entered while it runs, and only then."""
    resume: Callable[[], Any] = functools.partial(anext, items)
    try:
        while True:
            async with scope:
                try:
                    item = await resume()
                except StopAsyncIteration:
                    return
            try:
                resume = functools.partial(items.asend, (yield item))
            except GeneratorExit:
                raise
            except BaseException as error:
                resume = functools.partial(items.athrow, error)
    finally:
        async with scope:
            await items.aclose()


def _who(
    user: str | Callable[..., str | None] | None, function: Callable[..., Any]
) -> Callable[[tuple[Any, ...], dict[str, Any]], str | None]:
    if user is None or isinstance(user, str):
        return lambda args, kwargs: user
    wanted = inspect.signature(user).parameters
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in wanted.values())
    signature = inspect.signature(function)
    if takes_all or not set(wanted) <= set(signature.parameters):
        return lambda args, kwargs: user(*args, **kwargs)

    def named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return user(**{name: bound.arguments[name] for name in wanted})

    return named
