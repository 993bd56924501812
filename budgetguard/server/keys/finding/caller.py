"""Who asks, as everything else of the server sees it: no key is in it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from ....budgets.rules import Budget
from ....ledger import NO_TAGS
from ..limits import OwnerKind
from ..models import allows


class OwnerRules(NamedTuple):
    """The budgets of all calls whose `tag` is `name`; none: what was told of it before is over."""

    tag: OwnerKind
    name: str
    rules: tuple[Budget, ...]


class Caller(NamedTuple):
    """Who asks. Without a project: a server in open mode, where the request names it."""

    project: str | None
    scope: str
    prefix: str
    user: str | None = None
    """Who pays."""
    team: str | None = None
    tags: Mapping[str, str] = NO_TAGS
    """The key's own tags."""
    models: tuple[str, ...] = ()
    """Globs of the models that the key may call; none: all."""
    endpoints: tuple[str, ...] = ()
    """Operations that it may ask for beside those that all may."""
    alias: str = ""
    expires_s: float | None = None
    """In seconds since 1970."""
    owners: tuple[OwnerRules, ...] = ()
    """The limits of the key, its team and its user; the same objects as long as none of them changes."""
    within: tuple[tuple[str, ...], ...] = ()
    """The globs of its team and its user, each of which has to allow a model, too."""

    def allows(self, *names: str) -> bool:
        """Whether the key, its team and its user may call a model, each by one of the names that it has."""
        return all(any(allows(globs, name) for name in names) for globs in (self.models, *self.within))


class Customer(NamedTuple):
    """An end user, as a request names one: below the key, and never who pays."""

    blocked: bool
    owner: OwnerRules
