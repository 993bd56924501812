"""
The only place that patches.

Every call of the OpenAI SDK, old client or new, sync or async, plain, raw,
parsed or streamed, passes `SyncAPIClient.request` or `AsyncAPIClient.request`
once, with all of its retries inside. Wrapping these two, and the decoding of
streams, sees everything but the WebSockets (`sockets.py`).
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any, ClassVar, Protocol

import wrapt

from ..adapters import openai as adapter
from ..adapters.openai import may_cost
from ..adapters.openai.errors import never_sent
from ..config import configured_guard
from ..errors import ConfigError
from ..guards.charge import Charge
from ..guards.guard import Guard
from ..guards.scope import Scope, current
from ..prices.hosts import host_of
from .asides import after, before, is_aside
from .exchange import PASSING, Exchange, current_exchange, is_passing
from .streams import listen, listen_async
from .websockets import SOCKETS, client_of, entrances, gate


class HasGuard(Protocol):
    """A manager, of which this needs no more than its guard."""

    guard: Guard


log = logging.getLogger("budgetguard")

_MARK = "_budgetguard"

_KEPT_PATHS = 500
_uncounted: set[str] = set()
"""Paths of which it was said that nobody counts what they cost."""


class _State:
    """What is installed, and for whom it acts."""

    everywhere = False
    guard: ClassVar[Guard | None] = None
    """The default: that of the manager which `patch` was given."""
    wanted: ClassVar[list[bool]] = []
    """Not empty while the wrappers are to act: `wrapt` asks for its truth, and would call a function."""
    hooked: ClassVar[set[str]] = set()
    """Modules that are patched when they are imported."""
    patched: ClassVar[dict[tuple[Any, str], wrapt.FunctionWrapper[..., Any]]] = {}
    """The wrappers in place, by their owner and name."""


def patch(manager: HasGuard | Guard | None = None) -> None:
    """
    Guard every OpenAI client of this process, whenever it was made.

    `manager`, if given, becomes the process's default: its budgets hold wherever no other manager is entered.
    Without one, a store named in `budgetguard.toml` or `BUDGETGUARD_STORE` makes the default. Calling it again
    changes the default and nothing else.
    """
    if manager is not None:
        _State.guard = _guard_in(manager)
    elif _State.guard is None:
        _State.guard = configured_guard()
    _State.wanted.clear()  # look again: another tool may have taken ours out since
    install()
    _State.everywhere = True


def unpatch() -> None:
    """Undo `patch`: the SDK's classes are what they were, and the process has no default manager."""
    _State.everywhere = False
    _State.wanted.clear()
    _State.guard = None
    for (owner, name), wrapper in list(_State.patched.items()):
        if owner.__dict__.get(name) is wrapper:
            setattr(owner, name, wrapper.__wrapped__)
            _State.patched.pop((owner, name), None)  # another thread may be undoing it, too
        # else another tool wrapped over us: ours stays underneath, idle, until we are wanted again


def default_guard() -> Guard:
    """The process's default guard; without a default manager it has no store and knows the process's limits only."""
    return _State.guard or _bare_guard()


def guard_client(client: Any, manager: HasGuard | Guard | None = None) -> Any:
    """
    Guard one OpenAI client, and the copies that `with_options` makes of it, without patching the others.

    Returns the client. Raises `TypeError` for what is no client of the SDK.
    """
    from openai._base_client import BaseClient

    if not isinstance(client, BaseClient):
        raise TypeError(f"guard(client): an OpenAI or AsyncOpenAI client is needed, not {type(client).__name__}")
    install()
    _mark(client, (None if manager is None else _guard_in(manager),))
    return client


def _mark(client: Any, mark: tuple[Guard | None]) -> None:
    client.__dict__[_MARK] = mark
    for name in ("copy", "with_options"):
        for owner in type(client).__mro__:
            if name in owner.__dict__:
                _wrap(owner, name, _copied)
                break


def _copied(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return _unbound(_copied, wrapped, args, kwargs)
    made = wrapped(*args, **kwargs)
    mark = instance.__dict__.get(_MARK)
    if mark is not None:
        _mark(made, mark)
    return made


def install() -> None:
    """Have the wrappers in place, now or when the SDK is imported; they act for guarded clients and inside scopes."""
    if _State.wanted:
        return
    _State.wanted.append(True)
    for module, hook in {"openai._base_client": _install, **dict.fromkeys(SOCKETS, _install_gates)}.items():
        if module not in _State.hooked:
            _State.hooked.add(module)
            wrapt.register_post_import_hook(hook, module)  # at once, if it is imported
        elif module in sys.modules:
            hook(sys.modules[module])


def _install(base_client: Any) -> None:
    if not _State.wanted:
        return
    from openai import _streaming

    _wrap(base_client.SyncAPIClient, "request", _request)
    _wrap(base_client.AsyncAPIClient, "request", _request_async)
    if "_send_request" in vars(base_client.SyncAPIClient):  # else a call is judged by its last attempt alone
        _wrap(base_client.SyncAPIClient, "_send_request", _attempt)
        _wrap(base_client.AsyncAPIClient, "_send_request", _attempt_async)
    _wrap(_streaming.Stream, "__stream__", _stream)
    _wrap(_streaming.AsyncStream, "__stream__", _stream_async)


def _install_gates(module: ModuleType) -> None:
    if _State.wanted:
        for owner, name, is_async in entrances(module):
            _wrap(owner, name, _enter_async if is_async else _enter)


def _wrap(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Put a wrapper of ours in place, unless there is one, under those of other tools perhaps."""
    layer, ours = owner.__dict__[name], _State.patched.get((owner, name))
    while layer is not None:
        if layer is ours:
            return
        layer = getattr(layer, "__wrapped__", None)
    # Another tool's uninstrument may leave ours behind: the flag makes it idle there.
    wrapped = wrapt.FunctionWrapper(owner.__dict__[name], wrapper, enabled=_State.wanted)  # type: ignore[arg-type]
    setattr(owner, name, wrapped)
    _State.patched[owner, name] = wrapped


def _unbound(wrapper: Callable[..., Any], wrapped: Any, args: Any, kwargs: Any) -> Any:
    """The wrapper, called by a tool that took the method from the class's `__dict__`: it passes the object first."""
    return wrapper(partial(wrapped, args[0]), args[0], args[1:], kwargs)


def _guard_in(manager: HasGuard | Guard) -> Guard:
    guard = getattr(manager, "guard", manager)
    if not isinstance(guard, Guard):
        raise ConfigError(f"manager={manager!r}: a BudgetManager is needed")
    return guard


def _guard_of(client: Any, scope: Scope | None) -> Guard | None:
    """The guard of a call: the manager entered here, the client's own, or the process's default."""
    if scope is not None and isinstance(scope.guard, Guard):
        return scope.guard
    mark = client.__dict__.get(_MARK)
    if mark is not None:
        return mark[0] or default_guard()
    if not (_State.everywhere or scope is not None):
        return None
    return _State.guard or _bare_guard()


_bare: list[Guard] = []


def _bare_guard() -> Guard:
    """The guard without a store, for the limits of this process."""
    if not _bare:
        _bare.append(Guard())
    return _bare[0]


def _request(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if instance is None:
        return _unbound(_request, wrapped, args, kwargs)
    request = _begin(wrapped, instance, args, kwargs)
    if request is None:
        return wrapped(*args, **kwargs)
    if request.endpoint.request is None:
        seen = request.guard.shell.run(before(request))
        response = wrapped(*args, **kwargs)
        request.guard.shell.run(after(request, response, seen))
        return response

    while True:
        charge = request.open(current.get())
        above = current_exchange.get()
        current_exchange.set(request)
        try:
            return request.guard.shell.send(charge, request.proceed, request.observe, request.failed)
        except Exception as error:
            if not request.again(error):
                raise
        finally:
            try:  # each of both, whatever interrupts the other: a response that is kept keeps its call open
                current_exchange.set(above)  # by no token: a coroutine that is thrown away may end in another context
            finally:
                PASSING.pop(request.passing, None)
                request.response = None


async def _request_async(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if instance is None:
        return await _unbound(_request_async, wrapped, args, kwargs)
    request = _begin(wrapped, instance, args, kwargs)
    if request is None:
        return await wrapped(*args, **kwargs)
    if request.endpoint.request is None:
        seen = await request.guard.async_shell.run(before(request))
        response = await wrapped(*args, **kwargs)
        await request.guard.async_shell.run(after(request, response, seen))
        return response

    while True:
        charge = request.open(current.get())
        above = current_exchange.get()
        current_exchange.set(request)
        try:
            return await request.guard.async_shell.send(charge, request.proceed, request.observe, request.failed)
        except Exception as error:
            if not request.again(error):
                raise
        finally:
            try:  # each of both, whatever interrupts the other: a response that is kept keeps its call open
                current_exchange.set(above)  # by no token: a coroutine that is thrown away may end in another context
            finally:
                PASSING.pop(request.passing, None)
                request.response = None


def _attempt(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return _unbound(_attempt, wrapped, args, kwargs)
    request = current_exchange.get()
    if request is None or request.client is not instance:
        return wrapped(*args, **kwargs)
    lost = request.lost or 0
    request.lost, request.response = lost + 1, None
    request.sent += 1
    try:
        response = wrapped(*args, **kwargs)
    except BaseException as error:
        if never_sent(error):
            request.lost = lost
            request.sent -= 1
        raise
    request.response = response
    if response.status_code != 408 or 408 not in request.billed:  # a time-out there is as one here
        request.lost = lost
    return response


async def _attempt_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return await _unbound(_attempt_async, wrapped, args, kwargs)
    request = current_exchange.get()
    if request is None or request.client is not instance:
        return await wrapped(*args, **kwargs)
    lost = request.lost or 0
    request.lost, request.response = lost + 1, None
    request.sent += 1
    try:
        response = await wrapped(*args, **kwargs)
    except BaseException as error:
        if never_sent(error):
            request.lost = lost
            request.sent -= 1
        raise
    request.response = response
    if response.status_code != 408 or 408 not in request.billed:  # a time-out there is as one here
        request.lost = lost
    return response


def _begin(wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Exchange | None:
    """The request, if it costs money or tells of what does, and some ledger covers it."""
    options = args[1] if len(args) > 1 else kwargs["options"]
    endpoint = adapter.find(options.method, options.url)
    if endpoint is None:
        if may_cost(options.method, options.url):
            _say_uncounted(client, options.url)
        return None
    if (PASSING and is_passing(options)) or (endpoint.request is None and not is_aside(endpoint)):
        return None
    if endpoint.free_at_home and host_of(client.base_url.host).openai:
        return None
    scope = current.get()
    guard = _State.guard if scope is None and _State.everywhere and _MARK not in client.__dict__ else None
    if guard is None:
        guard = _guard_of(client, scope)
    if guard is None or (guard.store is None and not guard.covers(scope)):
        return None
    return Exchange(wrapped, client, args, kwargs, guard=guard, endpoint=endpoint)


def _say_uncounted(client: Any, path: str) -> None:
    """Say of an operation that nobody knows that it passes uncounted, once a path."""
    scope = current.get()
    guard = _guard_of(client, scope)
    path = path.partition("?")[0]
    if path in _uncounted or len(_uncounted) >= _KEPT_PATHS or guard is None or not guard.covers(scope):
        return
    _uncounted.add(path)
    log.warning(
        "POST %s is no operation that is known here: what it costs is not counted, and no budget stops it", path
    )


def _stream(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return _unbound(_stream, wrapped, args, kwargs)
    return listen(wrapped(*args, **kwargs), instance.response)


def _stream_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return _unbound(_stream_async, wrapped, args, kwargs)
    return listen_async(wrapped(*args, **kwargs), instance.response)


def _enter(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return _unbound(_enter, wrapped, args, kwargs)
    guard, charge = _gate(instance)
    if guard is not None and charge is not None:
        guard.shell.send(charge, lambda: None, lambda _: None, lambda _: None)
    return wrapped(*args, **kwargs)


async def _enter_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return await _unbound(_enter_async, wrapped, args, kwargs)
    guard, charge = _gate(instance)
    if guard is not None and charge is not None:
        await guard.async_shell.send(charge, _nothing, lambda _: None, lambda _: None)
    return await wrapped(*args, **kwargs)


async def _nothing() -> None:
    """What is sent for a gate."""


def _gate(manager: Any) -> tuple[Guard | None, Charge | None]:
    """The guard and the charge of a WebSocket connection, if some ledger covers it."""
    scope = current.get()
    guard = _guard_of(client_of(manager), scope)
    if guard is None or not guard.covers(scope):
        return None, None
    return guard, gate(guard, manager, scope)
