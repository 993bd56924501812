"""
One call of the SDK's `request`: what it asks for, how it is amended, what came back.

Everything here reads or copies. The caller's own objects, the options of a call
among them, are left as they are.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from ..adapters.openai import cap_field
from ..adapters.openai.errors import (
    filtered,
    free_failure,
    is_unexplained,
    paid_reply,
    refused_fields,
)
from ..adapters.openai.usage import stated_cost
from ..calls import NOTHING, Answer, Endpoint, Host, Reply
from ..concurrency.interrupts import raise_interruption
from ..errors import BudgetExceededError
from ..guards.admission import NO_BOUNDS
from ..guards.charge import Charge
from ..guards.guard import Guard
from ..guards.scope import Scope
from ..money import Nano
from ..prices.hosts import CAPS, Server, host_of, learn, trust, trusted, without
from .places import PLACE, Place, dearer, is_async, place_of
from .streams import watch

log = logging.getLogger("budgetguard")

_COST_HEADER = "x-litellm-response-cost"
"""In which a LiteLLM proxy states what a call cost."""

_RAW_HEADER = "X-Stainless-Raw-Response"
_STREAMED = "stream"
_PARSED = "openai.types"
"""Where the classes of bodies are that the SDK parsed, the common case."""

_MISSING = object()

PASSING: dict[int, Any] = {}
"""
The options of every call on its way, by their id(). They are kept, so that no other object gets the id of one whose
call was interrupted before it could be taken out.
"""


class Exchange:
    """
    One call of `request`: its arguments, read once.

    The SDK tries again by itself. Each request is lost until its end is seen: a connection that was never made and an
    error status cost nothing; one that broke off, or that nobody waited for, may have been answered.
    """

    __slots__ = (
        "added",
        "args",
        "ask_usage",
        "billed",
        "body",
        "charge",
        "client",
        "dropped",
        "endpoint",
        "guard",
        "guessed",
        "kwargs",
        "lost",
        "options",
        "passing",
        "place",
        "raw",
        "response",
        "sent",
        "wrapped",
    )
    place: Place

    def __init__(
        self,
        wrapped: Callable[..., Any],
        client: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        *,
        guard: Guard,
        endpoint: Endpoint,
    ) -> None:
        self.wrapped = wrapped
        """The SDK's own function."""
        self.client = client
        self.guard = guard
        self.endpoint = endpoint
        self.args = args
        self.kwargs = kwargs
        self.options = args[1] if len(args) > 1 else kwargs["options"]
        """The SDK's options of the call: method, path, body, headers."""
        headers = self.options.headers
        self.raw = headers.get(_RAW_HEADER) if headers else None
        self.billed: Collection[int] = ()
        """The error statuses that the host bills."""
        self.lost: int | None = None
        """How many requests may have been billed without an answer; `None`: none was seen going out."""
        self.sent = 0  # how many were seen going out
        self.response: Any = None
        """The last response, if the last request had one."""
        self.body: Mapping[str, Any] = NOTHING
        self.charge: Charge | None = None
        self.ask_usage = False
        """Whether the stream is asked for its usage, which the caller did not."""
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

    @property
    def _server(self) -> Server:
        return self.place.server(self.body.get("model"))

    def open(self, scope: Scope | None) -> Charge:
        """Read the request, and make its charge."""
        options, guard, client = self.options, self.guard, self.client
        body = options.json_data
        if type(body) is not dict or options.extra_json:
            body = body_of(options)
        self.body = {} if body is None else body
        self.added = NOTHING
        place: Place | None = client.__dict__.get(PLACE)
        if place is None or place.url is not client.base_url or place.query != client._custom_query:
            place = place_of(client)
        self.place = place
        model = self.body.get("model")
        host = host_of(place.name, place.version, place.port, model if isinstance(model, str) else "", place.azure)
        if self.dropped:
            host = without(host, self.dropped)
        self.billed, self.lost, self.response, self.sent = host.billed, None, None, 0
        files = files_of(options.files) if options.files else ()
        charge = self.charge = guard.charge(
            self.endpoint, self.body, files, guard.prices.provider(place.name), scope, host=host
        )
        if place.deployment and place.deployment != charge.call.model:
            charge.call = charge.call._replace(model=dearer(charge, place.deployment))
        if body is None:
            charge.call = charge.call._replace(
                unread=True, unknown_input=True, cap=None, max_output=None, default_output=None
            )
        elif host.refuses and charge.call.cap is not None and cap_field(self.endpoint, host) is None:
            charge.call = charge.call._replace(cap=None)
        if charge.call.stream and self.raw != _STREAMED and self.endpoint.amend is not None:
            self.ask_usage = self._asks_usage()
        return charge

    def asked(self) -> tuple[str | None, Host]:
        """Whom the request asks: the provider whose prices count there, and what is known of the host."""
        place = place_of(self.client)
        return self.guard.prices.provider(place.name), host_of(*place.server(None))

    def proceed(self) -> Any:
        """Send it, with the cap and the wish for usage that the charge decided on; the caller's arguments stay."""
        options, charge = self.options, self.charge
        assert charge is not None
        if charge.bounds is not NO_BOUNDS or self.ask_usage or callable(options.post_parser):
            options = self._amended_options()
        self.passing = id(options)
        PASSING[self.passing] = options
        if options is self.options:
            return self.wrapped(*self.args, **self.kwargs)
        if len(self.args) > 1:
            return self.wrapped(self.args[0], options, *self.args[2:], **self.kwargs)
        return self.wrapped(*self.args, **{**self.kwargs, "options": options})

    def again(self, error: Exception) -> bool:
        """
        Whether the call is to be sent once more: it failed for a field, maybe, that only we sent.

        The error of a request that was sent without any is the caller's.
        """
        if self.guessed:
            trust(self._server)
        elif self.dropped and isinstance(error, BudgetExceededError):
            learn(self._server, self.dropped)
        if not self.added:
            return False
        refused = refused_fields(error, self.added)
        if not (refused or self.dropped or trusted(self._server)) and is_unexplained(error, self.body):
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
            if self.sent > 1 or self.dropped or not charge.asked.host.known:
                self._understood(charge)
            answer = self.endpoint.answer
            if answer is not None and type(response).__module__.startswith(_PARSED):
                charge.answer = answer(response)
            else:
                self._observe(charge, response)
        except Exception as error:
            raise_interruption(error)
            log.exception("the reply of call %s could not be read", charge.id)
            charge.observe(Answer())

    def failed(self, error: BaseException) -> None:
        """Take in that the call raised."""
        charge = self.charge
        if charge is None or charge.state != "sent" or charge.answer is not None:
            return
        paid, lost = paid_reply(error), self.lost
        if paid is not None:
            self.observe(paid)
            return
        if lost is None:
            charge.failed(free=not self.passing or free_failure(error), sent=int(bool(self.passing)))
        elif 400 in charge.asked.host.billed and filtered(error):
            charge.note(lost=lost, attempts=self.sent)
            charge.refused()
        elif self.response is not None and 200 <= self.response.status_code < 300:
            charge.note(lost=lost, attempts=self.sent)
            charge.failed(free=False)
        else:
            charge.note(lost=max(lost - 1, 0), attempts=self.sent)
            charge.failed(free=lost == 0, sent=self.sent)

    def _understood(self, charge: Charge) -> None:
        """Take in what a successful answer says beside its body: of earlier attempts, of the host, of the cost."""
        if self.sent > 1:
            charge.note(lost=self.lost, attempts=self.sent)
        if self.dropped:
            learn(self._server, self.dropped)
        if charge.asked.host.known:
            return
        if self.added:
            trust(self._server)
        if self.response is not None:
            charge.note(stated=_stated(self.response.headers.get(_COST_HEADER)))

    def _observe(self, charge: Charge, response: Any) -> None:
        http = http_response(response)
        if http is not None and (self.unread or "event-stream" in http.headers.get("content-type", "")):
            watch(charge, http, is_async=is_async(self.client), ask_usage=self.ask_usage)
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
        host, bounds = charge.asked.host, charge.bounds
        if amend is not None and (bounds.cap is not None or self.ask_usage):
            body, takes = amend(self.body, bounds.cap, self.ask_usage, host), host.takes
            changed = {
                name: value
                for name, value in body.items()
                if value is not self.body.get(name, _MISSING) and takes(name, value)
            }
        self.ask_usage = "stream_options" in changed
        for name, value in bounds.more.items():
            if host.takes(name, value):
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
        place, hosts = self.place, self.guard.settings.usage_hosts
        return self.charge.asked.host.usage or place.name in hosts or f"{place.name}:{place.port}" in hosts


current_exchange: ContextVar[Exchange | None] = ContextVar("budgetguard_exchange", default=None)
"""The call that is on its way here."""


def is_passing(options: Any) -> bool:
    """Whether a call with these options is on its way: a second wrapper of ours beneath the first lets it pass."""
    return PASSING.get(id(options)) is options


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
    if type(response).__module__.startswith(_PARSED):
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


def files_of(files: Any) -> Sequence[Any]:
    """The files of a multipart form, with their names."""
    return list(files.items()) if isinstance(files, Mapping) else list(files)
