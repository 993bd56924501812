"""`/v1/keys`, for whoever keeps a project's keys, and `/v1/key`, for whoever has one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from itertools import islice
from types import MappingProxyType
from typing import Any

import msgspec
from msgspec import UnsetType

from ....ledger import Millis, Store
from ...keys import ADMIN, CALL, READ, SPEND, Grant, HearKeys, Key, KeyRing, OwnerRules, rules_of
from ...keys.shown import shown_key, shown_standings
from ...keys.standings import LimitStanding, limit_standings
from ...keys.times import duration_s, moment_ms
from ...problems import NOT_FOUND, Refused
from ..action import Action, Ask
from ..dollars.fields import READERS
from .schemas import KeyChange, KeyNew, KeyOut, KeySaid, KeysPage, KeysQuery, RotateIn, named


class KeyApi:
    """The endpoints of the keys that a server's own namespace has."""

    def __init__(self, own: Store, hear: HearKeys) -> None:
        self._ring = KeyRing(own, hear=hear)

    def list_keys(self, ask: Ask) -> KeysPage:
        """The project's keys, revoked ones included, by prefix, page by page."""
        asked: KeysQuery = ask.query
        keys = self._ring.all(ask.project.name, after=asked.after)
        found = list(islice((key for key in keys if key.is_of(asked.scope, asked.user, asked.team)), asked.limit))
        used = self._ring.last_used([key.prefix for key in found])
        shown = [_shown(key, used=used) for key in found]
        return KeysPage(shown, found[-1].prefix if len(found) == asked.limit else None)

    def create_key(self, ask: Ask) -> KeyOut:
        """Make a key of the project. Its text is in the answer, and never again."""
        said: KeyNew = ask.body
        grant = _granted(said, Grant(), self._ring.now_ms())
        return _shown(*self._ring.create(ask.project.name, said.scope, grant=grant, text=said.key))

    def read_key(self, ask: Ask) -> KeyOut:
        """One key, and what is left of its limits."""
        key = self._found(ask)
        return _shown(key, standings=_standings(ask, [_rules(key)]), used=self._ring.last_used([key.prefix]))

    def change_key(self, ask: Ask) -> KeyOut:
        """Change what is named, and leave the rest; every server goes by it within two seconds."""
        said: KeyChange = ask.body
        prefix, now_ms = self._found(ask).prefix, self._ring.now_ms()

        def changed(key: Key) -> Key:
            return replace(key, grant=_granted(said, key.grant, now_ms), blocked=named(said.blocked, key.blocked))

        return _shown(self._ring.change(prefix, changed))

    def rotate_key(self, ask: Ask) -> KeyOut:
        """A new text for a key, in the answer and never again: its prefix, limits and spend stay."""
        said: RotateIn = ask.body
        grace_s = 0 if said.grace is None else duration_s(said.grace, "grace")
        return _shown(*self._ring.rotate(self._found(ask).prefix, grace_s=grace_s))

    def revoke_key(self, ask: Ask) -> KeyOut:
        """Refuse a key from now on, for good; every server does within two seconds."""
        return _shown(self._ring.revoke(self._found(ask).prefix))

    def own_key(self, ask: Ask) -> KeyOut:
        """The key that asks: what it may, and what is left of its limits, its team's and its user's."""
        key = self._ring.find(ask.caller.prefix)
        if key is None:
            raise Refused(404, "this server asks for no keys", code=NOT_FOUND)
        return _shown(key, standings=[*_standings(ask, ask.caller.owners), *_of_user(ask)])

    def _found(self, ask: Ask) -> Key:
        """The key that the path names, if it is one of the project's."""
        key = self._ring.find(ask.rest.removeprefix("bg_"))
        if key is None or key.project != ask.project.name:
            raise Refused(404, "this project has no such key: GET /v1/keys lists all", code=NOT_FOUND, param="prefix")
        return key

    def endpoints(self) -> list[Action]:
        """The table."""
        every = frozenset({ADMIN, CALL, READ, SPEND})
        one = "/v1/keys/{prefix}"
        return [
            Action("GET", "/v1/key", self.own_key, KeyOut, every, statuses=(404,), slow=True),
            Action("GET", "/v1/keys", self.list_keys, KeysPage, READERS, query=KeysQuery, slow=True),
            Action("POST", "/v1/keys", self.create_key, KeyOut, body=KeyNew, status=201, slow=True),
            Action("GET", one, self.read_key, KeyOut, READERS, statuses=(404,), slow=True),
            Action("PATCH", one, self.change_key, KeyOut, body=KeyChange, statuses=(404, 409), slow=True),
            Action("DELETE", one, self.revoke_key, KeyOut, statuses=(404, 409), slow=True),
            Action("POST", f"{one}/rotate", self.rotate_key, KeyOut, body=RotateIn, statuses=(404, 409), slow=True),
        ]


def _granted(said: KeySaid, old: Grant, now_ms: Millis) -> Grant:
    """What a key may, with what was named; raises `ConfigError` for what cannot be."""
    expires_ms = old.expires_ms
    if not isinstance(said.expires, UnsetType):
        expires_ms = None if said.expires is None else moment_ms(said.expires, "expires", now_ms)
    return replace(
        old,
        note=named(said.note, old.note),
        alias=named(said.alias, old.alias),
        user=named(said.user, old.user),
        team=named(said.team, old.team),
        tags=named(said.tags, dict(old.tags)),
        models=tuple(named(said.models, list(old.models))),
        endpoints=tuple(named(said.endpoints, list(old.endpoints))),
        expires_ms=expires_ms,
        limits=said.limits(old.limits),
    )


def _rules(key: Key) -> OwnerRules:
    return OwnerRules("key", key.prefix, rules_of("key", key.grant.limits))


def _standings(ask: Ask, owners: Iterable[OwnerRules]) -> list[LimitStanding]:
    store = ask.project.store
    return limit_standings(store, owners, store.now_ms())


def _of_user(ask: Ask) -> list[LimitStanding]:
    """The dollars of the user who pays: a budget that the library has as well, so that it is none of their limits."""
    user, users = ask.caller.user, ask.project.users
    own = None if user is None else users.find(user)
    if own is None:
        return []
    books = users.standing(own, users.store.now_ms())
    whose = OwnerRules("user", own.user, (own.rule,))
    return [LimitStanding(whose, own.rule, books.spent, books.held, books.resets_ms)]


def _shown(
    key: Key,
    text: str | None = None,
    standings: list[LimitStanding] | None = None,
    used: Mapping[str, Millis] = MappingProxyType({}),
) -> KeyOut:
    told: dict[str, Any] = {**shown_key(key, used.get(key.prefix)), "key": text}
    if standings is not None:
        told["standings"] = shown_standings(standings)
    return msgspec.convert(told, KeyOut)
