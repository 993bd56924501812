"""
The only place that patches.

Every call of the OpenAI SDK, old client or new, sync or async, plain, raw,
parsed or streamed, passes `SyncAPIClient.request` or `AsyncAPIClient.request`
once, with all of its retries inside. Wrapping these two, and the decoding of
streams, sees everything but the WebSockets (`sockets.py`).
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import wrapt

from .adapters import openai as adapter
from .adapters.openai_errors import free_failure, paid_answer
from .calls import Answer, Endpoint, Reply
from .charge import Charge, Follow, Steps
from .config import configured_guard
from .errors import ConfigError
from .guards import Guard
from .process import PROCESS
from .scope import Scope, current
from .streams import listen, listen_async, watch

if TYPE_CHECKING:
    from .manager import BudgetManager

log = logging.getLogger("budgetguard")

_MARK = "_budgetguard"
_RAW_HEADER = "X-Stainless-Raw-Response"
_STREAMED, _READ = "stream", "true"


class _State:
    """What is installed, and for whom it acts."""

    everywhere = False
    wanted = False
    patched: tuple[tuple[Any, str, wrapt.FunctionWrapper[..., Any]], ...] = ()


def patch(manager: BudgetManager | Guard | None = None) -> None:
    """
    Guard every OpenAI client of this process, whenever it was made.

    `manager`, if given, becomes the process's default: its budgets hold wherever no other manager is entered.
    Without one, a store named in `budgetguard.toml` or `BUDGETGUARD_STORE` makes the default. Calling it again
    changes the default and nothing else.
    """
    if manager is not None:
        PROCESS.guard = _guard_in(manager)
    elif PROCESS.guard is None:
        PROCESS.guard = configured_guard()
    install()
    _State.everywhere = True


def unpatch() -> None:
    """Undo `patch`: the SDK's classes are what they were, and the process has no default manager."""
    _State.everywhere = _State.wanted = False
    PROCESS.guard = None
    _remove()


def default_guard() -> Guard:
    """The process's default guard; without a default manager it has no store and knows the process's limits only."""
    return PROCESS.guard or _bare_guard()


def guard_client(client: Any, manager: BudgetManager | Guard | None = None) -> Any:
    """
    Guard one OpenAI client, and the copies that `with_options` makes of it, without patching the others.

    Returns the client. Raises `TypeError` for what is no client of the SDK.
    """
    from openai._base_client import BaseClient

    if not isinstance(client, BaseClient):
        raise TypeError(f"guard(client): an OpenAI or AsyncOpenAI client is needed, not {type(client).__name__}")
    install()
    _mark(client, (None if manager is None else _guard_in(manager),))
    return client


def _mark(client: Any, mark: tuple[Guard | None]) -> None:
    client.__dict__[_MARK] = mark
    for name in ("copy", "with_options"):
        client.__dict__[name] = wrapt.FunctionWrapper(getattr(client, name), _copied)


def _copied(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    made = wrapped(*args, **kwargs)
    _mark(made, instance.__dict__[_MARK])
    return made


def install() -> None:
    """Have the wrappers in place, now or when the SDK is imported; they act for guarded clients and inside scopes."""
    if not _State.wanted:
        _State.wanted = True
        wrapt.register_post_import_hook(_install, "openai._base_client")


def _install(base_client: Any) -> None:
    if _State.patched or not _State.wanted:
        return
    from openai import _streaming

    wrappers = (
        (base_client.SyncAPIClient, "request", _request),
        (base_client.AsyncAPIClient, "request", _request_async),
        (_streaming.Stream, "__stream__", _stream),
        (_streaming.AsyncStream, "__stream__", _stream_async),
    )
    patched = []
    for owner, name, wrapper in wrappers:
        # Another tool's uninstrument may leave ours behind: the flag makes it idle there.
        wrapped = wrapt.FunctionWrapper(owner.__dict__[name], wrapper, enabled=_enabled)
        setattr(owner, name, wrapped)
        patched.append((owner, name, wrapped))
    _State.patched = tuple(patched)


def _enabled() -> bool:
    return _State.wanted


def _remove() -> None:
    for owner, name, wrapper in _State.patched:
        if owner.__dict__.get(name) is wrapper:
            setattr(owner, name, wrapper.__wrapped__)
        # else another tool wrapped over us: ours stays underneath, idle
    _State.patched = ()


def _guard_in(manager: BudgetManager | Guard) -> Guard:
    guard = getattr(manager, "guard", manager)
    if not isinstance(guard, Guard):
        raise ConfigError(f"manager={manager!r}: a BudgetManager is needed")
    return guard


def _guard_of(client: Any, scope: Scope | None) -> Guard | None:
    """The guard of a call: the manager entered here, the client's own, or the process's default."""
    if scope is not None and scope.guard is not None:
        return scope.guard
    mark = client.__dict__.get(_MARK)
    if mark is not None:
        return mark[0] or default_guard()
    return default_guard() if _State.everywhere or scope is not None else None


_bare: list[Guard] = []


def _bare_guard() -> Guard:
    """The guard without a store, for the limits of this process."""
    if not _bare:
        _bare.append(Guard())
    return _bare[0]


class _Request:
    """One call of `request`: its arguments, read once."""

    __slots__ = ("args", "charge", "client", "endpoint", "guard", "kwargs", "raw")

    def __init__(
        self, client: Any, guard: Guard, endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.client = client
        self.guard = guard
        self.endpoint = endpoint
        self.args = args
        self.kwargs = kwargs
        headers = self.options.headers
        self.raw = headers.get(_RAW_HEADER) if isinstance(headers, Mapping) else None
        self.charge: Charge | None = None

    @property
    def options(self) -> Any:
        return self.args[1] if len(self.args) > 1 else self.kwargs["options"]

    @property
    def unread(self) -> bool:
        """Whether the reply comes back with its body unread. Read from the request: every reply can be iterated."""
        return bool(self.kwargs.get("stream")) or self.raw == _STREAMED

    def open(self, scope: Scope | None) -> Charge:
        """Read the request, and make its charge."""
        body = self._body()
        files = self.options.files
        host = self.client.base_url.host
        provider = self.guard.prices.provider(host)
        charge = self.charge = self.guard.charge(self.endpoint, body, _files(files), provider, scope)
        if charge.call.stream and self.raw != _STREAMED and self.endpoint.amend is not None:
            charge.ask_usage = self._asks_usage(host)
        return charge

    def amended(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, with the cap and the wish for usage that the charge decided on."""
        charge, amend = self.charge, self.endpoint.amend
        assert charge is not None
        if amend is None or (charge.cap is None and not charge.ask_usage):
            return self.args, self.kwargs
        body = self._body()
        amended = amend(body, charge.cap, charge.ask_usage, self.client.base_url.host)
        charge.ask_usage = charge.ask_usage and amended.get("stream_options") is not body.get("stream_options")
        options = copy.copy(self.options)
        options.json_data = amended
        if options.extra_json:
            options.extra_json = None
        if len(self.args) > 1:
            return (self.args[0], options, *self.args[2:]), self.kwargs
        return self.args, {**self.kwargs, "options": options}

    def observe(self, response: Any) -> None:
        """Take in the reply. Never raises: the caller has paid for it."""
        charge = self.charge
        assert charge is not None
        try:
            self._observe(charge, response)
        except Exception:
            log.exception("the reply of call %s could not be read", charge.id)
            charge.observe(Answer())

    def failed(self, error: BaseException) -> None:
        """Take in that the call raised."""
        charge = self.charge
        if charge is None or charge.watched or charge.answer is not None or not charge.sent:
            return
        paid = paid_answer(error)
        if paid is not None and self.endpoint.answer is not None:
            self.observe(paid)
        else:
            charge.failed(free=free_failure(error))

    def _observe(self, charge: Charge, response: Any) -> None:
        http = _http_response(response)
        if self.unread and http is not None:
            watch(charge, http, is_async=_is_async(self.client))
            return
        answer = self.endpoint.answer
        if answer is None:
            charge.observe(Answer())
        elif http is not None:
            charge.observe(_read_body(answer, http))
        elif isinstance(response, str):
            charge.observe(_read_text(answer, response))
        else:
            charge.observe(answer(response))

    def _body(self) -> Mapping[str, Any]:
        data, extra = self.options.json_data, self.options.extra_json
        body = data if isinstance(data, Mapping) else {}
        return {**body, **extra} if extra else body

    def _asks_usage(self, host: str) -> bool:
        port = self.client.base_url.port
        hosts = self.guard.settings.usage_hosts
        version = getattr(self.client, "_api_version", None)
        return host in hosts or f"{host}:{port}" in hosts or adapter.asks_usage(host, version)


def _request(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    request = _begin(instance, args, kwargs)
    if request is None:
        return wrapped(*args, **kwargs)
    if request.endpoint.follows:
        response = wrapped(*args, **kwargs)
        request.guard.shell.run(_follow(request, response))
        return response

    def proceed() -> Any:
        args, kwargs = request.amended()
        return wrapped(*args, **kwargs)

    charge = request.open(current.get())
    return request.guard.shell.send(charge, proceed, request.observe, request.failed)


async def _request_async(wrapped: Any, instance: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    request = _begin(instance, args, kwargs)
    if request is None:
        return await wrapped(*args, **kwargs)
    if request.endpoint.follows:
        response = await wrapped(*args, **kwargs)
        await request.guard.async_shell.run(_follow(request, response))
        return response

    def proceed() -> Any:
        args, kwargs = request.amended()
        return wrapped(*args, **kwargs)

    charge = request.open(current.get())
    return await request.guard.async_shell.send(charge, proceed, request.observe, request.failed)


def _begin(client: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> _Request | None:
    """The request, if it is one that costs money and some ledger covers it."""
    options = args[1] if len(args) > 1 else kwargs["options"]
    endpoint = adapter.find(options.method, options.url)
    if endpoint is None or (endpoint.request is None and not endpoint.follows):
        return None
    scope = current.get()
    guard = _guard_of(client, scope)
    if guard is None or not guard.covers(scope):
        return None
    return _Request(client, guard, endpoint, args, kwargs)


def _stream(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    return listen(wrapped(*args, **kwargs), instance.response)


def _stream_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    return listen_async(wrapped(*args, **kwargs), instance.response)


def _http_response(response: Any) -> Any:
    """The HTTP response inside what `request` returned; `None` for a parsed body."""
    if hasattr(type(response), "model_fields"):  # a parsed model, the common case
        return None
    for name in ("http_response", "response"):
        inner = getattr(response, name, None)
        if hasattr(inner, "extensions"):
            return inner
    return response if hasattr(response, "extensions") and hasattr(response, "headers") else None


def _follow(request: _Request, response: Any) -> Steps[None]:
    """Settle what a retrieve or a cancel shows of an earlier background response."""
    look = Follow(request.guard, request.endpoint)
    try:
        http = _http_response(response)
        if request.unread and http is not None:
            watch(look, http, is_async=_is_async(request.client))
            return
        assert request.endpoint.answer is not None
        look.observe(request.endpoint.answer(response) if http is None else _read_body(request.endpoint.answer, http))
    except Exception:
        log.exception("a retrieved response could not be read")
    yield from look.close()


def _read_body(answer: Reply, http: Any) -> Answer:
    """The answer in a body that was read: JSON, or one that says nothing (audio, subtitles)."""
    if "json" not in http.headers.get("content-type", "json"):
        return answer(None)
    try:
        return answer(http.json())
    except ValueError:
        return Answer()


def _read_text(answer: Reply, text: str) -> Answer:
    try:
        data = json.loads(text)
    except ValueError:
        return answer(None)
    return answer(data)


def _is_async(client: Any) -> bool:
    from openai._base_client import AsyncAPIClient

    return isinstance(client, AsyncAPIClient)


def _files(files: Any) -> Sequence[Any]:
    if not files:
        return ()
    return list(files.items()) if isinstance(files, Mapping) else list(files)
