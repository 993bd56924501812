"""Which models a budget has asked in the place of one that does not fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

from ...ledger import Account
from ..rules import Budget

_WHOLE = 1_000_000
"""Parts of a limit are compared as whole numbers: 0.07 of 100 is 7."""


class Fallbacks(NamedTuple):
    """What a budget, or a scope, says of that."""

    models: tuple[str, ...] = ()
    """In order."""
    degrade_at: float | None = None
    """The part of the limit from which on they are asked at once."""

    def near(self, limit: int | None, taken: int) -> bool:
        """Whether so much of a limit is taken; one of nothing, as that of what is paused, is never near."""
        if self.degrade_at is None or not limit:
            return False
        return taken * _WHOLE >= limit * round(self.degrade_at * _WHOLE)


NO_FALLBACKS: Final = Fallbacks()


def most_said(rules: Sequence[Budget]) -> int:
    """Whether one of these rules has fallbacks (1), or even has them asked before its limit (2)."""
    return max([1 + (rule.degrade_at is not None) for rule in rules if rule.fallback], default=0)


def fallbacks_on(rules: Sequence[Budget], accounts: Sequence[Account]) -> dict[str, Fallbacks]:
    """What these rules say, by the keys of their accounts."""
    pairs = zip(accounts, rules, strict=True)
    return {account.key: Fallbacks(rule.fallback, rule.degrade_at) for account, rule in pairs if rule.fallback}
