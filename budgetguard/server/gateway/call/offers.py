"""
What a call can cost at each upstream that may answer it: the dearest is what is held.

An offer is a target with the call as it would be made there. One charge is made for those that the same budgets cover;
whichever of them answers is what the charge is settled by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit

from ....adapters.common.bodies import items
from ....adapters.openai.input.tools import is_hosted
from ....calls import Answer, Call
from ....errors import UnpricedModelError
from ....guards.admission import Asked as Terms
from ....guards.admission import project
from ....guards.charge import Charge
from ....guards.costs.projection import plain_wish
from ....guards.guard import Guard
from ....guards.scope import Scope
from ....money import Nano
from ....prices.hosts import Server, host_of, learn
from ....prices.sources.find import FREE_PROVIDER
from ...keys import Caller
from ...problems import Refused
from ..config.model import Target, Upstream
from .paths import DIALECTS
from .request import Inbound

Name: TypeAlias = tuple[str, str | None]
"""Of an offer: its upstream's, and the model's there."""


def name_of(target: Target) -> Name:
    """What the offer of a target is known by."""
    return target.upstream.name, target.model


class Whereabouts(NamedTuple):
    """Where an upstream's base URL of one API leads."""

    name: str
    port: int | None
    path: str


@lru_cache(1_024)
def whereabouts(base: str) -> Whereabouts:
    """The host, port and path of a base URL."""
    parts = urlsplit(base)
    return Whereabouts(parts.hostname or "", parts.port, parts.path)


@dataclass(slots=True)
class Offer:
    """A target, and the call as it is made there."""

    target: Target
    model: str
    """As the upstream calls it."""
    terms: Terms
    call: Call

    @property
    def upstream(self) -> Upstream:
        """Who is asked."""
        return self.target.upstream


def offer_of(guard: Guard, inbound: Inbound, target: Target, scope: Scope) -> Offer:
    """What a target is asked for, for a caller in this scope."""
    asked, upstream = inbound.asked, target.upstream
    model = target.model or ""
    place = whereabouts(upstream.bases[asked.api])
    host = host_of(place.name, None, place.port, model)
    seller = upstream.prices or guard.prices.provider(place.name, place.path)
    body = inbound.body
    if body.get("model") != model:  # what is sent names this one, also where the path alone says it
        body = {**body, "model": model}
    dialect = DIALECTS[asked.api]
    read = asked.endpoint.request
    call = Call(model) if read is None else read(body, inbound.files, host)
    if asked.api == "gemini":
        call = call._replace(model=model, stream=inbound.stream)
    if host.refuses and call.cap is not None and dialect.cap_field(asked.endpoint, host) is None:
        call = call._replace(cap=None)
    if dialect.headed is not None:
        call = dialect.headed(call, _joined((*inbound.headers, *upstream.headers.get(asked.api, ()))))
    if inbound.form:  # what is sent of a form stays as it is
        call = call._replace(cap=None)
    if ":free" in model and not upstream.free:
        _require_no_search(call, body)
    provider = FREE_PROVIDER if upstream.free else seller
    if call.user is not None:  # an end user: who pays comes from the key alone
        call = call._replace(user=None)
    return Offer(target, model, Terms(asked.endpoint, provider, host, scope.tags, scope), call)


def _joined(headers: Iterable[tuple[str, str]]) -> Mapping[str, str]:
    """Headers by their names; of one that is there several times, what all of them say, as a server reads it."""
    said: dict[str, str] = {}
    for name, value in headers:
        said[name] = f"{said[name]}, {value}" if name in said else value
    return said


def _require_no_search(call: Call, body: Mapping[str, Any]) -> None:
    """Raise `Refused` where OpenRouter would search for a model of its that is free: its fee has no budget to be on."""
    if "web_searches" in call.fixed or any(is_hosted(tool) for tool in items(body.get("tools"))):
        told = (
            f"{call.model[:100]!r} is free, and what a server looks up for it is not: ask for a model that has a price"
        )
        raise Refused(400, told, code="unpriced_search", param="model")


def require_named(offer: Offer, caller: Caller, *, counted: bool) -> None:
    """
    Raise `Refused` where a body has other models answer than the one that a key's models and budgets look at.

    `counted`: a budget counts by model, and what another one costs would be on this one's.
    """
    call = offer.call
    tools = () if call.tools is None else call.tools.also
    others = {*call.others, *(name for name, _ in (*call.also, *tools))} - {offer.model}
    for name in others:
        if not (caller.allows(name) or caller.allows(f"{offer.upstream.name}/{name}")):
            raise Refused(403, f"this key may not call {name[:100]!r}", "permission_error", param="models")
    if counted and others.intersection(call.others):
        told = "a budget counts by model here: ask for one, and leave out the fields that let another one answer"
        raise Refused(400, told, code="other_models", param="models")


def learn_of(offer: Offer, base: str, refused: Mapping[str, int]) -> None:
    """Remember which fields the host of an offer refused, now that it answered without them."""
    place = whereabouts(base)
    learn(Server(place.name, None, place.port, offer.model), refused)


class BookedCharge(Charge):
    """A charge that remembers what was booked."""

    __slots__ = ("booked",)

    def __init__(self, guard: Guard, offer: Offer) -> None:
        super().__init__(guard.parts, offer.terms, offer.call, guard.tallies(offer.terms.scope))
        self.booked: Nano = 0

    def cost(self, answer: Answer) -> Nano:
        """The true cost, which is about to be booked."""
        self.booked = super().cost(answer)
        return self.booked


def planned(guard: Guard, offer: Offer) -> Charge:
    """A charge of an offer with its plan, to ask what the offer can cost; none is held for it."""
    charge = BookedCharge(guard, offer)
    charge.plan = guard.parts.plans.find(offer.terms.provider, offer.call, offer.terms.tags)
    return charge


def most(guard: Guard, offer: Offer) -> Nano:
    """The most that an offer can cost; raises `UnpricedModelError`."""
    charge = planned(guard, offer)
    plan = charge.plan
    if plan.error is not None and not plan.assumed:  # of it, or of another model that may answer
        raise plan.error
    wish = plain_wish(offer.call, plan, True, guard.settings.output_guess, charge.held)
    return wish.amount if wish is not None else project(charge).wish(hard=True).amount


def dearest(guard: Guard, offers: Sequence[Offer]) -> tuple[Offer, list[Offer]]:
    """The offer that can cost most, and all that have a price; where none has one, the first, whose charge says so."""
    if len(offers) == 1:
        return offers[0], list(offers)
    priced: list[tuple[Nano, Offer]] = []
    for offer in offers:
        try:
            priced.append((most(guard, offer), offer))
        except UnpricedModelError as error:
            guard.notices.warn_unpriced(error.model or offer.model)
    if not priced:
        return offers[0], [offers[0]]
    return max(priced, key=lambda pair: pair[0])[1], [offer for _, offer in priced]


def fits(guard: Guard, charge: Charge, offer: Offer) -> bool:
    """Whether what a charge holds is enough for another offer, capped as the call is."""
    if offer.terms is charge.asked:
        return True
    probe = planned(guard, offer)
    if probe.plan.quote is None or (probe.plan.error is not None and not probe.plan.assumed):
        return False
    if probe.plan.free or not charge.held.amount:
        return probe.plan.free or charge.plan.unheld
    projection = project(probe)
    cap = charge.bounds.cap
    need = projection.wish(hard=True).amount if cap is None else projection.cost(cap)
    return need <= charge.held.amount


def take_over(charge: Charge, offer: Offer) -> None:
    """Have a charge settled by the prices of the offer that is being asked."""
    if charge.asked is not offer.terms:
        charge.asked, charge.call, charge.projection = offer.terms, offer.call, None
        charge.plan = replace(
            charge.plan, counters=charge.plan.cover.counters(offer.call.model)
        )  # the accounts stay those of the hold


def alike(offers: Iterable[Offer]) -> list[list[Offer]]:
    """Offers, in their order, by whether the same budgets cover them: each list has a charge of its own."""
    groups: list[list[Offer]] = []
    for offer in offers:
        if groups and groups[-1][0].terms.tags == offer.terms.tags:
            groups[-1].append(offer)
        else:
            groups.append([offer])
    return groups
