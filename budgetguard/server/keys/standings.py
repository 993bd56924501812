"""How much of its limits a key, a team, a user or a customer has taken."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from ...budgets.accounts import read_balances
from ...budgets.rules import Budget, escape
from ...ledger import Millis, Store
from .finding.caller import OwnerRules


class LimitStanding(NamedTuple):
    """One limit, and what was taken of it in this period, in its unit."""

    owner: OwnerRules
    rule: Budget
    taken: int
    held: int
    resets_ms: Millis | None

    @property
    def left(self) -> int | None:
        """What may still be spent; `None` without a limit."""
        limit = self.rule.limit
        return None if limit is None else max(limit - self.taken - self.held, 0)


def limit_standings(store: Store, owners: Iterable[OwnerRules], now_ms: Millis) -> list[LimitStanding]:
    """The limits of owners with their books, in one look at the project's store."""
    pairs = [(owner, rule) for owner in owners for rule in owner.rules]
    balances = read_balances(store, [rule.account_of(escape(owner.name), now_ms) for owner, rule in pairs])
    return [
        LimitStanding(owner, rule, balance.settled, balance.held, rule.window(now_ms).resets_ms)
        for (owner, rule), balance in zip(pairs, balances, strict=True)
    ]
