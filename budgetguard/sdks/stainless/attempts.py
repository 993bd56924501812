"""
What goes out for one call: an attempt, and another where that failed.

Each is seen in the SDK's own method for it, or where httpx sends it, and counts for the call that is on its way. A
client with middleware has none: its middleware may send nothing, or twice, also when its call is over. There each
attempt is a call of its own.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final, TypeGuard

from ...adapters.common.failures import cannot_have_arrived
from ...guards.scope import current
from ..exchange import Exchange, charging
from ..hooks import unbound
from .calls import MIDDLEWARE, GeneratedCall
from .covered import covered
from .packages import Package

by_http: Final[set[str]] = set()
"""The packages whose attempts are seen where httpx sends them."""


class Attempt(GeneratedCall):
    """One request of a client that has middleware: it returns the response, whatever its status, and what was sent."""

    def observe(self, response: Any) -> None:
        """Take in the reply; an error status comes as one, too."""
        self.response = http = response[0]
        self.sent = 1
        if 200 <= http.status_code < 300:
            super().observe(http)
        elif self.charge is not None:
            self.charge.failed(free=http.status_code not in self.billed, sent=1)


def attempt(package: Package, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """One attempt of a call."""
    if instance is None:
        return unbound(partial(attempt, package), wrapped, args, kwargs)
    request = charging.get()
    if request is None or request.client is not instance:
        if instance.__dict__.get(MIDDLEWARE):
            return _alone(package, wrapped, instance, args, kwargs)
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


async def attempt_async(package: Package, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """One attempt of a call."""
    if instance is None:
        return await unbound(partial(attempt_async, package), wrapped, args, kwargs)
    request = charging.get()
    if request is None or request.client is not instance:
        if instance.__dict__.get(MIDDLEWARE):
            return await _alone_async(package, wrapped, instance, args, kwargs)
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


def _alone(package: Package, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """An attempt that is a call of its own."""
    given = (None, *args)  # as those of a call, which say first what is made of its reply
    send = partial(_without_first, wrapped)
    request = covered(package, send, instance, given, kwargs, kind=Attempt, is_async=False)
    if request is None or request.endpoint.request is None:
        return wrapped(*args, **kwargs)
    charge = request.open(current.get())
    above = charging.get()
    charging.set(request)
    try:
        return request.guard.shell.send(charge, request.proceed, request.observe, request.failed)
    finally:
        try:  # as where a call is sent
            charging.set(above)
        finally:
            request.carried = request.response = None


async def _alone_async(package: Package, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """An attempt that is a call of its own."""
    given = (None, *args)  # as those of a call, which say first what is made of its reply
    send = partial(_without_first, wrapped)
    request = covered(package, send, instance, given, kwargs, kind=Attempt, is_async=True)
    if request is None or request.endpoint.request is None:
        return await wrapped(*args, **kwargs)
    charge = request.open(current.get())
    above = charging.get()
    charging.set(request)
    try:
        return await request.guard.async_shell.send(charge, request.proceed, request.observe, request.failed)
    finally:
        try:  # as where a call is sent
            charging.set(above)
        finally:
            request.carried = request.response = None


def sent(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """`attempt` at httpx's own client, for the call of an SDK that sends by it."""
    request = charging.get()
    if not _sends_by(request, instance):
        return wrapped(*args, **kwargs)
    return attempt(request.package, wrapped, request.client, args, kwargs)


async def sent_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """`attempt` at httpx's own client, for the call of an SDK that sends by it."""
    request = charging.get()
    if not _sends_by(request, instance):
        return await wrapped(*args, **kwargs)
    return await attempt_async(request.package, wrapped, request.client, args, kwargs)


def _sends_by(request: Exchange | None, client: Any) -> TypeGuard[GeneratedCall]:
    """Whether what a client of httpx sends is an attempt of the call that is on its way here."""
    return (
        type(request) is GeneratedCall
        and request.package.name in by_http
        and request.client.__dict__.get("_client") is client
    )


def _without_first(wrapped: Any, _: Any, *args: Any, **kwargs: Any) -> Any:
    return wrapped(*args, **kwargs)
