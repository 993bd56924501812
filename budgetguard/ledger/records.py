"""What a store keeps beside the books, by kinds: who was refused, who changed what, who was told of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from .holds import Millis

KEPT_FOR_EVER: Millis = 1 << 53
"""The `until_ms` of a record that is never pruned."""

KINDS = ("alert", "change", "refusal", "sum")
"""The kinds that tell people something: a copy of the books takes them along."""


class Record(NamedTuple):
    """One thing that happened. It is no money: nothing on the books depends on it."""

    kind: str
    """What it is one of, such as "refusal": lower-case letters."""
    id: str
    """Its name among those of its kind, which are read in the order of their ids (as code points): see `new_id`."""
    at_ms: Millis
    """When it happened, as its writer knows it."""
    body: str
    """JSON, which a store does not look into."""
    until_ms: Millis | None = None
    """`Store.prune` leaves it alone until then; `None`: it goes with the entries of its time."""


@dataclass(frozen=True, slots=True)
class RecordQuery:
    """Which records of a kind: those whose id is in (after, before), in the order of their ids."""

    kind: str
    after: str | None = None
    before: str | None = None
    limit: int | None = None
    newest: bool = False
    """The last first."""
