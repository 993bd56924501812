"""The steers of rules, as a process knows them: which account a rule's subject has now, and whether it is paused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, TypeAlias

from ...ledger import Account, Millis, Terms, Unit
from ..rules import Budget, UserBudget, escape, terms_key
from .steers import STEERS, Steer, read_steers, steered

Subject: TypeAlias = tuple[Budget, str]
"""A rule, and whose account of it is meant, as keys have it."""


class Pause(NamedTuple):
    """That no call passes, and who says so."""

    target: str
    """What is paused, as commands name it."""
    account: Account
    """The account that it would be, if it were not."""
    by: str
    note: str


@dataclass(frozen=True, slots=True)
class Steers:
    """Those of all rules of one store, with the version of the terms that they were read from."""

    version: int = 0
    by_stem: Mapping[str, Steer] = field(default_factory=dict)

    @classmethod
    def of(cls, terms: Terms | None) -> Steers:
        """As the store says; raises `StoreError` for what cannot be read."""
        return UNSTEERED if terms is None else cls(terms.version, read_steers(terms.body))

    def on(self, rule: Budget, subject: str) -> list[tuple[str, Steer]]:
        """Those that hold for a subject, as an account's key has it: of the whole rule, and its own."""
        if not self.by_stem:
            return []
        stem = escape(rule.name)
        stems = [stem, f"{stem}/{subject}"] if subject else [stem]
        return [(each, self.by_stem[each]) for each in stems if each in self.by_stem]

    def account(self, rule: Budget, subject: str, at_ms: Millis) -> Account:
        """The account of a rule's subject now."""
        found = [steer for _, steer in self.on(rule, subject)]
        account = rule.account_of(epoch_of(rule, subject, found), at_ms)
        return steered(account, found, at_ms) if found else account

    def limit(self, rule: Budget, subject: str, at_ms: Millis) -> int | None:
        """The limit that holds for a subject now, paused or not."""
        limit = rule.limit
        for _, steer in self.on(rule, subject):
            limit = steer.limit_at(limit, at_ms) if steer.unit == rule.unit else limit
        return limit

    def paused(self, subjects: Sequence[Subject], at_ms: Millis) -> Pause | None:
        """By which steer one of these is paused, if one is."""
        for rule, subject in subjects if self.by_stem else ():
            found = self.on(rule, subject)
            for stem, steer in found:
                if steer.paused:
                    account = rule.account_of(epoch_of(rule, subject, [each for _, each in found]), at_ms)
                    limit = self.limit(rule, subject, at_ms)
                    return Pause(stem, replace(account, limit=limit), steer.by, steer.note)
        return None

    def epoch(self, stem: str, subject: str, unit: Unit) -> int:
        """How often the spend of a rule's subject was set to zero by hand, both as keys have them."""
        if unit == "parallel":
            return 0
        return sum(self.by_stem[each].epoch for each in (stem, f"{stem}/{subject}") if each in self.by_stem)

    def is_paused(self, key: str) -> bool:
        """Whether a rule, or a subject of it, is paused; named as commands do."""
        stems = {key, key.partition("/")[0]}
        return any(self.by_stem[each].paused for each in stems if each in self.by_stem)

    def covering(
        self, subjects: Sequence[Subject], at_ms: Millis
    ) -> tuple[list[Account], list[Millis], Pause | None, tuple[str, int]]:
        """The accounts of these; when one of them ends; which is paused; what a hold says of steers."""
        accounts = [self.account(rule, subject, at_ms) for rule, subject in subjects]
        return accounts, self.ends_ms(subjects, at_ms), self.paused(subjects, at_ms), (STEERS, self.version)

    def ends_ms(self, subjects: Sequence[Subject], at_ms: Millis) -> list[Millis]:
        """When a steer of one of these is another one by itself."""
        steers = [steer for subject in subjects for _, steer in self.on(*subject)] if self.by_stem else []
        return [end for steer in steers if (end := steer.ends_ms(at_ms)) is not None]


UNSTEERED: Final = Steers()


def epoch_of(rule: Budget, subject: str, steers: list[Steer]) -> str:
    """
    The subject in the keys of its accounts: with how often the spend was set to zero by hand.

    Calls in flight are none that was spent: a second account would let as many more be made at once.
    """
    epoch = 0 if rule.unit == "parallel" else sum(steer.epoch for steer in steers)
    return f"{subject}#{epoch}" if epoch else subject


def user_pause(own: UserBudget, at_ms: Millis) -> Pause | None:
    """The same of a user's own budget."""
    steer = own.steer
    if not steer.paused:
        return None
    account = replace(own.rule.account_of(own.subject, at_ms), limit=own.limit_at(at_ms))
    return Pause(terms_key(own.user), account, steer.by, steer.note)
