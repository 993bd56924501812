"""
The budgets of rules that run now, as their accounts in a store tell: what each has taken, whoever made the rule.

A rule may be known to a program only. Its accounts say its name, for whom they are and what they count; a limit they do
not say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..ledger import Millis, Store, Unit, unit_of
from ..ledger.units import MARK
from .periods import named_by
from .rules import MODELS, USERS, Budget, unescape


class Running(NamedTuple):
    """A rule's budget for one subject, in the period that is running."""

    rule: str
    subject: str
    """The values of the tags that it is for, commas between them; "" if it is for all."""
    unit: Unit
    spent: int
    held: int
    limit: int | None
    """`None`: it has none, or is not among the rules that are known here."""
    period: str
    """Its name, or else what the label of the period says, such as "2027-01" or "rolling 1m"."""

    @property
    def left(self) -> int | None:
        """What may still be spent, as far as a limit is known."""
        return None if self.limit is None else max(self.limit - self.spent - self.held, 0)


def running(store: Store, rules: Sequence[Budget], now_ms: Millis) -> list[Running]:
    """What runs now, by the names of the rules; the buckets of a rolling period are added up."""
    known = {rule.name: rule for rule in rules}
    over = {each.key for each in store.carried() if each.end_ms is not None and each.end_ms <= now_ms}
    found: dict[tuple[str, str, Unit], Running] = {}
    for balance in store.accounts():
        if balance.key.startswith((USERS, MODELS)) or balance.key in over or balance.key.count("/") != 2:
            continue
        unit = unit_of(balance.key)
        name, subject, label = map(unescape, balance.key.removesuffix(f"{MARK}{unit}").split("/"))
        rule = known.get(name)
        if rule is not None and rule.unit != unit:
            rule = None  # it counted something else before
        limit, period = (None, named_by(label)) if rule is None else (rule.limit, rule.period.name)
        before = found.get((name, subject, unit))
        spent, held = (0, 0) if before is None else (before.spent, before.held)
        spent, held = spent + balance.settled, held + balance.held
        found[name, subject, unit] = Running(name, subject, unit, spent, held, limit, period)
    return list(found.values())
