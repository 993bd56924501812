"""
How a whole dict of LiteLLM's records is merged: budgets are taken as given, spend by what its writer added.

LiteLLM's client reads all records once, counts in its own copy, and sends that whole after every call. Taken as it
is, it would undo what others settled meanwhile. So every record that is read here carries a *mark* under the key
"budgetguard", which the client keeps and sends back: an id of this reading, and what was spent in which period. The
server remembers how much of each reading it has merged, and books the difference only. A record without a mark is one
that its writer made: all of its spend is new the first time, and merged by its growth after that.

Pure functions; `whole_dicts.py` reads and books.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ....money import Nano

MARK = "budgetguard"
UNLIMITED = 1e308
"""A budget without a limit, for clients that compare with a number."""

LATE_MS = 30_000
"""How late a request of a writer may come after one that it sent later."""

_ROUNDING: Nano = 1
"""By how much a sum of floats, rounded up, may seem to differ."""


@dataclass(frozen=True, slots=True)
class Known:
    """What a writer knew of a user when it last read or wrote: the spend by model, in the period of this account."""

    reading: str
    """The id of the reading; "" for a record that its writer made."""
    period: str
    spent: Mapping[str, Nano]

    def to_json(self) -> dict[str, Any]:
        """For a record's mark, and for the store."""
        return {"read": self.reading, "period": self.period, "spent": dict(self.spent)}

    @classmethod
    def from_json(cls, said: Any) -> Known | None:
        """Read a mark; `None` if it is not one."""
        if not isinstance(said, dict):
            return None
        reading, period, spent = said.get("read"), said.get("period"), said.get("spent")
        if not isinstance(reading, str) or not isinstance(period, str) or not isinstance(spent, dict):
            return None
        if not all(isinstance(nano, int) and not isinstance(nano, bool) and nano >= 0 for nano in spent.values()):
            return None
        return cls(reading, period, spent)


NOTHING = Known("", "", {})


@dataclass(frozen=True, slots=True)
class Seen:
    """What was merged of a writer's spend on a user, and what of it was merged a while ago."""

    known: Known
    older: Mapping[str, Nano]
    """Merged between one and two `LATE_MS` ago: a writer's threads may overtake each other by so much."""
    newer: Mapping[str, Nano]
    turned_ms: int
    """When `older` and `newer` were moved on."""

    def to_json(self) -> dict[str, Any]:
        """For the store."""
        return {
            **self.known.to_json(),
            "older": dict(self.older),
            "newer": dict(self.newer),
            "turned_ms": self.turned_ms,
        }

    @classmethod
    def from_json(cls, said: Any) -> Seen | None:
        """What `to_json` made; `None` if nothing was seen yet."""
        known = Known.from_json(said)
        return None if known is None else cls(known, said["older"], said["newer"], said["turned_ms"])

    @classmethod
    def first(cls, known: Known, now_ms: int) -> Seen:
        """Nothing was merged yet."""
        return cls(known, known.spent, known.spent, now_ms)

    def turned(self, now_ms: int) -> Seen:
        """The same at a later time."""
        passed = now_ms - self.turned_ms
        if passed < LATE_MS:
            return self
        level = self.known.spent
        return Seen(self.known, self.newer if passed < 2 * LATE_MS else level, level, now_ms)

    def merged(self, known: Known, *, begun: bool) -> Seen:
        """After a merge; `begun`: the spend began again."""
        return Seen(known, {}, {}, self.turned_ms) if begun else Seen(known, self.older, self.newer, self.turned_ms)


@dataclass(frozen=True, slots=True)
class Change:
    """What a writer did to a user's spend since `base`: it `added`, or began again (`reset`) and then added."""

    added: Mapping[str, Nano]
    base: Known
    reset: bool = False
    begun: bool = False
    """Whether what it knew no longer counts: it began again, or its period did."""


def change(seen: Seen, period: str, spent: Mapping[str, Nano], *, stated: bool = True) -> Change:
    """
    What a writer says by sending `spent`, while the period of this account is under way.

    Less spend than before is one of these: it was sent before what came first (LiteLLM's client saves in threads), so
    it says nothing new; the writer began again; or, in a record that its writer made, it is from a second writer that
    cannot be told from the first. `stated`: whether a cost was sent at all.
    """
    known = seen.known
    grown = _less(spent, known.spent)
    if all(nano >= -_ROUNDING for nano in grown.values()):
        return Change(_positive(grown), known)
    if not stated:
        return Change({}, known)
    same, nothing = known.period == period, not any(spent.values())
    late = all(nano >= -_ROUNDING for nano in _less(spent, seen.older).values())
    if same and late and not nothing:
        return Change({}, known)
    reset = same and (known.reading != "" or nothing)
    return Change(_positive(spent), Known(known.reading, period, {}), reset, begun=True)


def _less(one: Mapping[str, Nano], other: Mapping[str, Nano]) -> dict[str, Nano]:
    return {model: one.get(model, 0) - other.get(model, 0) for model in dict.fromkeys([*one, *other])}


def _positive(spent: Mapping[str, Nano]) -> dict[str, Nano]:
    return {model: nano for model, nano in spent.items() if nano > 0}


def carried(now: Mapping[str, Nano], known: Known) -> dict[str, Nano]:
    """What is on the books beside what a writer knew when it began a user's spend again: others settled it since."""
    left = {model: nano - known.spent.get(model, 0) for model, nano in now.items()}
    return {model: nano for model, nano in left.items() if nano > _ROUNDING}


def booking_id(writer: str, user: str, known: Known, model: str) -> str:
    """The id under which a writer's addition is booked: the same for a repetition, whoever does it."""
    told = json.dumps([writer, user, known.reading, known.period, model, known.spent.get(model, 0)])
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def with_level(known: Known, model: str, nano: Nano) -> Known:
    """The same, once it is known that so much was merged of a model."""
    return Known(known.reading, known.period, {**known.spent, model: nano})
