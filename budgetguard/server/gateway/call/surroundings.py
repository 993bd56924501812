"""What all calls of one process share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from ....guards.guard import Guard
from ...keys import Caller
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

    def tags_of(self, guard: Guard, caller: Caller) -> Sequence[str]:
        """Which of `OF_A_CALL` some rule asks for, the caller's own among them."""
        told = [rule for owner in caller.owners for rule in owner.rules]
        used = {tag for budget in (*guard.budgets, *told) for tag in (*budget.per, *budget.match)}
        return [tag for tag in OF_A_CALL if tag in used]
