"""
Keys: who may do what in which project.

A key is `bg_<prefix>_<secret>`. Its prefix is its name; the secret is 256 random bits, and only their SHA-256 is
stored: nothing can be guessed faster than the bits themselves, so a slow hash would protect nothing and cost every
request. Keys live as terms in the server's own namespace of the store, so every server on the store knows them, and
a key that was revoked is refused by all of them within `KNOWN_S`.
"""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import json
import re
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from ..budgets.rules import escape, require_choice, require_text, unescape
from ..errors import ConfigError
from ..ledger import Store
from .limits import MOST_OF_ADDRESS, FailedKeys
from .problems import Refused

KNOWN = "budgetguard.known"
"""In the scope of a request whose key is right."""

SPEND, READ, ADMIN = "spend", "read", "admin"
SCOPES = (SPEND, READ, ADMIN)

KNOWN_S = 2.0
"""How long a server trusts what it knows of a key before it looks again."""
_MOST_KNOWN = 10_000
_KEYS = "keys/"
_NOBODYS = "-" * 64
"""What a key that does not exist is compared with."""
_FORM = re.compile(r"bg_([0-9a-f]{10})_([A-Za-z0-9_-]{43})")


class Caller(NamedTuple):
    """Who asks. Without a project: a server in open mode, where the request names it."""

    project: str | None
    scope: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is stored; the secret is not."""

    prefix: str
    digest: str
    project: str
    scope: str
    created: str
    note: str = ""
    revoked: str | None = None

    def to_text(self) -> str:
        """The text of the stored terms."""
        return json.dumps(
            {
                "digest": self.digest,
                "project": escape(self.project),
                "scope": self.scope,
                "created": self.created,
                "note": self.note,
                "revoked": self.revoked,
            }
        )

    @classmethod
    def from_text(cls, prefix: str, text: str) -> Key:
        """Read stored terms."""
        data: dict[str, Any] = json.loads(text)
        return cls(
            prefix,
            data["digest"],
            unescape(data["project"]),
            data["scope"],
            data["created"],
            data["note"],
            data["revoked"],
        )


class KeyRing:
    """The stored keys: what the command line does with them."""

    def __init__(self, own: Store) -> None:
        self._own = own

    def create(self, project: str, scope: str, note: str = "") -> tuple[Key, str]:
        """A new key, and the text that is shown once."""
        require_text(project, "project")
        if project.startswith("budgetguard:"):
            raise ConfigError(f"project={project!r}: names that begin with budgetguard: are the server's own")
        require_choice(scope, SCOPES, "scope")
        while True:
            prefix, secret = secrets.token_hex(5), secrets.token_urlsafe(32)
            text = f"bg_{prefix}_{secret}"
            key = Key(prefix, _digest(text), project, scope, _now(), note)
            if self._own.put_terms(_KEYS + prefix, key.to_text(), expected=0) is not None:
                self._own.put_terms(f"projects/{escape(project)}", "{}", expected=0)
                return key, text

    def all(self) -> Iterator[Key]:
        """Every key, revoked ones included, by prefix."""
        for terms in self._own.all_terms(_KEYS):
            if terms.body is not None:
                yield Key.from_text(terms.key.removeprefix(_KEYS), terms.body)

    def revoke(self, prefix: str) -> Key:
        """Refuse a key from now on. Doing it again changes nothing."""
        key = self.get(prefix)
        if key.revoked is None:
            key = Key(key.prefix, key.digest, key.project, key.scope, key.created, key.note, _now())
            self._own.put_terms(_KEYS + key.prefix, key.to_text())
        return key

    def rotate(self, prefix: str) -> tuple[Key, str]:
        """A new key for the same project and scope; the old one is revoked."""
        old = self.get(prefix)
        if old.revoked is not None:
            raise ConfigError(f"key {prefix}: it was revoked on {old.revoked}; create a new one")
        new = self.create(old.project, old.scope, old.note)
        self.revoke(old.prefix)
        return new

    def get(self, prefix: str) -> Key:
        """A key by its prefix, with or without `bg_` before it; raises `ConfigError` if there is none."""
        bare = prefix.removeprefix("bg_")
        if "_" in bare:
            raise ConfigError("prefix: give the ten characters behind bg_, not the whole key")
        found = self.find(bare)
        if found is None:
            raise ConfigError(f"prefix={bare!r}: there is no such key; `budgetguard keys list` shows all")
        return found

    def find(self, prefix: str) -> Key | None:
        """A key by its prefix."""
        terms = self._own.terms(_KEYS + prefix)
        return None if terms is None or terms.body is None else Key.from_text(prefix, terms.body)


class Keys:
    """Finds out who asks, at most once in `KNOWN_S` by asking the store."""

    def __init__(self, own: Store, *, open_mode: bool = False, clock: Callable[[], float] = time.monotonic) -> None:
        self._ring = KeyRing(own)
        self._open = Caller(None, ADMIN, "") if open_mode else None
        self._clock = clock
        self._known: dict[bytes, tuple[float, Caller]] = {}
        self._failed = FailedKeys(clock)
        self._failed_at = FailedKeys(clock, MOST_OF_ADDRESS)

    def known(self, scope: Mapping[str, Any]) -> Caller | None:
        """Who asks, if that is known without asking the store."""
        if self._open is not None:
            _require_program(scope)
            return self._open
        given = _given(scope)
        found = None if given is None else self._known.get(hashlib.sha256(given).digest())
        return found[1] if found is not None and found[0] > self._clock() else None

    def find(self, scope: Mapping[str, Any]) -> Caller:
        """Who asks, by the store; raises `Refused` for a key that is missing, wrong or revoked."""
        given = _given(scope)
        if given is None:
            raise _unauthorized("send a key: Authorization: Bearer bg_...")
        digest, address = hashlib.sha256(given).digest(), (scope.get("client") or ("",))[0]
        # A program with a wrong key does not shut out those at its address that have a right one.
        form = _FORM.fullmatch(given.decode("latin-1"))
        kind = f"{address} {'' if form is None else form[1]}"
        wait_s = max(self._failed.wait_s(kind), self._failed_at.wait_s(address))
        if wait_s > 0 and digest not in self._known:  # a key that was right before is not shut out by others
            raise Refused(
                429,
                f"too many wrong keys came from this address: wait {wait_s:.0f} s",
                "rate_limit_error",
                headers=((b"retry-after", b"%d" % max(1, round(wait_s))),),
            )
        caller = self._check(given)
        if caller is None:
            self._known.pop(digest, None)
            self._failed.failed(kind)
            self._failed_at.failed(address)
            raise _unauthorized("this key is not known, or was revoked")
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known[digest] = (self._clock() + KNOWN_S, caller)
        return caller

    def _check(self, given: bytes) -> Caller | None:
        form = _FORM.fullmatch(given.decode("latin-1"))
        key = None if form is None else self._ring.find(form[1])
        # A key that does not exist is compared too, so that time does not tell it from one that does.
        right = hmac.compare_digest(_digest(given.decode("latin-1")), _NOBODYS if key is None else key.digest)
        if key is None or not right or key.revoked is not None:
            return None
        return Caller(key.project, key.scope, key.prefix)


def is_loopback(host: str) -> bool:
    """Whether a name or an address is this machine's own."""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


@lru_cache(16)
def _names_loopback(host: bytes) -> bool:
    try:
        name = urlsplit(b"//" + host).hostname or b""
    except ValueError:
        return False
    return is_loopback(name.decode("latin-1"))


def _require_program(scope: Mapping[str, Any]) -> None:
    """
    Refuse what a page in a browser asks of a server without keys: any page may send requests to this machine, and one
    whose name is made to lead here (DNS rebinding) may also read the answers.
    """
    for name, value in scope["headers"]:
        if name == b"origin":
            raise _forbidden("a page in a browser sent this")
        if name == b"host" and not _names_loopback(value):
            raise _forbidden("the host that was asked is not localhost")


def _forbidden(told: str) -> Refused:
    return Refused(403, f"{told}: without keys only programs on this machine are answered", "permission_error")


def _given(scope: Mapping[str, Any]) -> bytes | None:
    for name, value in scope["headers"]:
        if name == b"authorization":
            kind, _, key = bytes(value).partition(b" ")
            return key.strip() if kind.lower() == b"bearer" else None
    return None


def _unauthorized(told: str) -> Refused:
    return Refused(
        401, told, "authentication_error", code="invalid_api_key", headers=((b"www-authenticate", b"Bearer"),)
    )


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("latin-1")).hexdigest()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
