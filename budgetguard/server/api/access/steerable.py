"""
The limits of keys, teams, users and customers as rules that can be steered: "team/red", "key/2a7e4abe25", "team".

No program declares them, as each owner has limits of its own: they are looked up where the owners are.
"""

from __future__ import annotations

from typing import Final, get_args

from ....budgets.rules import Budget, unescape
from ....budgets.steering.declared import declared
from ....ledger import Store
from ...keys import KeyRing, OwnerLimits, Owners, rules_of
from ...keys.limits import OwnerKind

_KINDS: Final[dict[str, OwnerKind]] = {kind: kind for kind in get_args(OwnerKind)}


def rules_aimed(own: Store, books: Store, project: str, target: str) -> tuple[Budget, ...]:
    """
    The rule that a target means, if it is the limit of an owner: that in dollars, where there are several of a name.

    `own` is the server's own namespace, `books` the project's. Nothing where a program declared a rule of this name.
    """
    name, _, subject = target.partition("/")
    name = unescape(name)
    kind = _KINDS.get(name.partition(" ")[0])
    if kind is None or any(rule.name == name for rule in declared(books)):
        return ()
    if not subject:  # all of them
        return (Budget(name, None, per=(kind,)),)
    limits = _limits(own, project, kind, unescape(subject))
    rules = [] if limits is None else [rule for rule in rules_of(kind, limits) if rule.name == name]
    return (min(rules, key=lambda rule: rule.unit != "dollars"),) if rules else ()


def _limits(own: Store, project: str, kind: OwnerKind, name: str) -> OwnerLimits | None:
    if kind == "key":
        key = KeyRing(own).find(name)
        return None if key is None or key.project != project else key.grant.limits
    owner = Owners(own).find(project, kind, name)
    return None if owner is None else owner.limits
