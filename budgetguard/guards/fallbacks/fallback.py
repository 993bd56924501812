"""
What one call knows of the models that may be asked in the place of its own.

Whoever makes charges and can send a call anew with another model gives each charge a `Fallback`, the same one while
the call is tried again. A charge without one is refused as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from ...budgets.said.fallbacks import Fallbacks
from ...calls import NOTHING
from ...errors import BudgetExceededError
from ...ledger import Account
from ...ledger.units import ELASTIC
from ...process.tally import Held, Tally
from ..parts import Parts
from ..plan import CallPlan
from ..scope import Scope

FALLBACK: Final = "fallback"
"""The flag of an entry whose call was sent to another model than the one it was written for."""

ASKED_MODEL: Final = "asked_model"
"""The tag of such an entry that names the model which was asked for."""


class Degraded(Exception):
    """A budget is so near its limit that a fallback is asked at once; none but who made the charge sees it."""

    passes_on = True
    """The call goes on with another model: nothing failed."""


@dataclass(slots=True)
class Fallback:
    """The models that may be asked, and those that were."""

    asked: str
    """The model that the call was written for."""
    body: Mapping[str, Any] = field(default_factory=lambda: NOTHING, repr=False)
    """Its request, as it was written."""
    bound: bool = False
    """Whether what it asks for belongs to its model, so that no other can be asked."""
    looks: bool = False
    """Whether a budget that is near its limit has it ask another model at once."""
    model: str = ""
    """The one that is asked now in its place; "": its own."""
    sent: bool = False
    """Whether one of them was sent, which is counted once, also where it is asked again without a field."""
    left: list[str] = field(default_factory=list)
    """Those that may be asked yet, in order."""
    tried: dict[str, str] = field(default_factory=dict)
    """Why each of the others was not sent, in a few words."""
    first: BudgetExceededError | None = None
    """The refusal of its own model."""
    told: Callable[[], None] | None = None
    """Tells whoever hears of refusals of it: once nothing else was sent."""

    @property
    def steps(self) -> bool:
        """Whether its charge has more to look at than the plain path does."""
        return self.looks or bool(self.model)

    def add(self, models: Sequence[str]) -> None:
        """Have these asked, too, after those that are left."""
        known = {self.asked, self.model, *self.left, *self.tried}
        self.left += [model for model in models if model not in known]

    def said(self) -> str:
        """What a refusal says of them, after everything else."""
        return "".join(f"; {model} in its place: {why}" for model, why in self.tried.items())


class Refusable(Protocol):
    """A call that is being admitted."""

    parts: Parts
    plan: CallPlan
    held: Held
    fallback: Fallback | None

    @property
    def asked(self) -> Any:
        """What is asked for, by whom (`Asked`)."""


def scoped(scope: Scope | None) -> Iterator[tuple[Tally, Fallbacks]]:
    """The limits of the scopes around a call, the innermost first, and what each says of fallbacks."""
    if scope is not None and scope.fallbacks:
        yield from zip(reversed(scope.tallies), reversed(scope.fallbacks), strict=True)


def fallbacks_of(it: Refusable, account: Account) -> tuple[str, ...]:
    """The models to ask where this account has no room: its own rule's, else the innermost scope's that names any."""
    if account.unit not in ELASTIC or account.limit == 0:
        return ()  # any model is one request; and nothing fits where there is nothing, or what there is was paused
    rule = it.plan.cover.fallbacks.get(account.key)
    if rule is not None:
        return rule.models
    own = next((falls.models for tally, falls in scoped(it.asked.scope) if tally.account is account), ())
    return own or next((falls.models for _, falls in scoped(it.asked.scope) if falls.models), ())


def passed_on(it: Refusable, account: Account, told: Callable[[], None], error: BudgetExceededError) -> bool:
    """Take in a refusal; whether whoever made the charge says what becomes of it."""
    fallback = it.fallback
    if fallback is None:
        return False
    models = fallbacks_of(it, account)
    if fallback.bound:
        if models:
            error.add(f"; {models[0]} is not asked in its place: what this call asks for belongs to its own model")
        return False
    if fallback.model:
        fallback.tried[fallback.model] = f"refused by {error.budget}, at {_projected(error)}"
    else:
        fallback.first, fallback.told = error, told
    fallback.add(models)
    return bool(fallback.left or fallback.tried)


def _projected(error: BudgetExceededError) -> str:
    amount = error.projected
    return f"{amount:,} {error.unit}" if isinstance(amount, int) else f"{amount}"
