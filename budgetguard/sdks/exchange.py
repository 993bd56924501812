"""
One call, as every seam gives it: what it asks for, how it is amended, what came back.

What one kind of SDK has of its own is in a class of its own, below `Exchange`. Everything here reads: the caller's own
objects are left as they are.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, Self

from ..adapters.common.errors import filtered, is_unexplained, refused_fields
from ..adapters.common.failures import free_failure, paid_reply
from ..adapters.common.numbers import stated_cost
from ..calls import NOTHING, Answer, Dialect, Endpoint, Host, Reply
from ..concurrency.interrupts import raise_interruption
from ..errors import BudgetExceededError
from ..guards.charge import Charge
from ..guards.costs.amends import changes_of
from ..guards.fallbacks.fallback import Fallback
from ..guards.guard import Guard
from ..guards.scope import Scope
from ..guards.unscoped.watch import require_scope
from ..money import Nano
from ..prices.hosts import CAPS, Server, host_of, learn, trust, trusted, without
from .fallbacks import falls_back, stand_by
from .places import Place, dearer
from .streams import watch
from .watches import is_stream

log = logging.getLogger("budgetguard")

_COST_HEADER = "x-litellm-response-cost"
"""In which a LiteLLM proxy states what a call cost."""

WORDS = ("messages", "input", "prompt", "inputs", "message")
"""What of a body says which call it is."""

_PARSED = ".types"
"""In the module of each class of bodies that an SDK parsed, the common case."""


class ErrorReply(Exception):
    """An error status, in a response that the caller is to get: nobody raises it there."""

    def __init__(self, response: Any) -> None:
        super().__init__(response)
        self.response = response
        self.status_code: int = response.status_code

    def __str__(self) -> str:
        """What the response says, as far as it is read."""
        return f"{self.status_code}: {self.response.text if hasattr(self.response, '_content') else ''}"


class Exchange:
    """
    One call: its request, read once, and its charge.

    The SDK tries again by itself. Each request is lost until its end is seen: a connection that was never made and an
    error status cost nothing; one that broke off, or that nobody waited for, may have been answered.
    """

    client: Any
    guard: Guard
    endpoint: Endpoint
    dialect: Dialect
    """The API that it speaks."""
    given: Any
    """The SDK's own object for the request."""
    is_async: bool
    """Whether its reply is awaited."""
    body: Mapping[str, Any]
    """The JSON that will be sent."""
    unreadable: bool
    """Whether it is no JSON object, or not read yet: the body here is then empty."""
    form: Any
    """The files of a multipart form, as the caller gave them."""
    place: Place

    http: Any = None
    """The client of httpx by which it is sent, if that is known: what goes out by it meanwhile is this call's."""
    by_http = False
    """Whether its attempts are to be seen there."""
    prepare: Callable[[Any], Any] | None = None
    """What readies `given` once, before it is read, if the SDK has such a step; awaited where the reply is."""
    carried: Any = None
    """What was handed on to the SDK; `None` before that."""
    billed: Collection[int] = ()
    """The error statuses that the host bills."""
    lost: int | None = None
    """How many requests may have been billed without an answer; `None`: none was seen going out."""
    sent: int = 0
    """How many requests were seen going out."""
    response: Any = None
    """The last response, if the last request had one."""
    charge: Charge | None = None
    ask_usage = False
    """Whether the stream is asked for its usage, which the caller did not."""
    added: Mapping[str, Any] = NOTHING
    """The fields that only we sent."""
    seller: str | None = None
    """Whose prices count, where the host does not say it."""
    dropped: Mapping[str, int] = NOTHING
    """Those that this call is sent again without, as `Host.refuses` has them."""
    guessed = False
    fallback: Fallback | None = None
    """Which models may be asked in the place of its own; made where some budget says any."""

    @property
    def at_home(self) -> bool:
        """Whether its client answered by itself if no request was seen going out: a stub, a cache of its own."""
        return False

    @property
    def unread(self) -> bool:
        """Whether the reply comes back with its body unread. Read from the request: every reply can be iterated."""
        raise NotImplementedError

    @property
    def decoded(self) -> bool:
        """Whether the SDK decodes its stream, if it is one: nobody then sees an item that is taken out."""
        raise NotImplementedError

    @property
    def path(self) -> str:
        """What it asks for, below the URL of its client."""
        raise NotImplementedError

    @property
    def headers(self) -> Mapping[str, Any]:
        """Those that it states, or its client does."""
        raise NotImplementedError

    def take(self, given: Any) -> None:
        """Take what `prepare` made of the request for it."""
        raise NotImplementedError

    def rewrite(self, body: Mapping[str, Any]) -> bool:
        """Take another body for the caller's, with another model in it; whether that can be."""
        return False

    def shown(self, response: Any) -> Any:
        """The reply as it can be read, where it is neither JSON, nor an object of it, nor HTTP's own."""
        return response

    def proceed(self) -> Any:
        """Send it, with `changes`; the caller's arguments stay as they are."""
        raise NotImplementedError

    @property
    def _server(self) -> Server:
        return self.place.server(self.body.get("model"))

    def open(self, scope: Scope | None) -> Charge:
        """Read the request, and make its charge."""
        guard, place = self.guard, self.place
        self.added = NOTHING
        model = self.body.get("model")
        host = host_of(place.name, place.version, place.port, model if isinstance(model, str) else "", place.azure)
        if self.dropped:
            host = without(host, self.dropped)
        self.billed, self.lost, self.response, self.sent = host.billed, None, None, 0
        files = files_of(self.form) if self.form else ()
        provider = self.seller or guard.prices.provider(place.name, place.path) or place.provider
        charge = self.charge = guard.charge(self.endpoint, self.body, files, provider, scope, host=host)
        if place.deployment and place.deployment != charge.call.model:
            charge.call = charge.call._replace(model=dearer(charge, place.deployment))
        if self.unreadable:
            charge.call = charge.call._replace(
                unread=True, unknown_input=True, cap=None, max_output=None, default_output=None
            )
        elif host.refuses and charge.call.cap is not None and self.dialect.cap_field(self.endpoint, host) is None:
            charge.call = charge.call._replace(cap=None)
        if self.dialect.headed is not None:
            charge.call = self.dialect.headed(charge.call, self.headers)
        if charge.call.stream and self.decoded and self.endpoint.amend is not None:
            self.ask_usage = self._asks_usage()
        if guard.coverage.falls or (scope is not None and scope.fallbacks):
            stand_by(self, charge)
        return charge

    def asked(self) -> tuple[str | None, Host]:
        """Whom the request asks: the provider whose prices count there, and what is known of the host."""
        place = self.place
        provider = self.seller or self.guard.prices.provider(place.name, place.path) or place.provider
        return provider, host_of(*place.server(None))

    def is_above(self, other: Exchange) -> bool:
        """
        Whether a request that is made while this one is on its way has its charge already: it is this one, seen by a
        second wrapper beneath, or another SDK asks by it for the same model on behalf of this one.
        """
        if other.given is self.carried:
            return True
        if other.dialect is self.dialect:
            return False
        return plain_name(other.body.get("model")) == plain_name(self.body.get("model"))

    def is_beneath(self, above: Exchange) -> bool:
        """Whether the call above has this one's charge."""
        return above.is_above(self)

    def charged(self, *, held: bool) -> Self | None:
        """Itself, if it is to be charged: not if a call above has its charge, or no ledger covers it."""
        above = charging.get()
        if (
            above is not None and above.carried is not None and self.is_beneath(above)
        ):  # one that is over has no request
            return None
        if not held and self.endpoint.request is not None:
            require_scope_of(self.open(None))
        return self if held else None

    def again(self, error: Exception) -> bool:
        """
        Whether the call is to be sent once more: it failed for a field, maybe, that only we sent.

        The error of a request that was sent without any is the caller's.
        """
        if self.fallback is not None and falls_back(self, self.fallback, error):
            return True
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
        if self.lost is None and self.at_home:
            charge.failed(free=True)
            return
        try:
            if self.sent > 1 or self.dropped or not charge.asked.host.known:
                self._understood(charge)
            answer = self.endpoint.answer
            if answer is not None and _PARSED in type(response).__module__:
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
            charge.failed(free=self.carried is None or free_failure(error), sent=int(self.carried is not None))
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
        if http is not None and (self.unread or is_stream(http.headers.get("content-type", ""))):
            watch(charge, http, is_async=self.is_async, ask_usage=self.ask_usage)
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

    changes = changes_of

    def _asks_usage(self) -> bool:
        assert self.charge is not None
        place, hosts = self.place, self.guard.settings.usage_hosts
        return self.charge.asked.host.usage or place.name in hosts or f"{place.name}:{place.port}" in hosts


def require_scope_of(charge: Charge) -> None:
    """Say, or refuse, that no ledger covers a call, while scopes are used in this process and it is outside of them."""
    plans, asked = charge.parts.plans, charge.asked
    require_scope(charge.parts, plans.find(asked.provider, charge.call, asked.tags), asked.scope)


def _stated(header: str | None) -> Nano:
    """The cost that a proxy states; 0 if it states none."""
    cost, _fee = stated_cost({"cost": header}) if header else (None, 0)
    return cost or 0


def http_response(response: Any) -> Any:
    """The HTTP response inside what an SDK returned; `None` for a parsed body."""
    if _PARSED in type(response).__module__:
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


def plain_name(model: Any) -> str:
    """A model's name without what stands before it, as gateways have it: "anthropic/claude-opus-5"."""
    return model.rpartition("/")[2] if isinstance(model, str) else ""


charging: ContextVar[Exchange | None] = ContextVar("budgetguard_exchange", default=None)
"""
The call that is on its way here, and has its charge. SDKs go on in threads and tasks of their own, which have a copy of
the context.
"""
