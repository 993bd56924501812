"""The stored owners of a project's keys: its teams, its users' rates, its customers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from ...budgets.rules import escape
from ...budgets.users import insist
from ...errors import ConfigError
from ...ledger import Store
from .checks import check_owner
from .limits import OwnerKind
from .records import HearKeys, KeyChanged, Owner, unheard

SHOWN = {"team": "team", "user": "user", "end_user": "customer"}
"""What people call them."""


class Owners:
    """The owners in one store, of all projects."""

    def __init__(self, own: Store, *, hear: HearKeys = unheard) -> None:
        self._own = own
        self._hear = hear

    def find(self, project: str, kind: OwnerKind, name: str) -> Owner | None:
        """An owner as it is now; `None` if none is stored."""
        return self._read(project, kind, name)[1]

    def get(self, project: str, kind: OwnerKind, name: str) -> Owner:
        """An owner as it is now; raises `ConfigError` if none is stored."""
        found = self.find(project, kind, name)
        if found is None:
            raise ConfigError(
                f"{SHOWN[kind]} {name!r}: nothing is set for it; see `budgetguard limits list {SHOWN[kind]}`"
            )
        return found

    def all(self, project: str, kind: OwnerKind, *, after: str | None = None) -> Iterator[Owner]:
        """All of a kind, in the order of their keys; with `after`, those behind that one."""
        prefix = _prefix(project, kind)
        for terms in self._own.all_terms(prefix, after=None if after is None else prefix + escape(after)):
            if terms.body is not None:
                yield Owner.from_text(terms.body, terms.version)

    def change(self, project: str, kind: OwnerKind, name: str, changed: Callable[[Owner], Owner]) -> Owner:
        """
        Put what `changed` makes of an owner, of one without limits where none is stored, of a newer one again.

        Raises `ConfigError` for what cannot be.
        """

        was: list[Owner | None] = []

        def attempt() -> Owner | None:
            version, found = self._read(project, kind, name)
            was[:] = [found]
            made = check_owner(changed(Owner(kind, name) if found is None else found))
            terms = self._own.put_terms(_key(project, kind, name), made.to_text(), expected=version)
            return None if terms is None else replace(made, version=terms.version)

        after = insist(attempt, f"{SHOWN[kind]} {name!r}: it is")
        what = "create" if was[0] is None else "change" if was[0].blocked == after.blocked else _switch(after)
        self._hear(KeyChanged(project, what, f"{kind}/{name}", was[0], after))
        return after

    def remove(self, project: str, kind: OwnerKind, name: str) -> Owner:
        """Take away what is set for an owner; its keys and the history stay. Raises `ConfigError`."""
        found = self.get(project, kind, name)
        self._own.put_terms(_key(project, kind, name), None)
        self._hear(KeyChanged(project, "remove", f"{kind}/{name}", found, None))
        return found

    def _read(self, project: str, kind: OwnerKind, name: str) -> tuple[int, Owner | None]:
        """The version of what is stored, and the owner, if there is one."""
        terms = self._own.terms(_key(project, kind, name))
        if terms is None:
            return 0, None
        return terms.version, None if terms.body is None else Owner.from_text(terms.body, terms.version)


def _switch(owner: Owner) -> str:
    return "block" if owner.blocked else "unblock"


def _prefix(project: str, kind: OwnerKind) -> str:
    return f"owners/{escape(project)}/{kind}/"


def _key(project: str, kind: OwnerKind, name: str) -> str:
    return _prefix(project, kind) + escape(name)
