"""`/v1/limits`: what all keys of a team, a user or a customer may come to together."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Any

import msgspec

from ....ledger import Store
from ...keys import HearKeys, Owner, OwnerRules, Owners, rules_of
from ...keys.limits import OwnerKind
from ...keys.shown import shown_owner, shown_standings
from ...keys.standings import limit_standings
from ...problems import NOT_FOUND, Refused
from ..action import Action, Ask
from ..dollars.fields import READERS, PageQuery
from ..schemas import Done
from .schemas import OwnerChange, OwnerOut, OwnersPage, named

_KINDS: dict[str, OwnerKind] = {"team": "team", "user": "user", "customer": "end_user"}


class LimitsApi:
    """The endpoints of the owners that a server's own namespace has."""

    def __init__(self, own: Store, hear: HearKeys) -> None:
        self._owners = Owners(own, hear=hear)

    def list_limits(self, ask: Ask) -> OwnersPage:
        """All of a kind (team, user or customer) that have limits, page by page."""
        asked: PageQuery = ask.query
        found = list(islice(self._owners.all(ask.project.name, _kind(ask.rest), after=asked.after), asked.limit))
        return OwnersPage([_shown(each) for each in found], found[-1].name if len(found) == asked.limit else None)

    def read_limits(self, ask: Ask) -> OwnerOut:
        """Somebody's limits, and what is left of them."""
        owner = self._found(ask)
        told = OwnerRules(owner.kind, owner.name, rules_of(owner.kind, owner.limits))
        store = ask.project.store
        return _shown(owner, shown_standings(limit_standings(store, [told], store.now_ms())))

    def change_limits(self, ask: Ask) -> OwnerOut:
        """Limit somebody, or change what is named; every server goes by it within two seconds."""
        said: OwnerChange = ask.body
        kind, name = _named(ask)

        def changed(owner: Owner) -> Owner:
            return replace(
                owner,
                alias=named(said.alias, owner.alias),
                models=tuple(named(said.models, list(owner.models))),
                blocked=named(said.blocked, owner.blocked),
                limits=said.limits(owner.limits),
            )

        return _shown(self._owners.change(ask.project.name, kind, name, changed))

    def remove_limits(self, ask: Ask) -> Done:
        """Take somebody's limits away; keys and the history stay."""
        owner = self._found(ask)
        self._owners.remove(ask.project.name, owner.kind, owner.name)
        return Done()

    def _found(self, ask: Ask) -> Owner:
        kind, name = _named(ask)
        found = self._owners.find(ask.project.name, kind, name)
        if found is None:
            raise Refused(404, "nothing is set for it: PATCH sets limits", code=NOT_FOUND, param="name")
        return found

    def endpoints(self) -> list[Action]:
        """The table."""
        one = "/v1/limits/{kind}/{name:path}"
        listed = "/v1/limits/{kind}"
        return [
            Action("GET", listed, self.list_limits, OwnersPage, READERS, query=PageQuery, statuses=(404,), slow=True),
            Action("GET", one, self.read_limits, OwnerOut, READERS, statuses=(404,), slow=True),
            Action("PATCH", one, self.change_limits, OwnerOut, body=OwnerChange, statuses=(404, 409), slow=True),
            Action("DELETE", one, self.remove_limits, Done, statuses=(404,), slow=True),
        ]


def _kind(said: str) -> OwnerKind:
    if said not in _KINDS:
        raise Refused(404, f"limits are of a {', a '.join(_KINDS)}: /v1/limits/team", code=NOT_FOUND, param="kind")
    return _KINDS[said]


def _named(ask: Ask) -> tuple[OwnerKind, str]:
    kind, _, name = ask.rest.partition("/")
    return _kind(kind), name


def _shown(owner: Owner, standings: list[dict[str, Any]] | None = None) -> OwnerOut:
    return msgspec.convert({**shown_owner(owner), "standings": standings}, OwnerOut)
