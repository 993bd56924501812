"""
What is patched in the SDKs that Stainless generates.

Every call of such an SDK, by an old client or a new one, sync or async, plain, raw, parsed or streamed, passes
`SyncAPIClient.request` or `AsyncAPIClient.request` once, with all of its retries inside. Wrapping these two, the method
that sends one attempt, and the decoding of streams, sees everything but WebSockets (`websockets.py`). Packages without
such a method send in the middle of `request`, by `httpx.Client.send`: that is wrapped, then.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, Final, TypeGuard

from ...adapters.common.failures import cannot_have_arrived
from ...guards.guard import Guard
from ...guards.scope import current
from ...prices.hosts import host_of
from ...process.state import PROCESS
from ..asides import after, before, is_aside
from ..exchange import Exchange, charging, require_scope_of
from ..hooks import MARK, Patches, default_guard, guard_of, unbound, wrap
from ..streams import listen, listen_async
from .calls import GeneratedCall
from .packages import PACKAGES, Package

log = logging.getLogger("budgetguard")

_by_http: set[str] = set()
"""The packages whose attempts are seen where httpx sends them."""

_KEPT_PATHS = 500
_uncounted: set[str] = set()
"""Paths of which it was said that nobody counts what they cost."""


def _install(package: Package, base_client: ModuleType) -> None:
    streaming = sys.modules[f"{package.name}._streaming"]  # which the clients' module imports itself
    wrap(base_client.SyncAPIClient, "request", partial(_request, package))
    wrap(base_client.AsyncAPIClient, "request", partial(_request_async, package))
    if package.attempt is not None and package.attempt in vars(base_client.SyncAPIClient):
        wrap(base_client.SyncAPIClient, package.attempt, _attempt)
        wrap(base_client.AsyncAPIClient, package.attempt, _attempt_async)
    else:
        http = base_client.httpx
        wrap(http.Client, "send", _sent)
        wrap(http.AsyncClient, "send", _sent_async)
        _by_http.add(package.name)
    wrap(streaming.Stream, "__stream__", _stream)
    wrap(streaming.AsyncStream, "__stream__", _stream_async)


HOOKS: Final[Mapping[str, Callable[[ModuleType], None]]] = {
    f"{package.name}._base_client": partial(_install, package) for package in PACKAGES
}
"""What is patched in which module."""


def _request(package: Package, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if instance is None:
        return unbound(partial(_request, package), wrapped, args, kwargs)
    request = _begin(package, wrapped, instance, args, kwargs, is_async=False)
    if request is None:
        return wrapped(*args, **kwargs)
    if request.endpoint.request is None:
        seen = request.guard.shell.run(before(request))
        response = wrapped(*args, **kwargs)
        request.guard.shell.run(after(request, response, seen))
        return response
    if package.prepare is not None and hasattr(instance, package.prepare):
        request.take(getattr(instance, package.prepare)(request.given))

    while True:
        charge = request.open(current.get())
        above = charging.get()
        charging.set(request)
        try:
            return request.guard.shell.send(charge, request.proceed, request.observe, request.failed)
        except Exception as error:
            if not request.again(error):
                raise
        finally:
            try:  # each of both, whatever interrupts the other: a response that is kept keeps its call open
                charging.set(above)  # by no token: a coroutine that is thrown away may end in another context
            finally:
                request.carried = request.response = None


async def _request_async(
    package: Package, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    if instance is None:
        return await unbound(partial(_request_async, package), wrapped, args, kwargs)
    request = _begin(package, wrapped, instance, args, kwargs, is_async=True)
    if request is None:
        return await wrapped(*args, **kwargs)
    if request.endpoint.request is None:
        seen = await request.guard.async_shell.run(before(request))
        response = await wrapped(*args, **kwargs)
        await request.guard.async_shell.run(after(request, response, seen))
        return response
    if package.prepare is not None and hasattr(instance, package.prepare):
        request.take(await getattr(instance, package.prepare)(request.given))

    while True:
        charge = request.open(current.get())
        above = charging.get()
        charging.set(request)
        try:
            return await request.guard.async_shell.send(charge, request.proceed, request.observe, request.failed)
        except Exception as error:
            if not request.again(error):
                raise
        finally:
            try:  # each of both, whatever interrupts the other: a response that is kept keeps its call open
                charging.set(above)  # by no token: a coroutine that is thrown away may end in another context
            finally:
                request.carried = request.response = None


def _attempt(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_attempt, wrapped, args, kwargs)
    request = charging.get()
    if request is None or request.client is not instance:
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
        raise
    request.response = last = response[0] if type(response) is tuple else response
    if last.status_code != 408 or 408 not in request.billed:  # a time-out there is as one here
        request.lost = lost
    return response


async def _attempt_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return await unbound(_attempt_async, wrapped, args, kwargs)
    request = charging.get()
    if request is None or request.client is not instance:
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
        raise
    request.response = last = response[0] if type(response) is tuple else response
    if last.status_code != 408 or 408 not in request.billed:  # a time-out there is as one here
        request.lost = lost
    return response


def _sent(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """`_attempt` at httpx's own client, for the call of an SDK that sends by it."""
    request = charging.get()
    if not _sends_by(request, instance):
        return wrapped(*args, **kwargs)
    return _attempt(wrapped, request.client, args, kwargs)


async def _sent_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """`_attempt` at httpx's own client, for the call of an SDK that sends by it."""
    request = charging.get()
    if not _sends_by(request, instance):
        return await wrapped(*args, **kwargs)
    return await _attempt_async(wrapped, request.client, args, kwargs)


def _sends_by(request: Exchange | None, client: Any) -> TypeGuard[GeneratedCall]:
    """Whether what a client of httpx sends is an attempt of the call that is on its way here."""
    return (
        type(request) is GeneratedCall
        and request.package.name in _by_http
        and request.client.__dict__.get("_client") is client
    )


def _begin(
    package: Package, wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, is_async: bool
) -> GeneratedCall | None:
    """The request, if it costs money or tells of what does, some ledger covers it, and no call above has its charge."""
    scope = current.get()
    if scope is None and Patches.everywhere and MARK not in client.__dict__:
        guard: Guard | None = Patches.guard or default_guard()
    else:
        guard = guard_of(client, scope)
    held = guard is not None and (guard.store is not None or guard.covers(scope))
    if guard is None or not held:
        if scope is not None or not PROCESS.scoped:
            return None
        guard = guard or default_guard()
    options = args[1] if len(args) > 1 else kwargs["options"]
    endpoint = package.dialect.find(options.method, options.url)
    if endpoint is None and package.beside is not None:
        endpoint = package.beside.find(options.method, options.url)
    if endpoint is None:
        if package.dialect.may_cost(options.method, options.url):
            _say_uncounted(options.url)
        return None
    if not (endpoint.request or is_aside(endpoint)) or (endpoint.free_at_home and host_of(client.base_url.host).openai):
        return None
    request = GeneratedCall(package, wrapped, client, args, kwargs, guard=guard, endpoint=endpoint, is_async=is_async)
    above = charging.get()
    if above is not None and above.carried is not None and above.is_above(request):  # one that is over has no request
        return None
    if held:
        return request
    if endpoint.request is not None:
        require_scope_of(request.open(None))
    return None


def _say_uncounted(path: str) -> None:
    """Say of an operation that nobody knows that it passes uncounted, once a path."""
    path = path.partition("?")[0]
    if path in _uncounted or len(_uncounted) >= _KEPT_PATHS:
        return
    _uncounted.add(path)
    log.warning(
        "POST %s is no operation that is known here: what it costs is not counted, and no budget stops it", path
    )


def _stream(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_stream, wrapped, args, kwargs)
    return listen(wrapped(*args, **kwargs), instance.response)


def _stream_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_stream_async, wrapped, args, kwargs)
    return listen_async(wrapped(*args, **kwargs), instance.response)
