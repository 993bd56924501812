"""
What is patched in the SDKs that Speakeasy generates: `do_request`, which every call passes with its retries inside.

The request is built by then, and its answer is a response whatever its status. Each attempt goes out by the `send` of a
client of httpx, where the floor sees it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, Final

from ...prices.hosts import host_of
from ..asides import is_aside
from ..built.calls import BuiltCall
from ..built.requests import content_of
from ..calling import acting_for, call, call_async
from ..hooks import MARK, wrap
from .packages import PACKAGES, SpeakeasyPackage


class DoneRequest(BuiltCall):
    """One call of `do_request`, whose request is its second argument."""

    index = 1
    by_http = True


def _known_by(settings: Any) -> Any:
    """What a client is known by: its settings; where it was guarded, Google's is by the client of httpx below it."""
    shared = (settings.client, settings.async_client)
    return next((each for each in shared if MARK in getattr(each, "__dict__", ())), settings)


def _begin(
    package: SpeakeasyPackage,
    wrapped: Any,
    part: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    is_async: bool,
) -> DoneRequest | None:
    """The request, if it costs money or tells of what does, some ledger covers it, and no call above has its charge."""
    settings = part.sdk_configuration
    guard, held = acting_for(_known_by(settings))
    if guard is None:
        return None
    given = args[1] if len(args) > 1 else kwargs["request"]
    asked = package.find(given.method, given.url.path)
    if asked is None:
        return None  # the floor says so
    _dialect, endpoint = asked
    free = endpoint.free_at_home and host_of(given.url.host).openai
    if free or not (endpoint.request or is_aside(endpoint)):
        return None
    request = DoneRequest((wrapped, part, args, kwargs), content_of(given), asked, guard, is_async=is_async)
    request.http = settings.async_client if is_async else settings.client
    return request.charged(held=held)


def _install(package: SpeakeasyPackage, basesdk: ModuleType) -> None:
    begin = partial(_begin, package)
    wrap(basesdk.BaseSDK, "do_request", partial(call, begin))
    awaited = getattr(basesdk, "AsyncBaseSDK", basesdk.BaseSDK)
    wrap(awaited, "do_request_async", partial(call_async, begin))


HOOKS: Final[Mapping[str, Callable[[ModuleType], None]]] = {
    f"{package.name}.basesdk": partial(_install, package) for package in PACKAGES
}
"""What is patched in which module."""
