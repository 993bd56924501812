"""
The budgets of rules that run now, as their accounts in a store tell: what each has taken, whoever made the rule.

A rule may be known to a program only. Its accounts say its name, for whom they are and what they count; its limit the
program has declared, as far as it may (`steering/declared.py`), and people may have steered.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ..ledger import Millis, Store, Unit, unit_of
from ..ledger.units import MARK
from .periods import named_by
from .rules import MODELS, USERS, Budget, unescape
from .steering.declared import declared
from .steering.known import Steers
from .steering.states import Condition, is_raised, left_of, state_of
from .steering.steers import STEERS


class Running(NamedTuple):
    """A rule's budget for one subject, in the period that is running."""

    rule: str
    subject: str
    """The values of the tags that it is for, commas between them; "" if it is for all."""
    unit: Unit
    spent: int
    held: int
    limit: int | None
    """What holds now; `None`: it has none, or is not among the rules that are known here."""
    period: str
    """Its name, or else what the label of the period says, such as "2027-01" or "rolling 1m"."""
    state: Condition = "ok"
    resets_ms: Millis | None = None
    """When it begins again, as far as it is known; a rolling period: when some of it may be free again."""
    key: str = ""
    """Of its account, without the period: how commands name it."""

    @property
    def left(self) -> int | None:
        """What may still be spent, as far as a limit is known."""
        return left_of(self.limit, self.spent, self.held, self.state)


def running(store: Store, rules: Sequence[Budget], now_ms: Millis) -> list[Running]:
    """
    What runs now, by the names of the rules; the buckets of a rolling period are added up.

    `rules` are those that are known beside the declared ones, and before them.
    """
    known = {rule.name: rule for rule in (*declared(store), *rules)}
    steers = Steers.of(store.terms(STEERS))
    over = {each.key for each in store.carried() if each.end_ms is not None and each.end_ms <= now_ms}
    found: dict[tuple[str, str, Unit], Running] = {}
    for balance in store.accounts():
        if balance.key.startswith((USERS, MODELS)) or balance.key in over or balance.key.count("/") != 2:
            continue
        unit = unit_of(balance.key)
        stem, escaped, label = balance.key.removesuffix(f"{MARK}{unit}").split("/")
        name, label = unescape(stem), unescape(label)
        escaped, _, epoch = escaped.partition(MARK)
        if (int(epoch) if epoch.isdigit() else 0) != steers.epoch(stem, escaped, unit):
            continue  # it was set to zero by hand since
        subject = unescape(escaped)
        rule = known.get(name)
        if rule is not None and rule.unit != unit:
            rule = None  # it counted something else before
        before = found.get((name, subject, unit))
        spent, held = (0, 0) if before is None else (before.spent, before.held)
        spent, held = spent + balance.settled, held + balance.held
        key = f"{stem}/{escaped}" if escaped else stem
        found[name, subject, unit] = _shown(
            Running(name, subject, unit, spent, held, None, named_by(label), key=key), rule, escaped, steers, now_ms
        )
    return list(found.values())


def _shown(it: Running, rule: Budget | None, subject: str, steers: Steers, now_ms: Millis) -> Running:
    """What runs, with what its rule and people say of it."""
    paused = steers.is_paused(it.key)
    if rule is None:
        return it._replace(state=state_of(None, it.spent, it.held, paused=paused))
    limit = steers.limit(rule, subject, now_ms)
    raised = is_raised(rule.limit, limit)
    state = state_of(limit, it.spent, it.held, paused=paused, raised=raised, unit=it.unit, warn_at=rule.warn_at)
    return it._replace(limit=limit, period=rule.period.name, state=state, resets_ms=rule.window(now_ms).resets_ms)
