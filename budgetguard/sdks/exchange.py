"""
One call of the SDK's `request`: what it asks for, how it is amended, what came back.

Everything here reads or copies. The caller's own objects, the options of a call
among them, are left as they are.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..adapters.common.numbers import stated_cost
from ..adapters.openai import cap_field
from ..adapters.openai.errors import (
    filtered,
    free_failure,
    is_unexplained,
    paid_reply,
    refused_fields,
)
from ..calls import NOTHING, Answer, Endpoint, Host, Reply
from ..concurrency.interrupts import raise_interruption
from ..errors import BudgetExceededError, UnpricedModelError
from ..guards.charge import Charge
from ..guards.guard import Guard
from ..guards.scope import Scope
from ..money import Nano
from ..prices.hosts import CAPS, Server, host_of, learn, trust, trusted, without
from .attempts import Attempts
from .streams import watch

log = logging.getLogger("budgetguard")

_COST_HEADER = "x-litellm-response-cost"
"""In which a LiteLLM proxy states what a call cost."""

_RAW_HEADER = "X-Stainless-Raw-Response"
_STREAMED = "stream"
_MISSING = object()

_passing: dict[int, Any] = {}
"""
The options of every call on its way, by their id(). They are kept, so that no other object gets the id of one whose
call was interrupted before it could be taken out.
"""


class Exchange:
    """One call of `request`: its arguments, read once."""

    __slots__ = (
        "added",
        "args",
        "attempts",
        "body",
        "charge",
        "client",
        "dropped",
        "endpoint",
        "guard",
        "guessed",
        "kwargs",
        "options",
        "passing",
        "raw",
        "server",
    )

    def __init__(
        self, client: Any, guard: Guard, endpoint: Endpoint, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.client = client
        self.guard = guard
        self.endpoint = endpoint
        self.args = args
        self.kwargs = kwargs
        self.options = args[1] if len(args) > 1 else kwargs["options"]
        """The SDK's options of the call: method, path, body, headers."""
        headers = self.options.headers
        self.raw = headers.get(_RAW_HEADER) if headers else None
        self.attempts = Attempts(client, ())
        self.body: Mapping[str, Any] = NOTHING
        self.charge: Charge | None = None
        self.passing = 0
        self.added: Mapping[str, Any] = NOTHING
        """The fields that only we sent."""
        self.dropped: Mapping[str, int] = NOTHING
        """Those that this call is sent again without, as `Host.refuses` has them."""
        self.guessed = False

    @property
    def unread(self) -> bool:
        """Whether the reply comes back with its body unread. Read from the request: every reply can be iterated."""
        return bool(self.kwargs.get("stream")) or self.raw == _STREAMED

    def open(self, scope: Scope | None) -> Charge:
        """Read the request, and make its charge."""
        options, guard = self.options, self.guard
        body = body_of(options)
        self.body = {} if body is None else body
        url = self.client.base_url  # asked once: the SDK works it out each time
        server = self.server = _server(self.client, url, self.body.get("model"))
        host = without(host_of(*server), self.dropped)
        self.attempts = Attempts(self.client, host.billed)
        files = files_of(options.files) if options.files else ()
        charge = self.charge = guard.charge(
            self.endpoint, self.body, files, guard.prices.provider(url.host), scope, host=host
        )
        if server.azure and (deployment := _deployment(url)) not in {"", charge.call.model}:
            charge.call = charge.call._replace(model=_dearer(charge, deployment))
        if body is None:
            charge.call = charge.call._replace(
                unread=True, unknown_input=True, cap=None, max_output=None, default_output=None
            )
        elif host.refuses and charge.call.cap is not None and cap_field(self.endpoint, host) is None:
            charge.call = charge.call._replace(cap=None)
        if charge.call.stream and self.raw != _STREAMED and self.endpoint.amend is not None:
            charge.ask_usage = self._asks_usage()
        return charge

    def place(self) -> tuple[str | None, Host]:
        """Where the request goes: the provider whose prices count there, and what is known of the host."""
        url = self.client.base_url
        return self.guard.prices.provider(url.host), host_of(*_server(self.client, url, None))

    def amended(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments, with the cap and the wish for usage that the charge decided on. The caller's stay as is."""
        options = self._amended_options()
        self.passing = id(options)
        _passing[self.passing] = options
        if options is self.options:
            return self.args, self.kwargs
        if len(self.args) > 1:
            return (self.args[0], options, *self.args[2:]), self.kwargs
        return self.args, {**self.kwargs, "options": options}

    def passed(self) -> None:
        """Note that the call is over."""
        _passing.pop(self.passing, None)
        self.attempts.response = None

    def again(self, error: Exception) -> bool:
        """
        Whether the call is to be sent once more: it failed for a field, maybe, that only we sent.

        The error of a request that was sent without any is the caller's.
        """
        if self.guessed:
            trust(self.server)
        elif self.dropped and isinstance(error, BudgetExceededError):
            learn(self.server, self.dropped)
        if not self.added:
            return False
        refused = refused_fields(error, self.added)
        if not (refused or self.dropped or trusted(self.server)) and is_unexplained(error, self.body):
            self.guessed = True
            refused = dict.fromkeys((*self.added, *(CAPS if not self.added.keys().isdisjoint(CAPS) else ())), 0)
        self.dropped = {**self.dropped, **refused}
        return bool(refused)

    def observe(self, response: Any) -> None:
        """Take in the reply. Never raises: the caller has paid for it."""
        charge = self.charge
        assert charge is not None
        if charge.answer is not None:  # the parser showed it
            return
        try:
            self._understood(charge)
            self._observe(charge, response)
        except Exception as error:
            raise_interruption(error)
            log.exception("the reply of call %s could not be read", charge.id)
            charge.observe(Answer())

    def failed(self, error: BaseException) -> None:
        """Take in that the call raised."""
        charge = self.charge
        if charge is None or charge.watched or charge.answer is not None or not charge.sent:
            return
        paid, attempts = paid_reply(error), self.attempts
        if paid is not None:
            self.observe(paid)
            return
        if attempts.lost is None:
            charge.failed(free=not self.passing or free_failure(error))
        elif 400 in charge.host.billed and filtered(error):
            charge.lost = attempts.lost
            charge.refused()
        elif attempts.succeeded:
            charge.lost = attempts.lost
            charge.failed(free=False)
        else:
            charge.lost = max(attempts.lost - 1, 0)
            charge.failed(free=attempts.lost == 0)

    def _understood(self, charge: Charge) -> None:
        """Take in what a successful answer says beside its body: of earlier attempts, of the host, of the cost."""
        attempts = self.attempts
        if attempts.lost:
            charge.lost = attempts.lost
        if self.dropped:
            learn(self.server, self.dropped)
        if charge.host.known:
            return
        if self.added:
            trust(self.server)
        if attempts.response is not None:
            charge.stated = _stated(attempts.response.headers.get(_COST_HEADER))

    def _observe(self, charge: Charge, response: Any) -> None:
        http = http_response(response)
        if http is not None and (self.unread or "event-stream" in http.headers.get("content-type", "")):
            watch(charge, http, is_async=is_async(self.client))
            return
        answer = self.endpoint.answer
        if answer is None:
            charge.observe(Answer())
        elif http is not None:
            charge.observe(read_body(answer, http))
        elif isinstance(response, str):
            charge.observe(_read_text(answer, response))
        else:
            charge.observe(answer(response))

    def _amended_options(self) -> Any:
        charge, amend, original = self.charge, self.endpoint.amend, self.options
        assert charge is not None
        changed: dict[str, Any] = {}
        if amend is not None and (charge.cap is not None or charge.ask_usage):
            body, takes = amend(self.body, charge.cap, charge.ask_usage, charge.host), charge.host.takes
            changed = {
                name: value
                for name, value in body.items()
                if value is not self.body.get(name, _MISSING) and takes(name, value)
            }
        charge.ask_usage = "stream_options" in changed
        for name, value in charge.bounds.items():
            if charge.host.takes(name, value):
                changed[name] = value
        self.added = changed
        parse = original.post_parser
        shows = callable(parse) and self.raw is None and not self.unread
        if not changed and not shows:
            return original
        options = copy.copy(original)
        if shows:
            options.post_parser = self._shown(parse)
        if changed:
            _change(options, self.body, changed)
        return options

    def _shown(self, parse: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The SDK's parser, with the reply observed before: one that it refuses was billed as well."""

        def shown(reply: Any) -> Any:
            self.observe(reply)
            return parse(reply)

        return shown

    def _asks_usage(self) -> bool:
        assert self.charge is not None
        server, hosts = self.server, self.guard.settings.usage_hosts
        return self.charge.host.usage or server.name in hosts or f"{server.name}:{server.port}" in hosts


def is_passing(options: Any) -> bool:
    """Whether a call with these options is on its way: a second wrapper of ours beneath the first lets it pass."""
    return _passing.get(id(options)) is options


def _server(client: Any, url: Any, model: Any) -> Server:
    """Whom a client asks: an Azure client names its API version, another one may have it in its query."""
    version, query = client.__dict__.get("_api_version"), client._custom_query
    azure = isinstance(version, str)
    if query and not azure and b"/deployments/" in url.raw_path:
        azure, version = True, query.get("api-version")
    return Server(url.host, version, url.port, model if isinstance(model, str) else "", azure)


def _deployment(url: Any) -> str:
    """The deployment in the URL of an Azure client, which answers whatever model the body names; "" if none is."""
    name: bytes = url.raw_path.partition(b"/deployments/")[2].partition(b"/")[0]
    return name.decode("ascii")


def _dearer(charge: Charge, other: str) -> str:
    """The dearer of the model that was asked for and another: a deployment's name need not say which model it has."""

    def most(model: str) -> Nano:
        try:
            quote = charge.guard.prices.quote(charge.provider, model, charge.call.tier)
        except UnpricedModelError:
            return -1
        return quote.cost({"input_tokens": 1_000, "output_tokens": 1_000})

    return max(charge.call.model, other, key=most)


def _stated(header: str | None) -> Nano:
    """The cost that a proxy states; 0 if it states none."""
    cost, _fee = stated_cost({"cost": header}) if header else (None, 0)
    return cost or 0


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


def http_response(response: Any) -> Any:
    """The HTTP response inside what `request` returned; `None` for a parsed body."""
    if type(response).__module__.startswith("openai.types"):  # a parsed body, the common case
        return None
    # Not `getattr`: it is slow for what a pydantic model does not have.
    fields = getattr(response, "__dict__", None) or {}
    for name in ("http_response", "response"):
        inner = fields.get(name)
        if inner is not None and hasattr(type(inner), "iter_raw"):
            return inner
    return response if hasattr(type(response), "iter_raw") else None


def read_body(answer: Reply, http: Any) -> Answer:
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


def is_async(client: Any) -> bool:
    """Whether a client of the SDK is the async one."""
    from openai._base_client import AsyncAPIClient

    return isinstance(client, AsyncAPIClient)


def files_of(files: Any) -> Sequence[Any]:
    """The files of a multipart form, with their names."""
    return list(files.items()) if isinstance(files, Mapping) else list(files)
