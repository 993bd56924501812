"""
What is asked where a budget has no room for a model: another one, which the budget or the model's table names.

It is another call of the same text: it has a route, a price and budgets of its own, and whoever asks has to be allowed
it. What goes on with something that one model made, or that one provider keeps, is asked of no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from ....budgets.said.fallbacks import Fallbacks as Named
from ....calls import UNKNOWN_HOST
from ....guards.charge import Charge
from ....guards.fallbacks.fallback import Fallback
from ....guards.guard import Guard
from ...keys import Caller
from ...problems import Refused
from ..config.model import Route
from ..config.resolve import Configuration
from .offers import Offer, planned
from .refusals import Budgeted
from .request import Inbound

_MOST: Final = 8
"""How many other models are asked for one call, at most."""


class NearError(Exception):
    """A budget has room, and is so full that other models are asked first."""

    passes_on = True
    """The call goes on with another model: nothing failed."""

    def __init__(self, others: Sequence[str]) -> None:
        super().__init__(others)
        self.others = others


class FallbackRoutes:
    """The models that one call may be answered by instead, each asked at most once."""

    def __init__(self, configuration: Configuration, caller: Caller, inbound: Inbound, route: Route) -> None:
        self._configuration, self._caller, self._inbound = configuration, caller, inbound
        self._left: list[str] = []
        self._seen = {route.model}
        self._said: list[str] = []
        self._bound = bound(inbound)

    def add(self, names: Iterable[str]) -> None:
        """Have these be asked, too, after those that are left."""
        self._left += [name for name in names if name not in self._left]

    def next(self) -> Route | None:
        """Where the next one is asked for; `None`: there is no other."""
        if self._bound:
            if self._left:
                self._said = [f"no other model is asked, as {self._bound}"]
            return None
        while self._left and len(self._seen) <= _MOST:
            name = self._left.pop(0)
            found = self._found(name)
            if isinstance(found, Route) and found.model not in self._seen:
                self._seen.add(found.model)
                return found
            if isinstance(found, str):
                self._said.append(found)
        return None

    def _found(self, name: str) -> Route | str:
        """Where a model is asked for, or why it is not: a name that this key may not call is in no sentence."""
        asked = self._inbound.asked
        route = self._configuration.route(name, asked.api, asked.beside)
        if not self._caller.allows(name, *([route.model] if isinstance(route, Route) else ())):
            return "this key may not call another one that is named for it"
        return route if isinstance(route, Route) else f"{name!r} cannot be asked instead: {route.said}"

    def refused(self, route: Route, error: Refused) -> None:
        """Take in that there is no room for it either, or no price; raises what is no matter of budgets."""
        if error.status >= 500:
            raise error
        why = "there is no room for it" if isinstance(error, Budgeted) else error.message
        self._said.append(f"{route.model!r} cannot be asked instead: {why}")

    def told(self, refused: Budgeted) -> Budgeted:
        """The refusal of the model that was asked for, with what became of the others."""
        said = "; ".join(dict.fromkeys(self._said))
        return refused.with_more(said) if said else refused


def standing_by(guard: Guard, inbound: Inbound, model: str, *, looks: bool) -> Fallback:
    """
    What a charge is to know of other models: `model` is the one that is asked now, "" its own.

    `looks`: a budget that is near its limit may have another one asked at once.
    """
    looks = looks and guard.coverage.falls > 1 and not model and not bound(inbound)
    return Fallback(inbound.model, looks=looks, model=model)


def is_near(charge: Charge, route: Route) -> bool:
    """Whether a budget in dollars that an admitted call is on is as full as the model's table says."""
    held, named = charge.held, Named(route.over_budget, route.degrade_at)
    accounts = () if held.hold is None else held.hold.accounts
    return any(
        account.unit == "dollars" and named.near(account.limit, balance.settled + balance.held - held.amount)
        for account, balance in zip(accounts, held.balances, strict=False)
    )


def rewritten(guard: Guard, inbound: Inbound, offers: Sequence[Offer]) -> Inbound:
    """
    The request as these offers of another model take it: as its adapter writes it for that one, with the output cap
    that was stated for its own lowered to the most that all of these can write.
    """
    endpoint, first = inbound.asked.endpoint, offers[0]
    body: Mapping[str, Any] = inbound.body
    if endpoint.instead is not None:
        body = endpoint.instead(body, first.model, first.terms.host) or body
        body = {**body, "model": inbound.body["model"]} if "model" in inbound.body else _without_model(body)
    if endpoint.lower is not None:
        caps = [(offer.call.max_output, planned(guard, offer).plan.max_output) for offer in offers]
        least = min((most for said, most in caps if said is not None and most is not None and said > most), default=0)
        body = {**body, **endpoint.lower(body, least)} if least else body
    return inbound if body == inbound.body else inbound.written(body)


def _without_model(body: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: value for name, value in body.items() if name != "model"}


def bound(inbound: Inbound) -> str:
    """Why no other model can answer a request; "": another one can."""
    endpoint, body = inbound.asked.endpoint, inbound.body
    if endpoint.instead is None or inbound.form:
        return f"what {endpoint.name} asks for is its own model's"
    if endpoint.instead(body, inbound.model, UNKNOWN_HOST) is None or isinstance(body.get("prompt"), Mapping):
        return "it goes on with what its own model made, or its provider keeps"
    return "it runs in the background" if body.get("background") is True else ""
