"""
SDKs that Stainless generates: a row each.

Every call of such an SDK, by an old client or a new one, sync or async, plain, raw, parsed or streamed, passes
`SyncAPIClient.request` or `AsyncAPIClient.request` once, with all of its retries inside. Wrapping these two, the method
that sends one attempt, and the decoding of streams, sees everything but WebSockets (`websockets.py`).

Signatures are the same in openai 1.0 to 3.57 and anthropic 0.20 to 2.14.
"""

from __future__ import annotations

import copy
import json
import logging
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, Final, NamedTuple

from ..adapters.anthropic import DIALECT as ANTHROPIC
from ..adapters.common.failures import cannot_have_arrived
from ..adapters.openai import DIALECT as OPENAI
from ..calls import NOTHING, Dialect, Endpoint
from ..guards.admission import NO_BOUNDS
from ..guards.guard import Guard
from ..guards.scope import current
from ..prices.hosts import host_of
from ..process.state import PROCESS
from .asides import after, before, is_aside
from .exchange import Exchange, charging, require_scope_of
from .hooks import MARK, Patches, default_guard, guard_of, unbound, wrap
from .places import PLACE, Place, place_of
from .streams import listen, listen_async

log = logging.getLogger("budgetguard")


class Package(NamedTuple):
    """One SDK."""

    name: str
    """As it is imported."""
    dialect: Dialect
    """The API that it speaks."""
    clients: str
    """Its clients, as an error names them."""
    attempt: str
    """The method of its clients that sends one attempt, and returns the response, or that and more."""
    prepare: str | None = None
    """The method by which they ready the options of a call once, in the versions that have it."""


PACKAGES: Final = (
    Package("openai", OPENAI, "an OpenAI or AsyncOpenAI", "_send_request"),
    Package("anthropic", ANTHROPIC, "an Anthropic or AsyncAnthropic", "_attempt_request", "_copy_and_prepare"),
)

CLIENTS: Final = ", ".join(sorted(package.clients for package in PACKAGES))
"""All that can be guarded, as an error names them."""

_BASES: Final = frozenset(f"{package.name}._base_client" for package in PACKAGES)

_RAW_HEADER = "X-Stainless-Raw-Response"
_STREAMED = "stream"

_KEPT_PATHS = 500
_uncounted: set[str] = set()
"""Paths of which it was said that nobody counts what they cost."""


def is_client(client: Any) -> bool:
    """Whether something is a client of one of these SDKs."""
    return any(base.__name__ == "BaseClient" and base.__module__ in _BASES for base in type(client).__mro__)


def _install(package: Package, base_client: ModuleType) -> None:
    streaming = sys.modules[f"{package.name}._streaming"]  # which the clients' module imports itself
    wrap(base_client.SyncAPIClient, "request", partial(_request, package))
    wrap(base_client.AsyncAPIClient, "request", partial(_request_async, package))
    if package.attempt in vars(base_client.SyncAPIClient):  # else a call is judged by its last attempt alone
        wrap(base_client.SyncAPIClient, package.attempt, _attempt)
        wrap(base_client.AsyncAPIClient, package.attempt, _attempt_async)
    wrap(streaming.Stream, "__stream__", _stream)
    wrap(streaming.AsyncStream, "__stream__", _stream_async)


HOOKS: Final[Mapping[str, Callable[[ModuleType], None]]] = {
    f"{package.name}._base_client": partial(_install, package) for package in PACKAGES
}
"""What is patched in which module."""


class GeneratedCall(Exchange):
    """One call of a client's `request`: its arguments, read once. The caller's own objects stay as they are."""

    def __init__(
        self,
        package: Package,
        wrapped: Callable[..., Any],
        client: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        guard: Guard,
        endpoint: Endpoint,
        is_async: bool,
    ) -> None:
        self.dialect = package.dialect
        self.wrapped = wrapped
        """The SDK's own function."""
        self.client = client
        self.guard = guard
        self.endpoint = endpoint
        self.is_async = is_async
        self.args = args
        self.kwargs = kwargs
        self.given = options = args[1] if len(args) > 1 else kwargs["options"]
        """The SDK's options of the call: method, path, body, headers."""
        self.form = options.files
        body = options.json_data
        if type(body) is not dict or options.extra_json:
            body = body_of(options)
        self.body, self.unreadable = ({}, True) if body is None else (body, False)
        place: Place | None = client.__dict__.get(PLACE)
        if place is None or place.url is not client.base_url or place.query != client._custom_query:
            place = place_of(client)
        self.place = place

    @property
    def at_home(self) -> bool:
        """Whether its client may have answered by itself: anthropic's have `middleware=`."""
        return bool(self.client.__dict__.get("_middleware"))

    @property
    def _raw(self) -> Any:
        headers = self.given.headers
        return headers.get(_RAW_HEADER) if headers else None

    @property
    def unread(self) -> bool:
        """Whether the reply comes back with its body unread. Read from the request: every reply can be iterated."""
        return bool(self.kwargs.get("stream")) or self._raw == _STREAMED

    @property
    def decoded(self) -> bool:
        """Whether the SDK decodes its stream."""
        return bool(self._raw != _STREAMED)

    @property
    def path(self) -> str:
        """What it asks for."""
        return str(self.given.url)

    @property
    def headers(self) -> Mapping[str, Any]:
        """Those that it states, or its client does."""
        return {**self.client.__dict__.get("_custom_headers", NOTHING), **(self.given.headers or NOTHING)}

    def take(self, options: Any) -> None:
        """Take other options for the caller's: those that the SDK would make of them."""
        self.given = options
        body = body_of(options)
        self.body, self.unreadable = ({}, True) if body is None else (body, False)
        if len(self.args) > 1:
            self.args = (self.args[0], options, *self.args[2:])
        else:
            self.kwargs = {**self.kwargs, "options": options}

    def proceed(self) -> Any:
        """Send it with `changes`, and a parser that shows the reply before; the caller's arguments stay as they are."""
        options, charge = self.given, self.charge
        assert charge is not None
        changed = self.changes() if charge.bounds is not NO_BOUNDS or self.ask_usage else NOTHING
        parse = options.post_parser
        shows = callable(parse) and self._raw is None and not self.unread
        if changed or shows:
            options = copy.copy(options)
        self.carried = options
        if options is self.given:
            return self.wrapped(*self.args, **self.kwargs)
        if shows:
            options.post_parser = partial(_shown, parse, self.observe)
        if changed:
            _change(options, self.body, changed)
        if len(self.args) > 1:
            return self.wrapped(self.args[0], options, *self.args[2:], **self.kwargs)
        return self.wrapped(*self.args, **{**self.kwargs, "options": options})


def _shown(parse: Callable[[Any], Any], show: Callable[[Any], None], reply: Any) -> Any:
    """The SDK's parser, with the reply observed before: one that it refuses was billed as well."""
    show(reply)
    return parse(reply)


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


def _begin(
    package: Package, wrapped: Any, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any], *, is_async: bool
) -> GeneratedCall | None:
    """The request, if it costs money or tells of what does, some ledger covers it, and no call above has its charge."""
    scope = current.get()
    guard = Patches.guard if scope is None and Patches.everywhere and MARK not in client.__dict__ else None
    if guard is None:
        guard = guard_of(client, scope)
    held = guard is not None and (guard.store is not None or guard.covers(scope))
    if guard is None or not held:
        if scope is not None or not PROCESS.scoped:
            return None
        guard = guard or default_guard()
    options = args[1] if len(args) > 1 else kwargs["options"]
    endpoint = package.dialect.find(options.method, options.url)
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


def body_of(options: Any) -> Mapping[str, Any] | None:
    """The JSON that will be sent, as the SDK merges it; `None` for a body that is no JSON object, or not read yet."""
    data, extra = options.json_data, options.extra_json
    if type(data) is dict and not extra:
        return data
    if isinstance(data, Mapping):
        if not extra:
            return data
        return {name: value for name, value in {**data, **extra}.items() if type(value).__name__ != "Omit"}
    raw = data if data is not None else getattr(options, "content", None)
    if raw is None:
        return extra if isinstance(extra, Mapping) else {}
    try:
        parsed = json.loads(raw) if isinstance(raw, bytes | bytearray | str) else None
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) else None


def _change(options: Any, body: Mapping[str, Any], changed: Mapping[str, Any]) -> None:
    """Change fields of the JSON that will be sent, in a copy of the caller's options."""
    if isinstance(options.json_data, Mapping):
        options.json_data = {**options.json_data, **changed}
        if options.extra_json:
            options.extra_json = {name: value for name, value in options.extra_json.items() if name not in changed}
    elif options.json_data is None and options.extra_json:
        options.extra_json = {**options.extra_json, **changed}
    else:
        options.json_data = {**body, **changed}
        if getattr(options, "content", None) is not None:
            options.content = None
