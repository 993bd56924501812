"""`@budgeted(...)`: a function whose calls to models count on someone's budget."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar, cast

from ..budgets.said.words import in_our_words
from ..errors import ConfigError
from ..ledger import Enforce
from ..money import Money
from .context import budget

F = TypeVar("F", bound=Callable[..., Any])

Scoped: TypeAlias = Callable[[tuple[Any, ...], dict[str, Any]], budget]
"""Makes the scope of one call from its arguments."""


@in_our_words
def budgeted(
    user: str | Callable[..., str | None] | None = None,
    *,
    limit: Money | float | str | None = None,
    tags: Mapping[str, str] | None = None,
    enforce: Enforce = "hard",
    wait: float = 0.0,
    fallback: str | Sequence[str] = (),
    degrade_at: float | None = None,
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
    make = functools.partial(
        budget, limit=limit, tags=tags, enforce=enforce, wait=wait, fallback=fallback, degrade_at=degrade_at
    )
    make(user=user if isinstance(user, str) else None)

    def decorate(function: F) -> F:
        if not callable(function):
            raise ConfigError(
                f"@budgeted(...) is for functions, not for {function!r}: write it with its brackets, below @classmethod"
            )
        who = _who(user, function)

        def scope(args: tuple[Any, ...], kwargs: dict[str, Any]) -> budget:
            return make(user=who(args, kwargs)).of_package(getattr(function, "__module__", None) or "")

        return cast(F, _wrap(function, scope))

    return decorate


def _wrap(function: Callable[..., Any], scope: Scoped) -> Callable[..., Any]:
    if inspect.isasyncgenfunction(function):
        return scoped_async_generator(function, scope)
    if inspect.isgeneratorfunction(function):
        return scoped_generator(function, scope)
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def coroutine(*args: Any, **kwargs: Any) -> Any:
            return await _awaited(function(*args, **kwargs), scope(args, kwargs))

        return coroutine

    @functools.wraps(function)
    def plain(*args: Any, **kwargs: Any) -> Any:
        made = scope(args, kwargs)
        with made:
            result = function(*args, **kwargs)
        return _awaited(result, made) if inspect.iscoroutine(result) else result

    return plain


async def _awaited(coroutine: Coroutine[Any, Any, Any], scope: budget) -> Any:
    async with scope:
        return await coroutine


def scoped_generator(
    function: Callable[..., Generator[Any, Any, Any]], scope: Scoped
) -> Callable[..., Generator[Any, Any, Any]]:
    """A generator function whose scope is entered while its body runs, and only then."""

    @functools.wraps(function)
    def items(*args: Any, **kwargs: Any) -> Generator[Any, Any, Any]:
        made, body = scope(args, kwargs), function(*args, **kwargs)
        resume: Callable[[], Any] = functools.partial(next, body)
        try:
            while True:
                with made:
                    try:
                        item = resume()
                    except StopIteration as end:
                        return end.value
                try:
                    resume = functools.partial(body.send, (yield item))
                except GeneratorExit:
                    raise
                except BaseException as error:
                    resume = functools.partial(body.throw, error)
        finally:
            with made:
                body.close()

    return items


def scoped_async_generator(
    function: Callable[..., AsyncGenerator[Any, Any]], scope: Scoped
) -> Callable[..., AsyncGenerator[Any, Any]]:
    """An async generator function whose scope is entered while its body runs, and only then."""

    @functools.wraps(function)
    async def items(*args: Any, **kwargs: Any) -> AsyncGenerator[Any, Any]:
        made, body = scope(args, kwargs), function(*args, **kwargs)
        resume: Callable[[], Any] = functools.partial(anext, body)
        try:
            while True:
                async with made:
                    try:
                        item = await resume()
                    except StopAsyncIteration:
                        return
                try:
                    resume = functools.partial(body.asend, (yield item))
                except GeneratorExit:
                    raise
                except BaseException as error:
                    resume = functools.partial(body.athrow, error)
        finally:
            async with made:
                await body.aclose()

    return items


def _who(
    user: str | Callable[..., str | None] | None, function: Callable[..., Any]
) -> Callable[[tuple[Any, ...], dict[str, Any]], str | None]:
    """How a call's user is found: a name, or `user` called with the arguments it names, or with all of them."""
    if user is None or isinstance(user, str):
        return lambda args, kwargs: user
    signature = inspect.signature(function)
    wanted = _named_parameters(user)
    if wanted is None or not set(wanted) <= set(signature.parameters):
        return lambda args, kwargs: user(*args, **kwargs)

    def named(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str | None:
        bound = signature.bind(*args, **kwargs)
        bound.apply_defaults()
        return user(**{name: bound.arguments[name] for name in wanted})

    return named


def _named_parameters(function: Callable[..., Any]) -> list[str] | None:
    """The parameters of a function, if all can be given by name."""
    try:
        parameters = inspect.signature(function).parameters
    except ValueError:  # some functions written in C have none that can be seen
        return None
    by_name = all(each.kind in {each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY} for each in parameters.values())
    return list(parameters) if by_name else None
