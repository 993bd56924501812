"""
Who asks: found by the key of a request, at most once in `KNOWN_S` by asking the store.

The owners of a key are found with it, so that what is changed of a team, a user or a key is true for every server
within that time. One call in two seconds waits for the store; all others find a `Caller` that is made already.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Callable, Mapping
from typing import Any

from ....ledger import Store
from ...problems import Refused
from ..limits import NO_LIMITS, OwnerKind, rules_of
from ..owners import SHOWN, Owners
from ..records import ADMIN, Key, Owner
from ..ring import KeyRing, digest_of, prefix_of
from .caller import Caller, Customer, OwnerRules
from .failures import MOST_OF_ADDRESS, FailedKeys
from .given import given_key, unauthorized
from .loopback import require_program
from .remembered import Remembered, Trusted
from .used import KeyUse

KNOWN = "budgetguard.known"
"""In the scope of a request whose key is right."""

KNOWN_S = 2.0
"""How long a server trusts what it knows of a key or an owner before it looks again."""
_MOST_KNOWN = 10_000
_MOST_LETTERS = 500
_NOBODYS = "-" * 64
"""What a key that does not exist is compared with."""


class Keys:
    """
    Finds out who asks. `clock` is that of this process, in seconds, and `now` the time since 1970.

    With `by_query`, a key may stand in the query string, as Gemini's clients put it there.
    """

    def __init__(
        self,
        own: Store,
        *,
        open_mode: bool = False,
        by_query: bool = False,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._ring = KeyRing(own, now=now)
        self._owners = Owners(own)
        self._open = Caller(None, ADMIN, "") if open_mode else None
        self._by_query = by_query
        self._clock = clock
        self._now = now
        self._known: Remembered[bytes, Caller | Refused] = Remembered(_MOST_KNOWN)
        self._known_owners: Remembered[tuple[str, OwnerKind, str], Owner | None] = Remembered(_MOST_KNOWN)
        self._with_customers: Remembered[str, bool] = Remembered(_MOST_KNOWN)
        self._failed = FailedKeys(clock)
        self._failed_at = FailedKeys(clock, MOST_OF_ADDRESS)
        self.use = KeyUse(own, clock=clock, now=now)

    def known(self, scope: Mapping[str, Any]) -> Caller | None:
        """Who asks, if that is known without asking the store; raises `Refused` for one who is known to be nobody."""
        if self._open is not None:
            require_program(scope)
            return self._open
        given = given_key(scope, by_query=self._by_query)
        found = None if given is None else self._known.get(hashlib.sha256(given).digest(), self._clock())
        return None if found is None else _let_in(found.value)

    def find(self, scope: Mapping[str, Any]) -> Caller:
        """Who asks, by the store; raises `Refused` for a key that is missing, wrong, revoked, blocked or expired."""
        given = given_key(scope, by_query=self._by_query)
        if given is None:
            raise unauthorized("send a key: Authorization: Bearer bg_...")
        digest, address, text = (
            hashlib.sha256(given).digest(),
            (scope.get("client") or ("",))[0],
            given.decode("latin-1"),
        )
        # A program with a wrong key does not shut out those at its address that have a right one.
        kind = f"{address} {prefix_of(text)}"
        wait_s = max(self._failed.wait_s(kind), self._failed_at.wait_s(address))
        if wait_s > 0 and digest not in self._known:  # a key that was right before is not shut out by others
            raise Refused(
                429,
                f"too many wrong keys came from this address: wait {wait_s:.0f} s",
                "rate_limit_error",
                headers=((b"retry-after", b"%d" % max(1, round(wait_s))),),
            )
        found = self._check(prefix_of(text), digest_of(text))
        if found is None:
            self._known.drop(digest)
            self._failed.failed(kind)
            self._failed_at.failed(address)
            raise unauthorized("this key is not known")
        caller = _let_in(self._known.put(digest, found.value, found.until_s).value)
        self.use.saw(caller.prefix)
        return caller

    def signed_in(self, prefix: str, digest: str) -> Caller:
        """Who signed in with the key of this digest; raises `Refused` for one that is not right any more."""
        kept = bytes.fromhex(digest)
        found = self._known.get(kept, self._clock())
        if found is None:
            checked = self._check(prefix, digest)
            if checked is None:
                self._known.drop(kept)
                raise unauthorized("this key is not known")
            found = self._known.put(kept, checked.value, checked.until_s)
        return _let_in(found.value)

    def known_customer(self, project: str, name: str) -> Customer | None:
        """A project's end user, if that is known without asking the store; `None`: `find_customer` has to."""
        now_s = self._clock()
        some = self._with_customers.get(project, now_s)
        if len(name) > _MOST_LETTERS or (some is not None and not some.value):
            return _customer(name, None)
        found = self._known_owners.get((project, "end_user", name), now_s)
        return None if found is None else _customer(name, found.value)

    def find_customer(self, project: str, name: str) -> Customer:
        """A project's end user, by the store; most projects have set nothing for any, and are asked for none."""
        now_s = self._clock()
        if self._with_customers.get(project, now_s) is None:
            some = next(self._owners.all(project, "end_user"), None) is not None
            self._with_customers.put(project, some, now_s + KNOWN_S)
        found = self.known_customer(project, name)
        return found or _customer(name, self._owner(project, "end_user", name).value)

    def _check(self, prefix: str, digest: str) -> Trusted[Caller | Refused] | None:
        """Whose key this is, or why it is refused, and how long that is true; `None` for a wrong one."""
        now_s, now_ms = self._clock(), self._ring.now_ms()
        key = self._ring.find(prefix)
        # A key that does not exist is compared too, so that time does not tell it from one that does.
        right = hmac.compare_digest(digest, _NOBODYS if key is None else key.digest)
        ends_ms = [] if key is None or key.grant.expires_ms is None else [key.grant.expires_ms]
        if key is not None and not right and key.former is not None and now_ms < key.former.until_ms:
            right = hmac.compare_digest(digest, key.former.digest)
            ends_ms.append(key.former.until_ms)
        if key is None or not right:
            return None
        refused = _refused(key, now_ms)
        if refused is not None:
            return Trusted(now_s + KNOWN_S, refused)
        return self._with_owners(key, now_s + min([KNOWN_S, *((end_ms - now_ms) / 1000 for end_ms in ends_ms)]))

    def _with_owners(self, key: Key, until_s: float) -> Trusted[Caller | Refused]:
        told, within = [OwnerRules("key", key.prefix, rules_of("key", key.grant.limits))], []
        kinds: tuple[tuple[OwnerKind, str | None], ...] = (("team", key.grant.team), ("user", key.grant.user))
        for kind, name in kinds:
            if name is None:
                continue
            found = self._owner(key.project, kind, name)
            until_s, owner = min(until_s, found.until_s), found.value
            told.append(_rules(kind, name, owner))
            if owner is not None and owner.blocked:
                return Trusted(until_s, _forbidden(f"{SHOWN[kind]} {name!r} is blocked"))
            if owner is not None and owner.models:
                within.append(owner.models)
        return Trusted(until_s, _caller(key, tuple(told), tuple(within)))

    def _owner(self, project: str, kind: OwnerKind, name: str) -> Trusted[Owner | None]:
        now_s, where = self._clock(), (project, kind, name)
        found = self._known_owners.get(where, now_s)
        return found or self._known_owners.put(where, self._owners.find(*where), now_s + KNOWN_S)


def _caller(key: Key, owners: tuple[OwnerRules, ...], within: tuple[tuple[str, ...], ...]) -> Caller:
    grant = key.grant
    return Caller(
        key.project,
        key.scope,
        key.prefix,
        user=grant.user,
        team=grant.team,
        tags=grant.tags,
        models=grant.models,
        endpoints=grant.endpoints,
        alias=grant.alias,
        expires_s=None if grant.expires_ms is None else grant.expires_ms / 1000,
        owners=owners,
        within=within,
    )


def _refused(key: Key, now_ms: int) -> Refused | None:
    """Why a key is refused though it is right."""
    expires_ms = key.grant.expires_ms
    if key.revoked is not None:
        return unauthorized(f"this key was revoked on {key.revoked}")
    if expires_ms is not None and now_ms >= expires_ms:
        return unauthorized("this key has expired: ask for another one, or for a later `expires`")
    return _forbidden("this key is blocked") if key.blocked else None


def _let_in(found: Caller | Refused) -> Caller:
    if isinstance(found, Refused):
        raise Refused(found.status, found.message, found.kind, code=found.code, headers=found.headers)
    return found


def _rules(kind: OwnerKind, name: str, owner: Owner | None) -> OwnerRules:
    return OwnerRules(kind, name, rules_of(kind, NO_LIMITS if owner is None else owner.limits))


def _customer(name: str, owner: Owner | None) -> Customer:
    return Customer(owner is not None and owner.blocked, _rules("end_user", name, owner))


def _forbidden(told: str) -> Refused:
    return Refused(403, f"{told}: whoever keeps the keys can unblock it", "permission_error", code="blocked")
