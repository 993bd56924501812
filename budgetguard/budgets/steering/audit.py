"""
The audit: who changed which budget, when and why, as records of the kind `CHANGE` beside the books.

A change is written down right after it holds. Where that fails it holds all the same, and the log says what is missing.
"""

from __future__ import annotations

import getpass
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple, TypeAlias

from ...errors import BudgetGuardError
from ...ledger import Millis, Record, RecordQuery, Store, id_at, new_id
from ...money import DOLLAR
from ..rules import USERS, unescape

_AMOUNTS: Final = ("limit", "extra")

log = logging.getLogger("budgetguard")

CHANGE: Final = "change"
"""The kind of these records."""

Via: TypeAlias = Literal["cli", "api", "page", "python"]
"""By what a change was asked for."""

_FIELDS: Final = ("who", "via", "what", "budget", "subject", "before", "after", "note")


class Author(NamedTuple):
    """Who changes something: a person, or a key by its alias or prefix."""

    who: str = ""
    via: Via = "python"


@dataclass(frozen=True, slots=True)
class Changed:
    """One change. `before` and `after` have what can be said of the budget, amounts in its unit as they are counted."""

    who: str
    via: str
    what: str
    """ "create", "change", "remove", "raise", "top up", "pause", "resume", "reset", "unsteer"; "rotate" of a key."""
    budget: str
    """The name of the rule; "users" for a user's own budget, "keys" and "limits" for those of a server."""
    subject: str
    """Whose it is; "" for all of a rule's."""
    before: Mapping[str, Any] = field(default_factory=dict)
    after: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""
    id: str = ""
    at_ms: Millis = 0

    @property
    def target(self) -> str:
        """How commands name what was changed."""
        return f"{self.budget}/{self.subject}" if self.subject else self.budget

    def is_of(self, target: str) -> bool:
        """Whether this is what a target means, as commands take it and print it: "ann" is "users/ann", too."""
        return self.target in {target, unescape(target), f"{USERS}{target}"}

    @property
    def fields_changed(self) -> dict[str, tuple[Any, Any]]:
        """What differs: by its name, as it was and as it is."""
        names = dict.fromkeys([*self.before, *self.after])
        pairs = {name: (self.before.get(name), self.after.get(name)) for name in names}
        return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}

    def plain(self) -> dict[str, Any]:
        """For programs: dollars as dollars."""
        return {"before": _in_dollars(self.before), "after": _in_dollars(self.after)}

    def to_text(self) -> str:
        """The body of the record."""
        return json.dumps({name: getattr(self, name) for name in _FIELDS})

    @classmethod
    def from_record(cls, record: Record) -> Changed:
        """Read a record; what an older or newer writer says otherwise is left out."""
        data = json.loads(record.body)
        said = {name: data[name] for name in _FIELDS if name in data}
        return cls(
            **{"who": "", "via": "", "what": "", "budget": "", "subject": "", **said}, id=record.id, at_ms=record.at_ms
        )


def write_down(store: Store, change: Changed, at_ms: Millis) -> Changed:
    """Put a change that holds into the audit. Never raises for a store: what was done is done."""
    own_id = id_at(at_ms) + new_id()[len(id_at(at_ms)) :]  # it sorts by the store's time, as it is looked for
    record = Record(CHANGE, own_id, at_ms, change.to_text())
    try:
        store.note([record])
    except BudgetGuardError as error:
        log.warning("%s: %s by %r is missing in the audit: %s", change.target, change.what, change.who, error)
    return Changed.from_record(record)


def changes(
    store: Store,
    *,
    since_ms: Millis | None = None,
    user: str | None = None,
    target: str | None = None,
    limit: int | None = None,
    before: str | None = None,
) -> Iterator[Changed]:
    """
    What was changed, the last first: since a moment, of a user's own budget, or of one target (`Changed.target`).

    `before` is the id of the last one of the page before.
    """
    after = None if since_ms is None else id_at(since_ms)
    whole = limit if user is None and target is None else None
    found = 0
    for record in store.noted(RecordQuery(CHANGE, after, before, whole, newest=True)):
        change = Changed.from_record(record)
        if user is not None and (change.budget, change.subject) != ("users", user):
            continue
        if target is not None and not change.is_of(target):
            continue
        if limit is not None and found >= limit:
            return
        found += 1
        yield change


def _in_dollars(said: Mapping[str, Any]) -> dict[str, Any]:
    """What is said of a budget, with its amounts in dollars, if it counts these."""
    told: dict[str, Any] = {
        name: _in_dollars({"unit": said.get("unit"), **value}) if name == "steer" else value
        for name, value in said.items()
    }
    if said.get("unit") == "dollars":
        told |= {name: told[name] / DOLLAR for name in _AMOUNTS if isinstance(told.get(name), int)}
    return told


def whoami() -> str:
    """The name of the person whose process this is; "" where the system has none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""
