"""
One call, as every seam gives it: what it asks for, how it is amended, what came back.

What one kind of SDK has of its own is behind `Sent`. Everything here reads: the caller's own objects are left as they
are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Protocol

from ..adapters.common.errors import filtered, is_unexplained, refused_fields
from ..adapters.common.numbers import stated_cost
from ..calls import NOTHING, Answer, Dialect, Endpoint, Host, Reply
from ..concurrency.interrupts import raise_interruption
from ..errors import BudgetExceededError, UnpricedModelError
from ..guards.charge import Charge
from ..guards.guard import Guard
from ..guards.scope import Scope
from ..money import Nano
from ..prices.hosts import CAPS, Server, host_of, learn, trust, trusted, without
from .attempts import Attempts, free_failure, paid_reply
from .streams import watch

log = logging.getLogger("budgetguard")

_COST_HEADER = "x-litellm-response-cost"
"""In which a LiteLLM proxy states what a call cost."""

_MISSING = object()


class Sent(Protocol):
    """One request, as the seam has it that saw it."""

    client: Any
    given: Any
    """The SDK's own object for it."""
    is_async: bool
    """Whether its reply is awaited."""
    carried: Any
    """What was handed on to the SDK; `None` before that."""

    @property
    def dialect(self) -> Dialect:
        """The API that it speaks."""

    @property
    def at_home(self) -> bool:
        """Whether the client may have answered it by itself, without any request: a middleware with a cache."""

    @property
    def unread(self) -> bool:
        """Whether the reply comes back with its body unread. Read from the request: every reply can be iterated."""

    @property
    def decoded(self) -> bool:
        """Whether the SDK decodes its stream, if it is one: nobody then sees an item that is taken out."""

    @property
    def path(self) -> str:
        """What it asks for, below the URL of its client."""

    def body(self) -> Mapping[str, Any] | None:
        """The JSON that will be sent; `None` for a body that is no JSON object, or not read yet."""

    def files(self) -> Sequence[Any]:
        """The files of a multipart form, with their names."""

    def url(self) -> Any:
        """Where its client's requests go: an object with `host`, `port` and `raw_path`."""

    def server(self, url: Any, model: Any) -> Server:
        """Whom it asks there, for this model."""

    def http(self, response: Any) -> Any:
        """The HTTP response inside what the SDK returned; `None` for a parsed body."""


class Exchange:
    """One call: its request, read once, and its charge."""

    __slots__ = ("added", "attempts", "body", "charge", "dropped", "endpoint", "guard", "guessed", "sent", "server")

    def __init__(self, sent: Sent, guard: Guard, endpoint: Endpoint) -> None:
        self.sent = sent
        self.guard = guard
        self.endpoint = endpoint
        self.attempts = Attempts(sent.client, ())
        self.body: Mapping[str, Any] = NOTHING
        self.charge: Charge | None = None
        self.added: Mapping[str, Any] = NOTHING
        """The fields that only we sent."""
        self.dropped: Mapping[str, int] = NOTHING
        """Those that this call is sent again without, as `Host.refuses` has them."""
        self.guessed = False

    def open(self, scope: Scope | None) -> Charge:
        """Read the request, and make its charge."""
        sent, guard = self.sent, self.guard
        body = sent.body()
        self.body = {} if body is None else body
        url = sent.url()  # asked once: the SDK works it out each time
        server = self.server = sent.server(url, self.body.get("model"))
        host = without(host_of(*server), self.dropped)
        self.attempts = Attempts(sent.client, host.billed)
        charge = self.charge = guard.charge(
            self.endpoint, self.body, sent.files(), guard.prices.provider(url.host), scope, host=host
        )
        if server.azure and (deployment := _deployment(url)) not in {"", charge.call.model}:
            charge.call = charge.call._replace(model=_dearer(charge, deployment))
        if body is None:
            charge.call = charge.call._replace(
                unread=True, unknown_input=True, cap=None, max_output=None, default_output=None
            )
        elif host.refuses and charge.call.cap is not None and sent.dialect.cap_field(self.endpoint, host) is None:
            charge.call = charge.call._replace(cap=None)
        if charge.call.stream and sent.decoded and self.endpoint.amend is not None:
            charge.ask_usage = self._asks_usage()
        return charge

    def place(self) -> tuple[str | None, Host]:
        """Where the request goes: the provider whose prices count there, and what is known of the host."""
        url = self.sent.url()
        return self.guard.prices.provider(url.host), host_of(*self.sent.server(url, None))

    def passed(self) -> None:
        """Note that the call is over."""
        self.sent.carried = None
        self.attempts.response = None

    def is_above(self, other: Sent) -> bool:
        """
        Whether a request that is made while this one is on its way has its charge already: it is this one, seen by a
        second wrapper beneath, or another SDK asks by it for the same model on behalf of this one.
        """
        if other.given is self.sent.carried:
            return True
        if other.dialect is self.sent.dialect:
            return False
        body = other.body() or NOTHING
        return _plain_name(body.get("model")) == _plain_name(self.body.get("model"))

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
        if self.attempts.lost is None and self.sent.at_home:
            charge.failed(free=True)
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
            charge.failed(free=self.sent.carried is None or free_failure(error))
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
        http = self.sent.http(response)
        if http is not None and (self.sent.unread or "event-stream" in http.headers.get("content-type", "")):
            watch(charge, http, is_async=self.sent.is_async)
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

    def changes(self) -> Mapping[str, Any]:
        """The fields of the body that are sent otherwise: the cap and the wish for usage that the charge decided on."""
        charge, amend = self.charge, self.endpoint.amend
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
        return changed

    def _asks_usage(self) -> bool:
        assert self.charge is not None
        server, hosts = self.server, self.guard.settings.usage_hosts
        return self.charge.host.usage or server.name in hosts or f"{server.name}:{server.port}" in hosts


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


def _plain_name(model: Any) -> str:
    """A model's name without what stands before it, as gateways have it: "anthropic/claude-opus-5"."""
    return model.rpartition("/")[2] if isinstance(model, str) else ""


charging: ContextVar[Exchange | None] = ContextVar("budgetguard_exchange", default=None)
"""
The call that is on its way here, and has its charge. SDKs go on in threads and tasks of their own, which have a copy of
the context.
"""
