"""What all calls of one process share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from ....guards.guard import Guard
from ...keys import OwnerRules
from ..client import UpstreamClient
from ..config.model import GatewayOptions
from ..routing.router import Router

OF_A_CALL: Final = ("model", "provider", "upstream")
"""The tags that a call has only where a rule counts by them: each makes more kinds of calls to keep apart."""


@dataclass(slots=True)
class Surroundings:
    """The upstreams' router and client, and what the operator decided for every call."""

    options: GatewayOptions
    router: Router
    client: UpstreamClient

    def tags_of(self, guard: Guard, owners: Iterable[OwnerRules]) -> Sequence[str]:
        """Which of `OF_A_CALL` some rule asks for: of the operator's, or of the caller's owners."""
        used = {tag for budget in guard.budgets for tag in (*budget.per, *budget.match)}
        used.update([tag for owner in owners for rule in owner.rules for tag in rule.match])
        return [tag for tag in OF_A_CALL if tag in used]
