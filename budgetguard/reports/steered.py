"""Budgets as they are steered now: the account that counts, and the limit that holds, paused or not."""

from __future__ import annotations

from typing import NamedTuple

from ..budgets.rules import Budget, UserBudget, escape
from ..budgets.steering.known import Steers
from ..budgets.steering.steers import STEERS
from ..ledger import Account, Millis, Store


class SteeredSubject(NamedTuple):
    """A budget of a subject, with what people changed of it."""

    rule: Budget
    subject: str
    account: Account
    limit: int | None
    paused: bool = False
    by: str = ""
    note: str = ""


def steers_of(store: Store) -> Steers:
    """What is changed now of all rules of a store."""
    return Steers.of(store.terms(STEERS))


def steered_subjects(steers: Steers, rule: Budget) -> set[str]:
    """The subjects of a rule that are steered apart."""
    stem = f"{escape(rule.name)}/"
    return {name.removeprefix(stem) for name in steers.by_stem if name.startswith(stem)}


def of_rule(steers: Steers, rule: Budget, subject: str, at_ms: Millis) -> SteeredSubject:
    """A rule for a subject, as account keys have it."""
    found = [steer for _, steer in steers.on(rule, subject)]
    account = steers.account(rule, subject, at_ms)
    if not found:
        return SteeredSubject(rule, subject, account, account.limit)
    last, paused = found[-1], any(each.paused for each in found)
    return SteeredSubject(rule, subject, account, steers.limit(rule, subject, at_ms), paused, last.by, last.note)


def of_user(own: UserBudget, at_ms: Millis) -> SteeredSubject:
    """A user's own budget."""
    steer, account = own.steer, own.account(at_ms)
    return SteeredSubject(own.rule, escape(own.user), account, own.limit_at(at_ms), steer.paused, steer.by, steer.note)
