"""
The keys of a project: who has which, when it was used last; they are made, rotated and revoked here.

The text of a key is in the answer to the form that made it, and nowhere else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from ....budgets.steering.audit import Author, Changed, write_down
from ....errors import ConfigError
from ....ledger import Millis
from ...keys import SCOPES, Grant, Key, KeyRing
from ...keys.shown import shown_key
from ...keys.times import duration_s, moment_ms
from ...problems import NOT_FOUND, Refused
from ..view import KEEPERS, Look, Shown, View, Went

ROWS = 100
_GRACES = (("0s", "at once"), ("1h", "after an hour"), ("24h", "after a day"), ("7d", "after a week"))


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key, as the list has it."""

    prefix: str
    scope: str
    alias: str
    note: str
    user: str
    team: str
    models: tuple[str, ...]
    created: str
    expires_ms: Millis | None
    last_used_ms: Millis | None
    state: str
    """ "in use", "revoked", "blocked" or "expired"."""


def keys(look: Look) -> Shown:
    """All of a project's keys, page by page; revoked ones where they are asked for."""
    after, every = look.said("after") or None, look.said("revoked") == "yes"
    found: list[KeyRow] = []
    for key in _ring(look).all(look.project.name, after=after):
        row = _row(key, look.now_ms)
        if every or row.state != "revoked":
            found.append(row)
        if len(found) == ROWS:
            break
    used = _ring(look).last_used([row.prefix for row in found])
    found = [replace(row, last_used_ms=used.get(row.prefix)) for row in found]
    data = {
        "rows": found,
        "next": found[-1].prefix if len(found) == ROWS else None,
        "every": every,
        "scopes": SCOPES,
        "own": look.caller.prefix,
        "place": look.place,
        "form": look.form,
        "problem": "",
    }
    return Shown("setup/keys.html", data, rows=found)


def one_key(look: Look) -> Shown:
    """One key, and what may be done with it."""
    key = _found(look, look.said("prefix"))
    used = _ring(look).last_used([key.prefix])
    row = replace(_row(key, look.now_ms), last_used_ms=used.get(key.prefix))
    return Shown("setup/key.html", {"key": row, "graces": _GRACES}, f"Key bg_{key.prefix}")


def create(look: Look) -> Shown:
    """Make a key, and show its text once; what is refused is said above the same form."""
    try:
        return _created(look)
    except ConfigError as error:
        listed = keys(replace(look, place=replace(look.place, view="keys")))
        return replace(listed, data={**listed.data, "problem": str(error)}, title="Keys", status=400)


def _created(look: Look) -> Shown:
    form, ring = look.form, _ring(look)
    said = form.get("expires", "").strip()
    grant = Grant(
        note=form.get("note", "").strip(),
        alias=form.get("alias", "").strip(),
        user=form.get("user", "").strip() or None,
        team=form.get("team", "").strip() or None,
        expires_ms=moment_ms(said, "expires", ring.now_ms()) if said else None,
    )
    key, text = ring.create(look.project.name, form.get("scope", ""), grant=grant)
    _write_down(look, "create", None, key)
    return _shown_once(look, key, text)


def rotate(look: Look) -> Shown:
    """A new text for a key, shown once; the old one is right for a while, if that is wanted."""
    key = _found(look, look.form.get("prefix", ""))
    rotated, text = _ring(look).rotate(key.prefix, grace_s=duration_s(look.form.get("grace") or "0s", "grace"))
    _write_down(look, "rotate", key, rotated)
    return _shown_once(look, rotated, text)


def revoke(look: Look) -> Went:
    """Refuse a key for good."""
    key = _found(look, look.form.get("prefix", ""))
    revoked = _ring(look).revoke(key.prefix)
    _write_down(look, "remove", key, revoked)
    return Went(look.place.link("keys"), f"bg_{key.prefix} is revoked: every server refuses it within two seconds.")


def _shown_once(look: Look, key: Key, text: str) -> Shown:
    return Shown("setup/key_shown.html", {"key": _row(key, look.now_ms), "text": text}, "A new key")


def _write_down(look: Look, what: str, before: Key | None, after: Key) -> None:
    author, was = author_of(look), {} if before is None else shown_key(before)
    note = look.form.get("why", "").strip()
    change = Changed(author.who, author.via, what, "keys", f"bg_{after.prefix}", was, shown_key(after), note)
    write_down(look.project.store, change, look.now_ms)


def author_of(look: Look) -> Author:
    """Who the audit names: a key by its alias or prefix, whoever started `budgetguard ui` by their name."""
    caller = look.caller
    return Author(caller.alias or (f"bg_{caller.prefix}" if caller.prefix else look.server.who), "page")


def _found(look: Look, prefix: str) -> Key:
    """A key by its prefix, if it is one of the project's."""
    key = _ring(look).find(prefix.strip().removeprefix("bg_"))
    if key is None or key.project != look.project.name:
        raise Refused(404, "this project has no such key", code=NOT_FOUND)
    return key


def _ring(look: Look) -> KeyRing:
    return KeyRing(look.server.projects.own, now=look.project.clock)


def _row(key: Key, now_ms: Millis) -> KeyRow:
    grant = key.grant
    over = grant.expires_ms is not None and grant.expires_ms <= now_ms
    state = "revoked" if key.revoked else "blocked" if key.blocked else "expired" if over else "in use"
    return KeyRow(
        key.prefix,
        key.scope,
        grant.alias,
        grant.note,
        grant.user or "",
        grant.team or "",
        grant.models,
        key.created,
        grant.expires_ms,
        None,
        state,
    )


VIEWS = [
    View("keys", "Keys", keys, scopes=KEEPERS, group="Set-up"),
    View("key", "Key", one_key, scopes=KEEPERS, listed=False),
    View("keys/create", "A new key", create, "POST", KEEPERS, listed=False),
    View("keys/rotate", "A new key", rotate, "POST", KEEPERS, listed=False),
    View("keys/revoke", "Keys", revoke, "POST", KEEPERS, listed=False),
]
