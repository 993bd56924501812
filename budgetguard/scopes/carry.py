"""
`carry_scope(f)`: a function that takes the scope it was carried in along, into threads, callbacks and other processes.
"""

from __future__ import annotations

import contextvars
import functools
import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar, cast

from ..errors import ConfigError
from ..guards.scope import current
from ..sdks.contexts.processes import Luggage
from ..sdks.install import enter_process

P = ParamSpec("P")
T = TypeVar("T")


def carry_scope(function: Callable[P, T]) -> Callable[P, T]:
    """
    The function, bound to the scope of now: for `ThreadPoolExecutor.submit`, `Thread(target=...)`, callbacks, and for
    the processes of a pool, where it can be pickled if the function can.

    Each call runs in a copy of the context that `carry_scope` was called in, so calls may overlap; in another process,
    in its user, tags and `wait`, and under the limits around it, which count what that process spends, too. Raises
    `ConfigError` for a coroutine function: a task has the scope in which it was made.
    """
    if not callable(function) or inspect.iscoroutinefunction(function):
        raise ConfigError(
            f"carry_scope: {function!r} is no plain function; a coroutine's task has the scope in which it was made"
        )
    return CarriedFunction(function, contextvars.copy_context())


class CarriedFunction(Generic[P, T]):
    """A function, and the context that it runs in."""

    def __init__(self, function: Callable[P, T], context: contextvars.Context) -> None:
        functools.update_wrapper(cast(Callable[P, T], self), function)
        self._function = function
        self._context = context

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """Run it, in a copy of the context."""
        return self._context.copy().run(self._function, *args, **kwargs)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return _arrived, (self._function, Luggage.of(self._context.get(current)))


def _arrived(function: Callable[P, T], luggage: Luggage) -> Callable[P, T]:
    """The same in another process."""
    context = contextvars.copy_context()
    context.run(current.set, enter_process(luggage))
    return CarriedFunction(function, context)
