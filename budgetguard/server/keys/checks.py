"""What can be said of keys and their owners: checked before it is stored, so that whoever reads it need not ask."""

from __future__ import annotations

from collections.abc import Mapping, Sized
from dataclasses import fields

from ...budgets.said.checks import require_moment, require_text
from ...errors import ConfigError
from .limits import rules_of
from .models import require_glob
from .records import CALL, Grant, Owner

OWN_TAGS = frozenset({"key", "user", "team", "end_user", "model", "provider", "upstream"})
"""Tags that say whose a call is and where it goes: no key says them of itself."""
_ALL_SCOPES = frozenset({"note", "alias", "expires_ms", "extra"})
_NOTHING = Grant()
_MOST_LETTERS = 500
_MOST = 500


def check_grant(grant: Grant, scope: str) -> Grant:
    """What a key of this scope may, as it is; raises `ConfigError` that says what cannot be."""
    if scope != CALL:
        said = [each.name for each in fields(Grant) if getattr(grant, each.name) != getattr(_NOTHING, each.name)]
        for name in said:
            if name not in _ALL_SCOPES:
                raise ConfigError(
                    f"{name}: only a key of scope call (--scope call) has it; one of scope {scope} makes no calls"
                )
    for value, name in ((grant.user, "user"), (grant.team, "team")):
        if value is not None:
            require_name(value, name)
    for tag, value in grant.tags.items():
        if require_name(tag, "tags") in OWN_TAGS:
            raise ConfigError(f"tags: {tag!r} is said of a call by the gateway; choose another name")
        require_name(value, f"tags[{tag!r}]")
    for endpoint in grant.endpoints:
        require_name(endpoint, "endpoints")
    if grant.expires_ms is not None:
        require_moment(grant.expires_ms / 1000, "expires")
    rules_of("key", grant.limits)
    _check_models(grant.models)
    _check_texts(grant.alias, grant.note, grant.extra)
    for several, name in ((grant.tags, "tags"), (grant.endpoints, "endpoints")):
        _require_few(several, name)
    return grant


def check_owner(owner: Owner) -> Owner:
    """A team, a user or a customer, as it is; raises `ConfigError` that says what cannot be."""
    require_name(owner.name, owner.kind)
    if owner.kind == "user" and any(not each.model for each in owner.limits.dollars):
        raise ConfigError("budget: a user's dollars are set with `budgetguard budget set`, for programs and keys alike")
    rules_of(owner.kind, owner.limits)
    _check_models(owner.models)
    _check_texts(owner.alias, "", owner.extra)
    return owner


def require_name(value: object, name: str) -> str:
    """A text that can stand in logs and headers; raises `ConfigError` naming the argument."""
    text = require_text(value, name)
    if len(text) > _MOST_LETTERS or not text.isprintable():
        raise ConfigError(f"{name}={text[:40]!a}: up to {_MOST_LETTERS} printable letters are needed")
    return text


def _check_models(globs: tuple[str, ...]) -> None:
    _require_few(globs, "models")
    for glob in globs:
        require_glob(glob)


def _check_texts(alias: str, note: str, extra: Mapping[str, str]) -> None:
    for value, name in ((alias, "alias"), (note, "note")):
        if value:
            require_name(value, name)
    _require_few(extra, "extra")
    if sum(len(name) + len(value) for name, value in extra.items()) > 100_000:
        raise ConfigError("extra: more than 100,000 letters are kept with no key")


def _require_few(several: Sized, name: str) -> None:
    if len(several) > _MOST:
        raise ConfigError(f"{name}: there are {len(several)}, and at most {_MOST} are kept")
