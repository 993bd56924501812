"""
The ring of keys: they are made, changed, rotated and revoked here.

A key is `bg_<prefix>_<secret>`. Its prefix is its name; the secret is 256 random bits, and only their SHA-256 is
stored: nothing can be guessed faster than the bits themselves, so a slow hash would protect nothing and cost every
request. A key that was made elsewhere is named by the beginning of its SHA-256, so that it is found by one look, too.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime

from ...budgets.rules import escape
from ...budgets.said.checks import require_choice, require_text
from ...budgets.users import insist
from ...errors import ConfigError
from ...ledger import Millis, Store
from .checks import check_grant
from .finding.used import last_used
from .records import CALL, SCOPES, Former, Grant, HearKeys, Key, KeyChanged, unheard

_KEYS = "keys/"
_PREFIX = re.compile(r"[0-9a-f]{10}|[0-9a-f]{16}")
FORM = re.compile(rf"bg_({_PREFIX.pattern})_[A-Za-z0-9_-]{{43}}")
"""Keys that were made here: those that were first made elsewhere have a longer prefix once they are rotated."""
_FOREIGN = 16
"""How many letters of its digest name a key that was made elsewhere."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_LEAST_LETTERS = 20
_LEAST_KINDS = 8
_MOST_LETTERS = 500
NO_GRANT = Grant()


class KeyRing:
    """The stored keys; `now` is the time in seconds since 1970."""

    def __init__(self, own: Store, *, now: Callable[[], float] = time.time, hear: HearKeys = unheard) -> None:
        self._own = own
        self._now = now
        self._hear = hear

    def create(
        self, project: str, scope: str, note: str = "", *, grant: Grant = NO_GRANT, text: str | None = None
    ) -> tuple[Key, str]:
        """
        A new key, and the text that is shown once.

        `text` is what the key shall be, where its owner has one already; raises `ConfigError` for one that is weak.
        """
        made = replace(grant, note=note) if note else grant
        if text is not None:
            return self.adopt(digest_of(_require_strong(text)), project, scope, grant=made), text
        while True:
            prefix = secrets.token_hex(5)
            shown = _text_of(prefix)
            key = self._put_new(prefix, digest_of(shown), project, scope, made)
            if key is not None:
                return key, shown

    def adopt(self, digest: str, project: str, scope: str = CALL, *, grant: Grant = NO_GRANT) -> Key:
        """Let in a key that was made elsewhere, by the SHA-256 of its text in 64 hexadecimal digits."""
        if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
            raise ConfigError("digest: the SHA-256 of a key is needed, in 64 hexadecimal digits (0-9, a-f)")
        key = self._put_new(digest[:_FOREIGN], digest, project, scope, grant)
        if key is None:
            raise ConfigError(f"key bg_{digest[:_FOREIGN]} is there already: change it with `budgetguard keys update`")
        return key

    def all(self, project: str | None = None, *, after: str | None = None, saying: str = "") -> Iterator[Key]:
        """
        Every key, or every one of a project, revoked ones included, by prefix; with `after`, those behind that.

        With `saying`, only those that have this text somewhere, such as a name or a digest: the others are not read.
        """
        said = json.dumps(saying)[1:-1]
        for terms in self._own.all_terms(_KEYS, after=None if after is None else _KEYS + escape(after)):
            if terms.body is not None and said in terms.body:
                key = Key.from_text(terms.key.removeprefix(_KEYS), terms.body, terms.version)
                if project is None or key.project == project:
                    yield key

    def change(self, prefix: str, changed: Callable[[Key], Key]) -> Key:
        """Put what `changed` makes of a key, of a newer one again: what others change meanwhile stays."""
        was: list[Key] = []

        def attempt() -> Key | None:
            was[:] = [self.get(prefix)]
            return self._put(changed(was[0]))

        made = insist(attempt, f"key {prefix}: it is")
        self._hear(KeyChanged(made.project, _done(was[0], made), f"bg_{made.prefix}", was[0], made))
        return made

    def regrant(self, prefix: str, changed: Callable[[Grant], Grant]) -> Key:
        """Put what `changed` makes of what a key may; raises `ConfigError` for what it cannot."""
        return self.change(prefix, lambda key: replace(key, grant=check_grant(changed(key.grant), key.scope)))

    def block(self, prefix: str, *, blocked: bool = True) -> Key:
        """Refuse a key until it is unblocked."""
        return self.change(prefix, lambda key: replace(key, blocked=blocked))

    def revoke(self, prefix: str) -> Key:
        """Refuse a key from now on, for good. Doing it again changes nothing."""
        return self.change(prefix, lambda key: key if key.revoked else replace(key, revoked=self._moment()))

    def rotate(self, prefix: str, *, grace_s: float = 0) -> tuple[Key, str]:
        """
        A new text for a key: its name, what it may and what it spent stay. The old text is right for `grace_s` more.
        """
        shown = _text_of(self.get(prefix).prefix)

        def rotated(key: Key) -> Key:
            if key.revoked is not None:
                raise ConfigError(f"key {prefix}: it was revoked on {key.revoked}; create a new one")
            former = Former(key.digest, self.now_ms() + round(grace_s * 1000)) if grace_s > 0 else None
            return replace(key, digest=digest_of(shown), former=former)

        return self.change(prefix, rotated), shown

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
        terms = self._own.terms(_KEYS + prefix) if _PREFIX.fullmatch(prefix) else None
        return None if terms is None or terms.body is None else Key.from_text(prefix, terms.body, terms.version)

    def last_used(self, prefixes: Collection[str]) -> Mapping[str, Millis]:
        """When each of these keys was used last, by its prefix; see `finding/used.py`."""
        return last_used(self._own, prefixes)

    def now_ms(self) -> Millis:
        """The time."""
        return round(self._now() * 1000)

    def _put_new(self, prefix: str, digest: str, project: str, scope: str, grant: Grant) -> Key | None:
        require_text(project, "project")
        if project.startswith("budgetguard:"):
            raise ConfigError(f"project={project!r}: names that begin with budgetguard: are the server's own")
        require_choice(scope, SCOPES, "scope")
        check_grant(grant, scope)
        put = self._put(Key(prefix, digest, project, scope, self._moment(), grant))
        if put is not None:
            self._own.put_terms(f"projects/{escape(project)}", "{}", expected=0)
            self._hear(KeyChanged(project, "create", f"bg_{prefix}", None, put))
        return put

    def _put(self, key: Key) -> Key | None:
        terms = self._own.put_terms(_KEYS + key.prefix, key.to_text(), expected=key.version)
        return None if terms is None else replace(key, version=terms.version)

    def _moment(self) -> str:
        return datetime.fromtimestamp(self._now(), UTC).isoformat(timespec="seconds")


def _done(before: Key, after: Key) -> str:
    """What was done to a key, in a word."""
    if before.revoked != after.revoked:
        return "revoke"
    if before.blocked != after.blocked:
        return "block" if after.blocked else "unblock"
    return "change" if before.digest == after.digest else "rotate"


def prefix_of(text: str) -> str:
    """The prefix that a key of this text has, if there is one."""
    form = FORM.fullmatch(text)
    return digest_of(text)[:_FOREIGN] if form is None else form[1]


def digest_of(text: str) -> str:
    """What is stored of a key."""
    return hashlib.sha256(text.encode("latin-1")).hexdigest()


def _text_of(prefix: str) -> str:
    return f"bg_{prefix}_{secrets.token_urlsafe(32)}"


def _require_strong(text: str) -> str:
    """A key as its owner wants it, which nobody can guess as far as one can see; never said back."""
    if not (text.isascii() and text.isprintable() and " " not in text and len(text) <= _MOST_LETTERS):
        raise ConfigError(f"key: up to {_MOST_LETTERS} ASCII letters, digits and signs are needed, without blanks")
    if len(text) < _LEAST_LETTERS or len(set(text)) < _LEAST_KINDS:
        told = f"at least {_LEAST_LETTERS} letters, {_LEAST_KINDS} different ones, are needed"
        raise ConfigError(f"key: this one could be guessed: {told}; leave it out to have one made")
    if text.startswith("bg_"):
        raise ConfigError("key: those that begin with bg_ are made here: leave it out to have one made")
    return text
