"""
How a seam has a call charged: for whom it acts, and what happens around the SDK's own function.

A seam says what it sees (`begin`); everything else of a call is here, in two twins: sync and async.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from ..adapters.common.errors import status_of
from ..adapters.common.failures import cannot_have_arrived
from ..errors import BudgetGuardError
from ..guards.guard import Guard
from ..guards.scope import current
from ..process.state import PROCESS
from .asides import after, before
from .exchange import ErrorReply, Exchange, charging
from .hooks import MARK, Patches, default_guard, guard_of, unbound

log = logging.getLogger("budgetguard")

_KEPT_PATHS = 500
_uncounted: set[str] = set()
"""Paths of which it was said that nobody counts what they cost."""


class Begin(Protocol):
    """
    What a seam does with each call that it sees: the exchange, if this costs money or tells of what does, some ledger
    covers it (`acting_for`), and no call above has its charge (`Exchange.is_above`); else `None`, and it passes.
    """

    def __call__(self, wrapped: Any, client: Any, args: Any, kwargs: Any, /, *, is_async: bool) -> Exchange | None:
        """The exchange of a call of the SDK's own function, with these arguments."""


def acting_for(client: Any) -> tuple[Guard | None, bool]:
    """
    The guard by which a client's call is charged here, and whether some ledger covers it; no guard: let it pass.

    With a guard and no cover, scopes are used in this process and the call is outside of them (`require_scope_of`).
    """
    scope = current.get()
    if scope is None and Patches.everywhere and MARK not in client.__dict__:
        guard: Guard | None = Patches.guard or default_guard()
    else:
        guard = guard_of(client, scope)
    if guard is not None and (guard.store is not None or guard.covers(scope)):
        return guard, True
    if scope is not None or not PROCESS.scoped:
        return None, False
    return guard or default_guard(), False


def looking_for(client: Any) -> tuple[Guard | None, bool]:
    """The same for a request that costs nothing: it is never refused, whatever is wrong with us."""
    try:
        return acting_for(client)
    except BudgetGuardError as error:
        log.warning("what a request tells of calls is not looked at: %s", error)
        return None, False


def call(begin: Begin, wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
    """The wrapper of a method that every call of an SDK passes."""
    if instance is None:
        return unbound(partial(call, begin), wrapped, args, kwargs)
    request = begin(wrapped, instance, args, kwargs, is_async=False)
    if request is None:
        return wrapped(*args, **kwargs)
    if request.endpoint.request is None:
        seen = request.guard.shell.run(before(request))
        with _on_its_way(request):
            response = wrapped(*args, **kwargs)
        request.guard.shell.run(after(request, response, seen))
        return response
    if request.prepare is not None:
        request.take(request.prepare(request.given))

    while True:
        charge = request.open(current.get())
        above = charging.get()
        charging.set(request)
        try:
            return request.guard.shell.send(charge, request.proceed, request.observe, request.failed)
        except Exception as error:
            if not request.again(error):
                if type(error) is ErrorReply:
                    return error.response
                raise
        finally:
            try:  # each of both, whatever interrupts the other: a response that is kept keeps its call open
                charging.set(above)  # by no token: a coroutine that is thrown away may end in another context
            finally:
                request.carried = request.response = None


async def call_async(begin: Begin, wrapped: Callable[..., Any], instance: Any, args: Any, kwargs: Any) -> Any:
    """The same for a method that is awaited."""
    if instance is None:
        return await unbound(partial(call_async, begin), wrapped, args, kwargs)
    request = begin(wrapped, instance, args, kwargs, is_async=True)
    if request is None:
        return await wrapped(*args, **kwargs)
    if request.endpoint.request is None:
        seen = await request.guard.async_shell.run(before(request))
        with _on_its_way(request):
            response = await wrapped(*args, **kwargs)
        await request.guard.async_shell.run(after(request, response, seen))
        return response
    if request.prepare is not None:
        request.take(await request.prepare(request.given))

    while True:
        charge = request.open(current.get())
        above = charging.get()
        charging.set(request)
        try:
            return await request.guard.async_shell.send(charge, request.proceed, request.observe, request.failed)
        except Exception as error:
            if not request.again(error):
                if type(error) is ErrorReply:
                    return error.response
                raise
        finally:
            try:  # each of both, whatever interrupts the other: a response that is kept keeps its call open
                charging.set(above)  # by no token: a coroutine that is thrown away may end in another context
            finally:
                request.carried = request.response = None


@contextmanager
def _on_its_way(request: Exchange) -> Iterator[None]:
    """While a request is sent that is charged nothing: what it sends is not looked at a second time beneath."""
    above, request.carried = charging.get(), request.given
    charging.set(request)
    try:
        yield
    finally:
        charging.set(above)
        request.carried = request.response = None


def attempt(
    wrapped: Any,
    instance: Any,
    args: Any,
    kwargs: Any,
    *,
    beneath: Callable[..., Any] | None = None,
    by_http: bool = False,
) -> Any:
    """
    The wrapper of what sends one attempt of a call, and returns its response, or that and more.

    `beneath` is what is done with a request that is nobody's attempt, `by_http` whether a client of httpx sends.
    """
    if instance is None:
        return unbound(partial(attempt, beneath=beneath, by_http=by_http), wrapped, args, kwargs)
    request = charging.get()
    if request is None or (request.http if by_http else request.client) is not instance or request.carried is None:
        return wrapped(*args, **kwargs) if beneath is None else beneath(wrapped, instance, args, kwargs)
    if by_http and not request.by_http:
        return wrapped(*args, **kwargs)
    lost, last = request.lost or 0, request.response
    if last is not None and 200 <= last.status_code < 300:  # a good answer that is not the last
        lost += 1
    request.lost, request.response = lost + 1, None
    request.sent += 1
    try:
        response = wrapped(*args, **kwargs)
    except BaseException as error:
        if cannot_have_arrived(error):
            request.lost = lost
            request.sent -= 1
        elif status_of(error) is not None:  # an SDK that raises what others return
            request.lost = lost
        raise
    request.response = last = response[0] if type(response) is tuple else response
    if last.status_code != 408 or 408 not in request.billed:  # a time-out there is as one here
        request.lost = lost
    return response


async def attempt_async(
    wrapped: Any,
    instance: Any,
    args: Any,
    kwargs: Any,
    *,
    beneath: Callable[..., Any] | None = None,
    by_http: bool = False,
) -> Any:
    """The same for what is awaited."""
    if instance is None:
        return await unbound(partial(attempt_async, beneath=beneath, by_http=by_http), wrapped, args, kwargs)
    request = charging.get()
    if request is None or (request.http if by_http else request.client) is not instance or request.carried is None:
        return await (wrapped(*args, **kwargs) if beneath is None else beneath(wrapped, instance, args, kwargs))
    if by_http and not request.by_http:
        return await wrapped(*args, **kwargs)
    lost, last = request.lost or 0, request.response
    if last is not None and 200 <= last.status_code < 300:  # a good answer that is not the last
        lost += 1
    request.lost, request.response = lost + 1, None
    request.sent += 1
    try:
        response = await wrapped(*args, **kwargs)
    except BaseException as error:
        if cannot_have_arrived(error):
            request.lost = lost
            request.sent -= 1
        elif status_of(error) is not None:  # an SDK that raises what others return
            request.lost = lost
        raise
    request.response = last = response[0] if type(response) is tuple else response
    if last.status_code != 408 or 408 not in request.billed:  # a time-out there is as one here
        request.lost = lost
    return response


def say_uncounted(method: str, path: str) -> None:
    """Say of an operation that nobody knows that it passes uncounted, once a path."""
    path = path.partition("?")[0]
    if path in _uncounted or len(_uncounted) >= _KEPT_PATHS:
        return
    _uncounted.add(path)
    log.warning(
        "%s %s is no operation that is known here: what it costs is not counted, and no budget stops it",
        method.upper(),
        path,
    )
