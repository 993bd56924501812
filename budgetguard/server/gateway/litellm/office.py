"""
What the endpoints share: the keys and their owners of one project, found by any of the names that LiteLLM has for them,
and what they have spent.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from ....budgets.accounts import read_balances
from ....budgets.rules import escape
from ....ledger import Entry, Hold, Query, Store, new_id
from ....money import Nano
from ...keys import CALL, Key, KeyRing, Owner
from ...keys.limits import OwnerKind, OwnerLimits, rules_of
from ...keys.owners import Owners
from ...keys.ring import digest_of, prefix_of
from ...problems import Refused
from .limits import main_rule

_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHOWN = {"team": "Team", "user": "User", "end_user": "End User Id"}


@dataclass(frozen=True, slots=True)
class Office:
    """The records of all projects: keys and owners in the server's own namespace."""

    own: Store
    ring: KeyRing
    owners: Owners

    # -- keys ----------------------------------------------------------------------------------------------------

    def keys(self, project: str, *, saying: str | None = None) -> Iterator[Key]:
        """The keys of a project that can call models, and were not deleted; see `KeyRing.all` for `saying`."""
        for key in self.ring.all(project, saying=saying or ""):
            if key.scope == CALL and key.revoked is None:
                yield key

    def key(self, project: str, name: str) -> Key:
        """A key by its text, or by the SHA-256 of it; raises `Refused` (404) where the project has none."""
        found = self.find_key(project, name)
        if found is None:
            raise missing("Key not found.", "key")
        return found

    def find_key(self, project: str, name: str) -> Key | None:
        """A key by its text, or by the SHA-256 of it; `None` where the project has none that calls models."""
        found = self._named(project, name)
        mine = found is not None and found.project == project and found.scope == CALL and found.revoked is None
        return found if mine else None

    def key_of_alias(self, project: str, alias: str) -> Key:
        """A key by its alias; raises `Refused` (404)."""
        found = next((key for key in self.keys(project, saying=alias) if key.grant.alias == alias), None)
        if found is None:
            raise missing(f"Key not found for key_alias={alias!r}.", "key_alias")
        return found

    def _named(self, project: str, name: str) -> Key | None:
        if not _DIGEST.fullmatch(name):
            found = self.ring.find(prefix_of(name)) if name.isascii() else None
            return found if found is not None and found.digest == digest_of(name) else None
        found = self.ring.find(name[:16])
        if found is not None and found.digest == name:
            return found
        # A key that was made or rotated here is not named by its digest.
        return next((key for key in self.ring.all(project, saying=name) if key.digest == name), None)

    def keys_of(self, project: str, *, team: str | None = None, user: str | None = None) -> list[Key]:
        """The keys of a team, of a user, or of a user in a team."""
        return [
            key
            for key in self.keys(project, saying=team or user)
            if team in {None, key.grant.team} and user in {None, key.grant.user}
        ]

    # -- owners --------------------------------------------------------------------------------------------------

    def owner(self, project: str, kind: OwnerKind, name: str, param: str) -> Owner:
        """A team, a user or a customer; raises `Refused` (404) where nothing is stored of it."""
        found = self.owners.find(project, kind, name)
        if found is None:
            raise missing(f"{_SHOWN[kind]} not found, passed {param}={name[:200]}", param)
        return found


def missing(told: str, param: str) -> Refused:
    """The answer where there is nothing of this name."""
    return Refused(404, told, "not_found_error", param=param)


# -- what was spent ----------------------------------------------------------------------------------------------------


def spent_by(store: Store, kind: OwnerKind, asked: Iterable[tuple[str, OwnerLimits]]) -> dict[str, Nano]:
    """
    What each has spent: in this period of its `max_budget`, or ever without one.

    Few without a budget are added up one by one, more in one look at the history.
    """
    now_ms, found, accounts, others = store.now_ms(), {}, {}, []
    for name, limits in asked:
        rule = main_rule(kind, limits)
        if rule is None:
            others.append(name)
        else:
            accounts[name] = rule.account_of(escape(name), now_ms)
    balances = read_balances(store, list(accounts.values())) if accounts else []
    found = {name: balance.settled for name, balance in zip(accounts, balances, strict=True)}
    if len(others) <= 1:
        totals = [(name, sum(each.cost for each in store.totals([], Query(tags={kind: name})))) for name in others]
    else:
        totals = [(each.group[0], each.cost) for each in store.totals([kind])]
    return {**dict.fromkeys(others, 0), **dict(totals), **found}


def spent(store: Store, kind: OwnerKind, name: str, limits: OwnerLimits) -> Nano:
    """What one has spent; see `spent_by`."""
    return spent_by(store, kind, [(name, limits)])[name]


def book_before(store: Store, kind: OwnerKind, name: str, limits: OwnerLimits, cost: Nano) -> None:
    """Book what was spent elsewhere, before its owner came here, on the owner's budgets."""
    if cost <= 0:
        return
    now_ms, tags = store.now_ms(), {str(kind): name}
    rules = [rule for rule in rules_of(kind, limits) if rule.unit == "dollars"]
    accounts = tuple([each for rule in rules if (each := rule.account(tags, now_ms)) is not None])
    hold = Hold(new_id(), accounts, cost, tags=tags)
    store.settle(hold, Entry(hold.id, cost, tags=tags, flags=frozenset({"manual"}), units={"requests": 0}))


def page_of(rows: Iterable[Any], page: int, size: int) -> tuple[list[Any], int]:
    """A page of rows, and how many there are in all; only the page's are kept."""
    first, kept, count = (page - 1) * size, [], 0
    for row in rows:
        if first <= count < first + size:
            kept.append(row)
        count += 1
    return kept, count
