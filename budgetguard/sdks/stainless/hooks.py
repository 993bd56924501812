"""
What is patched in the SDKs that Stainless generates.

Every call of such an SDK, by an old client or a new one, sync or async, plain, raw, parsed or streamed, passes
`SyncAPIClient.request` or `AsyncAPIClient.request` once, with all of its retries inside. Wrapping these two, the method
that sends one attempt, and the decoding of streams, sees everything but WebSockets (`sockets/`). Packages without
such a method send in the middle of `request`, by `httpx.Client.send`: that is wrapped, then.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, Final, TypeGuard

from ...prices.hosts import host_of
from ..asides import is_aside
from ..calling import acting_for, attempt, attempt_async, call, call_async, say_uncounted
from ..exchange import Exchange, charging, require_scope_of
from ..hooks import unbound, wrap
from ..streams import listen, listen_async
from .calls import GeneratedCall
from .packages import PACKAGES, Package

_by_http: set[str] = set()
"""The packages whose attempts are seen where httpx sends them."""


def _install(package: Package, base_client: ModuleType) -> None:
    streaming = sys.modules[f"{package.name}._streaming"]  # which the clients' module imports itself
    wrap(base_client.SyncAPIClient, "request", partial(call, partial(_begin, package)))
    wrap(base_client.AsyncAPIClient, "request", partial(call_async, partial(_begin, package)))
    if package.attempt is not None and package.attempt in vars(base_client.SyncAPIClient):
        wrap(base_client.SyncAPIClient, package.attempt, attempt)
        wrap(base_client.AsyncAPIClient, package.attempt, attempt_async)
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


def _sent(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """`attempt` at httpx's own client, for the call of an SDK that sends by it."""
    request = charging.get()
    if not _sends_by(request, instance):
        return wrapped(*args, **kwargs)
    return attempt(wrapped, request.client, args, kwargs)


async def _sent_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """`attempt` at httpx's own client, for the call of an SDK that sends by it."""
    request = charging.get()
    if not _sends_by(request, instance):
        return await wrapped(*args, **kwargs)
    return await attempt_async(wrapped, request.client, args, kwargs)


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
    guard, held = acting_for(client)
    if guard is None:
        return None
    options = args[1] if len(args) > 1 else kwargs["options"]
    endpoint = package.dialect.find(options.method, options.url)
    if endpoint is None and package.beside is not None:
        endpoint = package.beside.find(options.method, options.url)
    if endpoint is None:
        if package.dialect.may_cost(options.method, options.url):
            say_uncounted(options.method, options.url)
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


def _stream(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_stream, wrapped, args, kwargs)
    return listen(wrapped(*args, **kwargs), instance.response)


def _stream_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_stream_async, wrapped, args, kwargs)
    return listen_async(wrapped(*args, **kwargs), instance.response)
