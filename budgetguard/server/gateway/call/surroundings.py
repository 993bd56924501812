"""What all calls of one process share."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from ....budgets.rules import Budget
from ....guards.guard import Guard
from ....guards.scope import Scope
from ...keys import Caller, OwnerRules
from ..client import UpstreamClient
from ..config.model import GatewayOptions
from ..config.resolve import Configuration
from ..routing.router import Router

OF_A_CALL: Final = ("model", "provider", "upstream")
"""The tags that a call has only where a rule counts by them: each makes more kinds of calls to keep apart."""

_MOST_KEPT: Final = 10_000


@dataclass(slots=True)
class Surroundings:
    """The upstreams' router and client, and what the operator decided for every call."""

    configuration: Configuration
    router: Router
    client: UpstreamClient
    options: GatewayOptions = field(init=False)
    _asked: dict[int, tuple[Sequence[Budget], frozenset[str]]] = field(default_factory=dict)
    """Which of `OF_A_CALL` rules ask for, by their identity: they are the same objects until one changes."""
    _scopes: dict[int, tuple[Caller, Scope]] = field(default_factory=dict)
    """The scope of each caller, by identity."""

    def __post_init__(self) -> None:
        """Go by the options of the configuration."""
        self.options = self.configuration.options

    def take(self, configuration: Configuration) -> None:
        """Go on by another configuration."""
        self.configuration, self.options = configuration, configuration.options

    def tags_of(self, guard: Guard, owners: Iterable[OwnerRules]) -> Sequence[str]:
        """Which of `OF_A_CALL` some rule asks for, those of the call's owners among them."""
        asked = self._asked_by(guard.budgets)
        for owner in owners:
            if owner.rules:
                asked |= self._asked_by(owner.rules)
        return [tag for tag in OF_A_CALL if tag in asked] if asked else ()

    def scope_of(self, caller: Caller) -> Scope:
        """The scope of a caller's calls, with the tags that the key gives: the same one as long as nothing changes."""
        kept = self._scopes.get(id(caller))
        if kept is None or kept[0] is not caller or kept[1].wait_s != self.options.wait_s:
            tags = {**caller.tags, "key": caller.prefix}
            if caller.user is not None:
                tags["user"] = caller.user
            if caller.team is not None:
                tags["team"] = caller.team
            kept = caller, Scope(tags, wait_s=self.options.wait_s)
            if len(self._scopes) >= _MOST_KEPT:
                self._scopes.clear()
            self._scopes[id(caller)] = kept
        return kept[1]

    def _asked_by(self, rules: Sequence[Budget]) -> frozenset[str]:
        kept = self._asked.get(id(rules))
        if kept is None or kept[0] is not rules:
            used = {tag for rule in rules for tag in (*rule.per, *rule.match)}
            kept = rules, frozenset(tag for tag in OF_A_CALL if tag in used)
            if len(self._asked) >= _MOST_KEPT:
                self._asked.clear()
            self._asked[id(rules)] = kept
        return kept[1]
