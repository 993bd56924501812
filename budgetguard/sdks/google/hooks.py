"""
What is patched in google-genai.

Every call of a client, by whatever HTTP stack, of the Gemini API or Vertex AI, passes `BaseApiClient._request` or its
async twin once, with all of its retries inside and its request made; what streams is decoded by
`HttpResponse.segments`. The request is the same object in every version from 1.20 on.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any, Final

from ...adapters.common.failures import cannot_have_arrived
from ...adapters.gemini import DIALECT
from ..asides import is_aside
from ..calling import acting_for, attempt, attempt_async, call, call_async, say_uncounted
from ..exchange import charging
from ..hooks import unbound, wrap
from ..streams import listen, listen_async
from .calls import GoogleCall, request_in

_MODULE = "google.genai._api_client"

CLIENTS: Final = "a google.genai Client"
"""What can be guarded, as an error names it."""


def senders_in(client: Any) -> Sequence[Any]:
    """
    What sends for a client of the SDK, or for a part of one (`client.aio`, a chat), and the clients of httpx beneath,
    by which its interactions are known; nothing if it is none.
    """
    for inner in (client, getattr(client, "_api_client", None)):
        if any(base.__name__ == "BaseApiClient" and base.__module__ == _MODULE for base in type(inner).__mro__):
            below = (inner.__dict__.get(name) for name in ("_httpx_client", "_async_httpx_client"))
            return [inner, *(each for each in below if each is not None)]
    return ()


def _install(module: ModuleType) -> None:
    client, response = module.BaseApiClient, module.HttpResponse
    wrap(client, "_request", partial(call, _begin))
    wrap(client, "_async_request", partial(call_async, _begin))
    if "_request_once" in vars(client):
        wrap(client, "_request_once", attempt)
        wrap(client, "_async_request_once", _attempt_async)
    if "_get_aiohttp_session" in vars(client):
        wrap(client, "_get_aiohttp_session", _session)
    wrap(response, "segments", _segments)
    wrap(response, "async_segments", _async_segments)


HOOKS: Final[Mapping[str, Callable[[ModuleType], None]]] = {_MODULE: _install}
"""What is patched in which module."""


def _begin(
    wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, is_async: bool
) -> GoogleCall | None:
    """The request, if it costs money, some ledger covers it, and no call above has its charge."""
    guard, held = acting_for(instance)
    if guard is None:
        return None
    given = request_in(args, kwargs)
    endpoint = DIALECT.find(given.method, given.url)
    if endpoint is None:
        if DIALECT.may_cost(given.method, given.url):
            say_uncounted(given.method, given.url)
        return None
    if not (endpoint.request or is_aside(endpoint)):
        return None
    request = GoogleCall(wrapped, instance, args, kwargs, guard=guard, endpoint=endpoint, is_async=is_async)
    return request.charged(held=held)


async def _attempt_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """`attempt_async`, with what was sent again inside of it (`_session`)."""
    if instance is None:
        return await unbound(_attempt_async, wrapped, args, kwargs)
    request = charging.get()
    try:
        return await attempt_async(wrapped, instance, args, kwargs)
    finally:
        if type(request) is GoogleCall and request.client is instance and request.broken:
            request.lost = (request.lost or 0) + request.broken
            request.sent += request.broken
            request.broken = 0


async def _session(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """
    The session of aiohttp by which a request is sent: asked for while an error is handled, it is sent once more.

    The SDK does that once by itself where a connection broke off, and the first may have been answered.
    """
    if instance is None:
        return await unbound(_session, wrapped, args, kwargs)
    request, error = charging.get(), sys.exception()
    if type(request) is GoogleCall and request.client is instance and error is not None:
        request.broken += not cannot_have_arrived(error)
    return await wrapped(*args, **kwargs)


def _segments(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_segments, wrapped, args, kwargs)
    return listen(wrapped(*args, **kwargs), instance)


def _async_segments(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_async_segments, wrapped, args, kwargs)
    return listen_async(wrapped(*args, **kwargs), instance)
