"""
What is patched in the SDKs that Stainless generates.

Every call of such an SDK, by an old client or a new one, sync or async, plain, raw, parsed or streamed, passes
`SyncAPIClient.request` or `AsyncAPIClient.request` once, with all of its retries inside. Wrapping these two, the method
that sends one attempt, and the decoding of streams, sees everything but WebSockets (`sockets/`). Packages without
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
from ..calling import acting_for, attempt, attempt_async, call, call_async, looking_for, say_uncounted
from ..exchange import charging, require_scope_of
from ..hooks import unbound, wrap
from ..streams import listen, listen_async
from .attempts import Attempt
from .calls import MIDDLEWARE, GeneratedCall
from .packages import PACKAGES, Package


def _install(package: Package, base_client: ModuleType) -> None:
    streaming = sys.modules[f"{package.name}._streaming"]  # which the clients' module imports itself
    begin = partial(_begin, package)
    if package.attempt is not None and package.attempt in vars(base_client.SyncAPIClient):
        wrap(base_client.SyncAPIClient, package.attempt, partial(attempt, beneath=partial(_alone, call, begin)))
        alone = partial(_alone, call_async, begin)
        wrap(base_client.AsyncAPIClient, package.attempt, partial(attempt_async, beneath=alone))
    else:
        begin = partial(begin, by_http=True)
    wrap(base_client.SyncAPIClient, "request", partial(call, begin))
    wrap(base_client.AsyncAPIClient, "request", partial(call_async, begin))
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
    kind: type[GeneratedCall] = GeneratedCall,
    by_http: bool = False,
) -> GeneratedCall | None:
    """The request, if it costs money or tells of what does, some ledger covers it, and no call above has its charge."""
    options = args[kind.position] if len(args) > kind.position else kwargs["options"]
    endpoint = package.dialect.find(options.method, options.url)
    if endpoint is None and package.beside is not None:
        endpoint = package.beside.find(options.method, options.url)
    if endpoint is None:
        if package.dialect.may_cost(options.method, options.url) and looking_for(client)[0] is not None:
            say_uncounted(options.method, options.url)
        return None
    if not (endpoint.request or is_aside(endpoint)) or (endpoint.free_at_home and host_of(client.base_url.host).openai):
        return None
    costs = endpoint.request is not None
    guard, held = acting_for(client) if costs else looking_for(client)
    if guard is None:
        return None
    if client.__dict__.get(MIDDLEWARE) and costs is not (kind is Attempt):
        return None  # what costs money is charged attempt by attempt there, what tells of it is looked at as a whole
    request = kind(package, wrapped, client, args, kwargs, guard=guard, endpoint=endpoint, is_async=is_async)
    request.by_http = by_http
    above = charging.get()  # as `Exchange.charged`, in place: this is on the way of every call
    if above is not None and above.carried is not None and above.is_above(request):
        return None
    if not held and costs:
        require_scope_of(request.open(None))
    return request if held else None


def _alone(calling: Callable[..., Any], begin: Callable[..., Any], *attempt: Any) -> Any:
    """What is done with an attempt that is nobody's: of a client with middleware, it is a call."""
    wrapped, client, args, kwargs = attempt
    if not client.__dict__.get(MIDDLEWARE):
        return wrapped(*args, **kwargs)
    return calling(partial(begin, kind=Attempt), wrapped, client, args, kwargs)


def _stream(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_stream, wrapped, args, kwargs)
    return listen(wrapped(*args, **kwargs), instance.response)


def _stream_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_stream_async, wrapped, args, kwargs)
    return listen_async(wrapped(*args, **kwargs), instance.response)
