"""
A steer: what people changed of one budget of one subject while it runs, beside its rule.

A user's own is kept with the terms of their budget; those of rules are together in one place, `STEERS`, by their stems:
"rule/subject", or "rule" for all of its subjects. Each hold carries the version of both, so that a steer holds from
the very next call in every process.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ...errors import StoreError
from ...ledger import Account, Millis, Unit
from ...ledger.as_json import plain, read
from ...money import MAX_AMOUNT

STEERS: Final = "steers"
"""The key of the terms in which the steers of rules are."""


@dataclass(frozen=True, slots=True)
class Steer:
    """What was changed; a value that is at its default changes nothing."""

    paused: bool = False
    """No call passes until it is resumed."""
    limit: int | None = None
    """In the place of the rule's, in its unit."""
    limit_until_ms: Millis | None = None
    """From when on the rule's own limit holds again; `None`: it does not."""
    extra: int = 0
    """Topped up once: added to the limit."""
    extra_until_ms: Millis | None = None
    """Until the end of the period in which it was topped up; `None`: for ever, as the period is."""
    epoch: int = 0
    """How often the spend was set to zero by hand: the accounts of each epoch are new ones."""
    unit: Unit = "dollars"
    """What `limit` and `extra` count: rules of one name may differ in that, as those of a key do."""
    by: str = ""
    """Who changed it last, and why: a refusal of what is paused says it."""
    note: str = ""

    def limit_at(self, limit: int | None, at_ms: Millis) -> int | None:
        """The limit that holds at a moment, in the place of the rule's."""
        if self.limit is not None and (self.limit_until_ms is None or at_ms < self.limit_until_ms):
            limit = self.limit
        if limit is not None and (self.extra_until_ms is None or at_ms < self.extra_until_ms):
            limit = min(limit + self.extra, MAX_AMOUNT)  # a raise and several top-ups may come to more
        return limit

    def applied(self, account: Account, at_ms: Millis) -> Account:
        """The account as it is steered at a moment; a paused one has no room for anything."""
        return steered(account, (self,), at_ms)

    def extra_at(self, at_ms: Millis) -> int:
        """What was topped up and still counts at a moment."""
        return self.extra if self.extra_until_ms is None or at_ms < self.extra_until_ms else 0

    @property
    def idle(self) -> bool:
        """Whether it changes nothing, whoever was the last to change it."""
        return replace(self, by="", note="", unit="dollars") == NO_STEER

    def settled(self) -> Steer:
        """What is left of it once somebody says anew what the limit is: a pause, and the accounts that there are."""
        kept = replace(NO_STEER, epoch=self.epoch)
        return replace(kept, paused=True, by=self.by, note=self.note) if self.paused else kept

    def ends_ms(self, at_ms: Millis) -> Millis | None:
        """The next moment at which it is another one by itself."""
        ends = [end for end in (self.limit_until_ms, self.extra_until_ms) if end is not None and end > at_ms]
        return min(ends, default=None)

    def in_json(self) -> dict[str, Any]:
        """For the terms that it is kept in."""
        return plain(self)


NO_STEER: Final = Steer()


def steered(account: Account, steers: Sequence[Steer], at_ms: Millis) -> Account:
    """An account under several steers: each changes the limit that those before it left, and any may pause it."""
    limit = account.limit
    for steer in steers:
        limit = steer.limit_at(limit, at_ms) if steer.unit == account.unit else limit
    if any(steer.paused for steer in steers):
        return replace(account, limit=0, enforce="hard", lease=None)
    return account if limit == account.limit else replace(account, limit=limit)


def read_steer(data: Mapping[str, Any] | None) -> Steer:
    """The steer of a user's own budget, from its terms; none: it is not steered."""
    return NO_STEER if data is None else read(Steer, data)


def read_steers(body: str | None) -> dict[str, Steer]:
    """The steers of rules, by their stems, from the terms that have them; raises `StoreError` for what is none."""
    try:
        return {} if body is None else {stem: read(Steer, each) for stem, each in json.loads(body).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StoreError(f"the terms {STEERS!r} of the store are no steers of budgets: {error!r}") from error


def write_steers(steers: Mapping[str, Steer]) -> str:
    """The body of these terms; what changes nothing any more is left out."""
    return json.dumps({stem: each.in_json() for stem, each in steers.items() if not each.idle})
