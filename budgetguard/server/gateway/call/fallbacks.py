"""
What is asked where a budget has no room for a model: another one, which the budget or the model's table names.

It is another call of the same text: it has a route, a price and budgets of its own, and whoever asks has to be allowed
it. What goes on with something that one model made, or that one provider keeps, is asked of no other.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Final, NamedTuple

from ....budgets.rules import Budget, escape
from ....errors import BudgetExceededError
from ....guards.charge import Charge
from ....guards.guard import Guard
from ....ledger import Account
from ...keys import Caller, OwnerRules
from ...problems import Refused
from ..config.model import Route
from ..config.resolve import Configuration
from .offers import Offer, planned
from .refusals import Budgeted
from .request import Inbound

_SWAPPED: Final = frozenset(
    {
        "chat.completions",
        "completions",
        "responses",
        "messages",
        "models.generateContent",
        "models.streamGenerateContent",
    }
)
"""The operations that another model can answer; a vector of another one is in another space."""
_BOUND: Final = ("previous_response_id", "conversation", "container", "cachedContent", "cached_content")
"""Fields that name what a provider keeps; a prompt that it keeps is an object."""
_MOST: Final = 8
"""How many other models are asked for one call, at most."""


class NearError(Exception):
    """A budget has room, and is so full that others are asked first: `models`."""

    def __init__(self, models: tuple[str, ...]) -> None:
        super().__init__(models)
        self.models = models


class Rules(NamedTuple):
    """The rules that hold for a call: those of the configuration, and those of its owners."""

    guard: Guard
    owners: Iterable[OwnerRules]

    def after(self, error: BudgetExceededError) -> tuple[str, ...]:
        """The models that the budget names which refused a call."""
        found = (rule for rule in self._all() if rule.unit == error.unit and escape(rule.name) == error.budget)
        return next((rule.fallback for rule in found if rule.fallback), ())

    def near(self, charge: Charge, route: Route) -> tuple[str, ...]:
        """The models that are asked at once, by a budget that is full up to where it says so; none if there is none."""
        held = charge.held
        accounts = () if held.hold is None else held.hold.accounts
        for account, balance in zip(accounts, held.balances, strict=False):
            own = held.amount if account.unit == "dollars" else held.units.get(account.unit, 1)
            taken = balance.settled + balance.held - own
            for models, part in self._degrading(account, route):
                if account.limit and taken >= part * account.limit:
                    return models
        return ()

    def _degrading(self, account: Account, route: Route) -> Iterator[tuple[tuple[str, ...], float]]:
        name = account.key.partition("/")[0]
        for rule in self._all():
            if rule.degrade_at is not None and rule.unit == account.unit and escape(rule.name) == name:
                yield rule.fallback, rule.degrade_at
        if route.degrade_at is not None and account.unit == "dollars":
            yield route.over_budget, route.degrade_at

    def _all(self) -> Iterator[Budget]:
        return chain(self.guard.budgets, chain.from_iterable(owner.rules for owner in self.owners))


class OtherModels:
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


def fitted(guard: Guard, inbound: Inbound, offers: Iterable[Offer]) -> Inbound:
    """The request with the cap that was stated for another model lowered to the most that these can write."""
    lower = inbound.asked.endpoint.lower
    if lower is None:
        return inbound
    caps = [(offer.call.max_output, planned(guard, offer).plan.max_output) for offer in offers]
    least = min((most for stated, most in caps if stated is not None and most is not None and stated > most), default=0)
    return inbound.lowered(lower(inbound.body, least)) if least else inbound


def bound(inbound: Inbound) -> str:
    """Why no other model can answer a request; "": another one can."""
    if inbound.asked.endpoint.name not in _SWAPPED or inbound.form:
        return f"{inbound.asked.endpoint.name} is no text that any could write"
    named = next((name for name in _BOUND if inbound.body.get(name) is not None), "")
    if named or isinstance(inbound.body.get("prompt"), Mapping):
        return f"the request goes on with what its provider keeps ({named or 'prompt'})"
    return "it runs in the background" if inbound.body.get("background") is True else ""
