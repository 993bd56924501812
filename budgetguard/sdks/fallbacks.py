"""
Another model in the place of one that does not fit: how a call is sent anew.

The body is asked of the adapter (`Endpoint.instead`), and taken by the exchange of each seam (`Exchange.rewrite`); the
caller's own arguments stay as they are. What is charged, sent and read is then as of any other call.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final, Protocol

from ..adapters.common.errors import refused_fields
from ..calls import NOTHING, Endpoint, Host
from ..errors import BudgetExceededError, UnpricedModelError
from ..guards.charge import Charge
from ..guards.fallbacks.fallback import Degraded, Fallback
from ..guards.guard import Guard
from ..guards.scope import note_refusal
from ..prices.hosts import host_of
from .places import Place

log = logging.getLogger("budgetguard")

_OF_A_MODEL: Final = ("reasoning_effort", "reasoning", "thinking", "verbosity", "temperature", "top_p")
"""How a model is to think and to choose its words: what another one refuses of this, it is asked without."""


class Rewritable(Protocol):
    """A call as its seam gives it."""

    guard: Guard
    endpoint: Endpoint
    body: Mapping[str, Any]
    unreadable: bool
    place: Place
    carried: Any
    charge: Charge | None
    fallback: Fallback | None
    dropped: Mapping[str, int]
    guessed: bool

    def rewrite(self, body: Mapping[str, Any]) -> bool:
        """Take another body for the caller's, with another model in it; whether that can be."""
        ...


def stand_by(it: Rewritable, charge: Charge) -> None:
    """Have a charge know that another model may be asked; it is the same knowledge while the call is tried again."""
    if charge.call.file is not None or it.endpoint.opaque:
        return
    fallback = it.fallback
    if fallback is None:
        fallback = it.fallback = Fallback(charge.call.model, it.body, bound=_is_bound(it))
        scope = charge.asked.scope
        degrades = scope is not None and any(falls.degrade_at is not None for falls in scope.fallbacks)
        fallback.looks = not fallback.bound and (it.guard.coverage.falls > 1 or degrades)
    charge.fallback = fallback
    if fallback.model:
        charge.asked = charge.asked._replace(instead_of=fallback.asked)


def falls_back(it: Rewritable, fallback: Fallback, error: Exception) -> bool:
    """
    Whether the call is to be sent once more, with another model, after it was refused; or the same without a field that
    this one refuses. Where nothing is left to ask, the refusal of its own model is raised, and says what was tried.
    """
    if it.carried is not None:
        return bool(fallback.model) and _without_refused(it, error)
    if isinstance(error, UnpricedModelError) and fallback.model:
        fallback.tried[fallback.model] = "its price is not known"
    elif isinstance(error, BudgetExceededError):
        if error.paused:
            return False
    elif not isinstance(error, Degraded):
        return False
    while fallback.left:
        model = fallback.left.pop(0)
        unfit = _unfit(it, fallback, model)
        if unfit is None:
            return True
        fallback.tried[model] = unfit
    if fallback.first is not None:
        if fallback.tried:
            _raise_first(it, fallback, fallback.first)
        return False
    fallback.looks, fallback.model = False, ""  # it was near its limit, and has room yet
    return fallback.tried != {} and it.rewrite(fallback.body)


def _raise_first(it: Rewritable, fallback: Fallback, first: BudgetExceededError) -> None:
    """Raise the refusal of the model that was asked for, with what became of all others."""
    first.add(fallback.said())
    charge = it.charge
    note_refusal(None if charge is None else charge.asked.scope, first)
    if fallback.told is not None:
        fallback.told()
    raise first from None


def _is_bound(it: Rewritable) -> bool:
    """Whether no other model can be asked for what this call does."""
    model, instead = it.body.get("model"), it.endpoint.instead
    if instead is None or it.unreadable or it.place.deployment or not isinstance(model, str):
        return True
    return instead(it.body, model, _host(it, model)) is None


def _unfit(it: Rewritable, fallback: Fallback, model: str) -> str | None:
    """Have the call ask another model; or say in a few words why it cannot."""
    charge, prices, instead = it.charge, it.guard.prices, it.endpoint.instead
    assert charge is not None
    assert instead is not None
    provider = charge.asked.provider
    if provider is not None and not prices.declares(provider, model) and prices.sells(provider, model) is None:
        _warn(it, model, "%r is no model of %s, whom %r is asked of: it is no fallback for that", provider, fallback)
        return f"{provider} does not have it"
    try:
        quote = prices.quote(provider, model, charge.call.tier)
    except UnpricedModelError:
        _warn(it, model, "the price of %r is not known at %s: it is no fallback for %r", provider, fallback)
        return "its price is not known"
    body = instead(fallback.body, model, _host(it, model))
    if body is None:
        return "what this call asks for belongs to its own model"
    most, lower = quote.max_output, it.endpoint.lower
    stated = charge.call.max_output
    if most is not None and lower is not None and stated is not None and stated > most:
        body = {**body, **lower(body, most)}
    if not it.rewrite(body):
        return "this client cannot ask it"
    it.dropped, it.guessed = NOTHING, False
    fallback.model = model
    return None


def _warn(it: Rewritable, model: str, text: str, provider: str | None, fallback: Fallback) -> None:
    it.guard.notices.warn_once(f"fallback {provider} {model}", text, model, provider or "its host", fallback.asked)


def _host(it: Rewritable, model: str) -> Host:
    """What is known of the host where it is asked for a model."""
    return host_of(*it.place.server(model))


def _without_refused(it: Rewritable, error: Exception) -> bool:
    """Have a fallback asked without what it refuses of how to think; whether there is such a thing."""
    said = {name: it.body[name] for name in _OF_A_MODEL if name in it.body}
    refused = refused_fields(error, said) if said else {}
    if not refused:
        return False
    return it.rewrite({name: value for name, value in it.body.items() if name not in refused})
