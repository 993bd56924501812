"""
Keys and their owners as they are stored: terms in the server's own namespace, each with a version.

So every server on a store knows them, and what two people change at once is lost by neither. Of a key only the SHA-256
is there. A field that an older writer did not know takes its default.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple, Self, TypeAlias

from ...budgets.rules import escape, unescape
from ...ledger import Millis
from ...ledger.as_json import plain, read
from .limits import NO_LIMITS, OwnerKind, OwnerLimits

SPEND, READ, ADMIN, CALL = "spend", "read", "admin", "call"
SCOPES = (SPEND, READ, ADMIN, CALL)


@dataclass(frozen=True, slots=True)
class Grant:
    """What a key may, and whose it is: all of it can be changed later."""

    note: str = ""
    alias: str = ""
    """A name for people."""
    user: str | None = None
    """Who pays."""
    team: str | None = None
    tags: Mapping[str, str] = field(default_factory=dict)
    """Further tags of its calls."""
    models: tuple[str, ...] = ()
    """Globs of the models that it may call; none: all."""
    endpoints: tuple[str, ...] = ()
    """Operations that it may ask for beside those that all may."""
    expires_ms: Millis | None = None
    limits: OwnerLimits = NO_LIMITS
    extra: Mapping[str, str] = field(default_factory=dict)
    """What others keep with it; nothing here reads it."""


@dataclass(frozen=True, slots=True)
class Former:
    """The digest that a key had before it was rotated, which is right until then."""

    digest: str
    until_ms: Millis


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is stored; the secret is not."""

    prefix: str
    """Its name, which stays the same when it is rotated: its budgets count by it."""
    digest: str
    project: str
    scope: str
    created: str
    grant: Grant = field(default_factory=Grant)
    revoked: str | None = None
    blocked: bool = False
    former: Former | None = None
    version: int = 0
    """That of its terms."""

    @property
    def note(self) -> str:
        """What it is for."""
        return self.grant.note

    def is_of(self, scope: str | None = None, user: str | None = None, team: str | None = None) -> bool:
        """Whether it has this scope, user and team, of those that are asked for."""
        pairs = (scope, self.scope), (user, self.grant.user), (team, self.grant.team)
        return all(asked in (None, its) for asked, its in pairs)

    def to_text(self) -> str:
        """The text of the stored terms; earlier versions read the first six."""
        return json.dumps(
            {
                "digest": self.digest,
                "project": escape(self.project),
                "scope": self.scope,
                "created": self.created,
                "note": self.grant.note,
                "revoked": self.revoked,
                "grant": plain(self.grant),
                **({"blocked": True} if self.blocked else {}),
                **({} if self.former is None else {"former": plain(self.former)}),
            }
        )

    @classmethod
    def from_text(cls, prefix: str, text: str, version: int = 0) -> Self:
        """Read stored terms."""
        data: dict[str, Any] = json.loads(text)
        return cls(
            prefix,
            data["digest"],
            unescape(data["project"]),
            data["scope"],
            data["created"],
            read(Grant, data.get("grant", {"note": data["note"]})),
            data["revoked"],
            data.get("blocked", False),
            read(Former, data["former"]) if "former" in data else None,
            version,
        )


@dataclass(frozen=True, slots=True)
class Owner:
    """A team, a user or a customer (an `end_user`): what the calls of all of its keys may come to."""

    kind: OwnerKind
    name: str
    limits: OwnerLimits = NO_LIMITS
    models: tuple[str, ...] = ()
    """Globs of the models that its keys may call, of those that a key allows; none: all."""
    blocked: bool = False
    alias: str = ""
    extra: Mapping[str, str] = field(default_factory=dict)
    version: int = 0
    """That of its terms; 0: it is not stored."""

    def to_text(self) -> str:
        """The text of the stored terms."""
        return json.dumps(plain(replace(self, version=0)))

    @classmethod
    def from_text(cls, text: str, version: int) -> Self:
        """Read stored terms."""
        return replace(read(cls, json.loads(text)), version=version)


class KeyChanged(NamedTuple):
    """What was changed of a key or an owner, once it holds."""

    project: str
    what: str
    """ "create", "change", "rotate", "block", "unblock", "revoke" or "remove"."""
    name: str
    """The key's, or "team/red"."""
    before: Key | Owner | None
    after: Key | Owner | None


HearKeys: TypeAlias = Callable[[KeyChanged], None]
"""Who is told of changes; it never raises."""


def unheard(_: KeyChanged) -> None:
    """Nobody is."""
