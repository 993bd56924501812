"""
What is patched in the SDKs that Stainless generates.

Every call of such an SDK, by an old client or a new one, sync or async, plain, raw, parsed or streamed, passes
`SyncAPIClient.request` or `AsyncAPIClient.request` once, with all of its retries inside. Wrapping these two, the method
that sends one attempt, and the decoding of streams, sees everything but WebSockets (`websockets.py`). Packages without
such a method send in the middle of `request`: the floor sees their attempts (`Exchange.by_http`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, Final

from ...prices.hosts import host_of
from ..asides import is_aside
from ..calling import acting_for, attempt, attempt_async, call, call_async, say_uncounted
from ..exchange import charging, require_scope_of
from ..hooks import unbound, wrap
from ..streams import listen, listen_async
from .calls import GeneratedCall
from .packages import PACKAGES, Package


def _install(package: Package, base_client: ModuleType) -> None:
    streaming = sys.modules[f"{package.name}._streaming"]  # which the clients' module imports itself
    begin = _begin
    if package.attempt is not None and package.attempt in vars(base_client.SyncAPIClient):
        wrap(base_client.SyncAPIClient, package.attempt, attempt)
        wrap(base_client.AsyncAPIClient, package.attempt, attempt_async)
    else:
        begin = partial(_begin, by_http=True)
    wrap(base_client.SyncAPIClient, "request", partial(call, partial(begin, package)))
    wrap(base_client.AsyncAPIClient, "request", partial(call_async, partial(begin, package)))
    wrap(streaming.Stream, "__stream__", _stream)
    wrap(streaming.AsyncStream, "__stream__", _stream_async)


HOOKS: Final[Mapping[str, Callable[[ModuleType], None]]] = {
    f"{package.name}._base_client": partial(_install, package) for package in PACKAGES
}
"""What is patched in which module."""


def _begin(
    package: Package,
    wrapped: Any,
    client: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    is_async: bool,
    by_http: bool = False,
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
    request.by_http = by_http
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
