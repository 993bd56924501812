"""
What is patched in the SDKs that Stainless generates.

Every call of such an SDK, by an old client or a new one, sync or async, plain, raw, parsed or streamed, passes
`SyncAPIClient.request` or `AsyncAPIClient.request` once, with all of its retries inside. Wrapping these two, the method
that sends one attempt, and the decoding of streams, sees everything but WebSockets (`websockets.py`). Packages without
such a method send in the middle of `request`, by `httpx.Client.send`: that is wrapped, then.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, Final

from ...guards.scope import current
from ..asides import after, before
from ..exchange import charging
from ..hooks import unbound, wrap
from ..streams import listen, listen_async
from .attempts import attempt, attempt_async, by_http, sent, sent_async
from .calls import GeneratedCall
from .covered import covered
from .packages import PACKAGES, Package


def _install(package: Package, base_client: ModuleType) -> None:
    streaming = sys.modules[f"{package.name}._streaming"]  # which the clients' module imports itself
    wrap(base_client.SyncAPIClient, "request", partial(_request, package))
    wrap(base_client.AsyncAPIClient, "request", partial(_request_async, package))
    if package.attempt is not None and package.attempt in vars(base_client.SyncAPIClient):
        wrap(base_client.SyncAPIClient, package.attempt, partial(attempt, package))
        wrap(base_client.AsyncAPIClient, package.attempt, partial(attempt_async, package))
    else:
        http = base_client.httpx
        wrap(http.Client, "send", sent)
        wrap(http.AsyncClient, "send", sent_async)
        by_http.add(package.name)
    wrap(streaming.Stream, "__stream__", _stream)
    wrap(streaming.AsyncStream, "__stream__", _stream_async)


HOOKS: Final[Mapping[str, Callable[[ModuleType], None]]] = {
    f"{package.name}._base_client": partial(_install, package) for package in PACKAGES
}
"""What is patched in which module."""


def _request(package: Package, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    if instance is None:
        return unbound(partial(_request, package), wrapped, args, kwargs)
    request = covered(package, wrapped, instance, args, kwargs, kind=GeneratedCall, is_async=False)
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
    request = covered(package, wrapped, instance, args, kwargs, kind=GeneratedCall, is_async=True)
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


def _stream(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_stream, wrapped, args, kwargs)
    return listen(wrapped(*args, **kwargs), instance.response)


def _stream_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_stream_async, wrapped, args, kwargs)
    return listen_async(wrapped(*args, **kwargs), instance.response)
