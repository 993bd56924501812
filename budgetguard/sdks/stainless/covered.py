"""
Which calls of a generated client are to be charged: those that cost money, or tell of what does, and that some ledger
covers.
"""

from __future__ import annotations

import logging
from typing import Any

from ...guards.guard import Guard
from ...guards.scope import current
from ...prices.hosts import host_of
from ...process.state import PROCESS
from ..asides import is_aside
from ..exchange import charging, require_scope_of
from ..hooks import MARK, Patches, default_guard, guard_of
from .calls import MIDDLEWARE, GeneratedCall
from .packages import Package

log = logging.getLogger("budgetguard")

_KEPT_PATHS = 500
_uncounted: set[str] = set()
"""Paths of which it was said that nobody counts what they cost."""


def covered(
    package: Package, wrapped: Any, client: Any, args: Any, kwargs: Any, *, kind: type[GeneratedCall], is_async: bool
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
    if (
        endpoint.request is not None and kind is GeneratedCall and client.__dict__.get(MIDDLEWARE)
    ):  # its attempts are, each
        return None
    request = kind(package, wrapped, client, args, kwargs, guard=guard, endpoint=endpoint, is_async=is_async)
    above = charging.get()
    if above is not None and above.carried is not None and above.is_above(request):  # one that is over has no request
        return None
    if not held and endpoint.request is not None:
        require_scope_of(request.open(None))
    return request if held else None


def _say_uncounted(path: str) -> None:
    """Say of an operation that nobody knows that it passes uncounted, once a path."""
    path = path.partition("?")[0]
    if path in _uncounted or len(_uncounted) >= _KEPT_PATHS:
        return
    _uncounted.add(path)
    log.warning(
        "POST %s is no operation that is known here: what it costs is not counted, and no budget stops it", path
    )
