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
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from types import ModuleType
from typing import Any, Final, NamedTuple

from ..adapters.anthropic import DIALECT as ANTHROPIC
from ..adapters.openai import DIALECT as OPENAI
from ..calls import Dialect
from ..guards.scope import current
from ..prices.hosts import Server, host_of
from .asides import after, before, is_aside
from .exchange import Exchange, charging
from .hooks import guard_of, wrap
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


PACKAGES: Final = (
    Package("openai", OPENAI, "an OpenAI or AsyncOpenAI", "_send_request"),
    Package("anthropic", ANTHROPIC, "an Anthropic or AsyncAnthropic", "_attempt_request"),
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


class GeneratedCall:
    """One call of a client's `request`: its arguments, read once. The caller's own objects stay as they are."""

    __slots__ = ("args", "carried", "client", "given", "is_async", "kwargs", "package", "raw")

    def __init__(
        self, package: Package, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any], is_async: bool
    ) -> None:
        self.package = package
        self.client = client
        self.is_async = is_async
        self.args = args
        self.kwargs = kwargs
        self.given = args[1] if len(args) > 1 else kwargs["options"]
        """The SDK's options of the call: method, path, body, headers."""
        headers = self.given.headers
        self.raw = headers.get(_RAW_HEADER) if headers else None
        self.carried: Any = None

    @property
    def dialect(self) -> Dialect:
        """The API that its package speaks."""
        return self.package.dialect

    @property
    def at_home(self) -> bool:
        """Whether its client may have answered by itself: anthropic's have `middleware=`."""
        return bool(self.client.__dict__.get("_middleware"))

    @property
    def unread(self) -> bool:
        """Whether the reply comes back with its body unread. Read from the request: every reply can be iterated."""
        return bool(self.kwargs.get("stream")) or self.raw == _STREAMED

    @property
    def decoded(self) -> bool:
        """Whether the SDK decodes its stream."""
        return self.raw != _STREAMED

    @property
    def path(self) -> str:
        """What it asks for."""
        return str(self.given.url)

    def body(self) -> Mapping[str, Any] | None:
        """The JSON that will be sent, as the SDK merges it; `None` for what is no JSON object, or not read yet."""
        options = self.given
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

    def files(self) -> Sequence[Any]:
        """The files of a multipart form, with their names."""
        files = self.given.files
        if not files:
            return ()
        return list(files.items()) if isinstance(files, Mapping) else list(files)

    def url(self) -> Any:
        """Where the client's requests go."""
        return self.client.base_url

    def server(self, url: Any, model: Any) -> Server:
        """Whom a client asks: an Azure client names its API version, another one may have it in its query."""
        version, query = self.client.__dict__.get("_api_version"), self.client._custom_query
        azure = isinstance(version, str)
        if query and not azure and b"/deployments/" in url.raw_path:
            azure, version = True, query.get("api-version")
        return Server(url.host, version, url.port, model if isinstance(model, str) else "", azure)

    def http(self, response: Any) -> Any:
        """The HTTP response inside what `request` returned; `None` for a parsed body."""
        if ".types" in type(response).__module__:  # a parsed body, the common case
            return None
        # Not `getattr`: it is slow for what a pydantic model does not have.
        fields = getattr(response, "__dict__", None) or {}
        for name in ("http_response", "response"):
            inner = fields.get(name)
            if inner is not None and hasattr(type(inner), "iter_raw"):
                return inner
        return response if hasattr(type(response), "iter_raw") else None

    def take(self, options: Any) -> None:
        """Take other options for the caller's: those that the SDK would make of them."""
        self.given = options
        if len(self.args) > 1:
            self.args = (self.args[0], options, *self.args[2:])
        else:
            self.kwargs = {**self.kwargs, "options": options}

    def amended(
        self, body: Mapping[str, Any], changed: Mapping[str, Any], show: Callable[[Any], None]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, with fields of the body changed, and a parser that shows the reply before. Theirs stay."""
        original = self.given
        parse = original.post_parser
        shows = callable(parse) and self.raw is None and not self.unread
        options = self.carried = copy.copy(original) if changed or shows else original
        if options is original:
            return self.args, self.kwargs
        if shows:
            options.post_parser = partial(_shown, parse, show)
        if changed:
            _change(options, body, changed)
        if len(self.args) > 1:
            return (self.args[0], options, *self.args[2:]), self.kwargs
        return self.args, {**self.kwargs, "options": options}


def _shown(parse: Callable[[Any], Any], show: Callable[[Any], None], reply: Any) -> Any:
    """The SDK's parser, with the reply observed before: one that it refuses was billed as well."""
    show(reply)
    return parse(reply)


def _request(package: Package, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    begun = _begin(package, instance, args, kwargs, is_async=False)
    if begun is None:
        return wrapped(*args, **kwargs)
    request, sent = begun
    if request.endpoint.request is None:
        seen = request.guard.shell.run(before(request))
        response = wrapped(*args, **kwargs)
        request.guard.shell.run(after(request, response, seen))
        return response
    if hasattr(instance, "_copy_and_prepare"):
        sent.take(instance._copy_and_prepare(sent.given))

    def proceed() -> Any:
        args, kwargs = sent.amended(request.body, request.changes(), request.observe)
        return wrapped(*args, **kwargs)

    while True:
        charge = request.open(current.get())
        above = charging.get()
        charging.set(request)
        try:
            return request.guard.shell.send(charge, proceed, request.observe, request.failed)
        except Exception as error:
            if not request.again(error):
                raise
        finally:
            charging.set(above)  # by no token: a coroutine that is thrown away may end in another context
            request.passed()


async def _request_async(
    package: Package, wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Any:
    begun = _begin(package, instance, args, kwargs, is_async=True)
    if begun is None:
        return await wrapped(*args, **kwargs)
    request, sent = begun
    if request.endpoint.request is None:
        seen = await request.guard.async_shell.run(before(request))
        response = await wrapped(*args, **kwargs)
        await request.guard.async_shell.run(after(request, response, seen))
        return response
    if hasattr(instance, "_copy_and_prepare"):
        sent.take(await instance._copy_and_prepare(sent.given))

    def proceed() -> Any:
        args, kwargs = sent.amended(request.body, request.changes(), request.observe)
        return wrapped(*args, **kwargs)

    while True:
        charge = request.open(current.get())
        above = charging.get()
        charging.set(request)
        try:
            return await request.guard.async_shell.send(charge, proceed, request.observe, request.failed)
        except Exception as error:
            if not request.again(error):
                raise
        finally:
            charging.set(above)  # by no token: a coroutine that is thrown away may end in another context
            request.passed()


def _attempt(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    request = charging.get()
    if request is None or request.attempts.client is not instance:
        return wrapped(*args, **kwargs)
    attempts = request.attempts
    attempts.begin()
    try:
        response = wrapped(*args, **kwargs)
    except BaseException as error:
        attempts.failed(error)
        raise
    attempts.answered(response[0] if type(response) is tuple else response)
    return response


async def _attempt_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    request = charging.get()
    if request is None or request.attempts.client is not instance:
        return await wrapped(*args, **kwargs)
    attempts = request.attempts
    attempts.begin()
    try:
        response = await wrapped(*args, **kwargs)
    except BaseException as error:
        attempts.failed(error)
        raise
    attempts.answered(response[0] if type(response) is tuple else response)
    return response


def _begin(
    package: Package, client: Any, args: tuple[Any, ...], kwargs: dict[str, Any], is_async: bool
) -> tuple[Exchange, GeneratedCall] | None:
    """The request, if it costs money or tells of what does, some ledger covers it, and no call above has its charge."""
    options = args[1] if len(args) > 1 else kwargs["options"]
    endpoint = package.dialect.find(options.method, options.url)
    if endpoint is None:
        if package.dialect.may_cost(options.method, options.url):
            _say_uncounted(client, options.url)
        return None
    if endpoint.request is None and not is_aside(endpoint):
        return None
    if endpoint.free_at_home and host_of(client.base_url.host).openai:
        return None
    scope = current.get()
    guard = guard_of(client, scope)
    if guard is None or not guard.covers(scope):
        return None
    sent, above = GeneratedCall(package, client, args, kwargs, is_async), charging.get()
    if above is not None and above.is_above(sent):
        return None
    return Exchange(sent, guard, endpoint), sent


def _say_uncounted(client: Any, path: str) -> None:
    """Say of an operation that nobody knows that it passes uncounted, once a path."""
    scope = current.get()
    guard = guard_of(client, scope)
    path = path.partition("?")[0]
    if path in _uncounted or len(_uncounted) >= _KEPT_PATHS or guard is None or not guard.covers(scope):
        return
    _uncounted.add(path)
    log.warning(
        "POST %s is no operation that is known here: what it costs is not counted, and no budget stops it", path
    )


def _stream(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    return listen(wrapped(*args, **kwargs), instance.response)


def _stream_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    return listen_async(wrapped(*args, **kwargs), instance.response)


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
