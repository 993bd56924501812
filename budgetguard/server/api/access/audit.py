"""
Who changes keys and their owners: each change is written down in the audit of its project, beside those of budgets.

Who asks is known for as long as a handler runs; what is changed in it has that author.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any, Final, TypeVar

from ....budgets.steering.audit import Author, Changed, write_down
from ....errors import BudgetGuardError
from ....ledger import Store
from ...keys import Key, Owner
from ...keys.records import KeyChanged
from ...keys.shown import shown_key, shown_owner
from ...projects import Projects
from ..action import Ask
from ..dollars.fields import author_of

log = logging.getLogger("budgetguard.server")

T = TypeVar("T")

_AUTHOR: Final[ContextVar[Author | None]] = ContextVar("budgetguard_author", default=None)
_NEVER: Final = frozenset({"version", "created", "last_used", "prefix", "project", "name"})
"""What is said of a key or an owner that no change is about."""


class KeyAudit:
    """What a server's keys and owners are told to, for the projects of its store."""

    def __init__(self, projects: Projects) -> None:
        self._projects = projects

    def __call__(self, change: KeyChanged) -> None:
        """Write a change down. What was done is done, also where that fails."""
        try:
            with self._projects.at_work(change.project) as project:
                write_key_change(project.store, change, _AUTHOR.get() or Author("", "api"))
        except BudgetGuardError as error:
            log.warning("%s of %s is missing in the audit: %s", change.what, change.name, error)


def write_key_change(store: Store, change: KeyChanged, author: Author) -> None:
    """Put a change into the audit of its project, if it is one; no secret of a key is in it."""
    before, after = _told(change.before), _told(change.after)
    if before == after and change.what != "rotate":
        return
    budget = "keys" if isinstance(change.before or change.after, Key) else "limits"
    said = Changed(author.who, author.via, change.what, budget, change.name, before, after)
    write_down(store, said, store.now_ms())


def handled(handler: Callable[[Ask], T], ask: Ask) -> T:
    """What a handler answers; whatever it changes of keys has whoever asked for its author."""
    token = _AUTHOR.set(author_of(ask.caller))
    try:
        return handler(ask)
    finally:
        _AUTHOR.reset(token)


def _told(it: Key | Owner | None) -> Mapping[str, Any]:
    if it is None:
        return {}
    shown = shown_key(it) if isinstance(it, Key) else shown_owner(it)
    return {name: value for name, value in shown.items() if value and name not in _NEVER}
