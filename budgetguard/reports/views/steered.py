"""Budgets as they are steered now: the account that counts, and the limit that holds, paused or not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ...budgets.rules import Budget, UserBudget, escape
from ...budgets.steering.steers import STEERS, Steer, read_steers
from ...ledger import Account, Millis, Store


class SteeredSubject(NamedTuple):
    """A budget of a subject, with what people changed of it."""

    rule: Budget
    subject: str
    account: Account
    limit: int | None
    paused: bool = False
    by: str = ""
    note: str = ""


class Steering(NamedTuple):
    """What is changed now of all rules of a store."""

    steers: Mapping[str, Steer]

    @classmethod
    def of(cls, store: Store) -> Steering:
        """As the store has it."""
        terms = store.terms(STEERS)
        return cls({} if terms is None else read_steers(terms.body))

    def subjects(self, rule: Budget) -> set[str]:
        """Those of a rule that are steered."""
        stem = f"{escape(rule.name)}/"
        return {name.removeprefix(stem) for name in self.steers if name.startswith(stem)}

    def of_rule(self, rule: Budget, subject: str, at_ms: Millis) -> SteeredSubject:
        """A rule for a subject, as account keys have it."""
        stem = escape(rule.name)
        names = [stem, f"{stem}/{subject}"] if subject else [stem]
        found = [self.steers[name] for name in names if name in self.steers]
        epoch, limit = sum(each.epoch for each in found), rule.limit
        for each in found:
            limit = each.limit_at(limit, at_ms)
        account = rule.account_of(f"{subject}#{epoch}" if epoch else subject, at_ms)
        last = found[-1] if found else Steer()
        paused = any(each.paused for each in found)
        return SteeredSubject(rule, subject, account, limit, paused, last.by, last.note)

    def of_user(self, own: UserBudget, at_ms: Millis) -> SteeredSubject:
        """A user's own budget."""
        return SteeredSubject(own.rule, escape(own.user), own.account(at_ms), own.rule.limit)
