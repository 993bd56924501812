"""What these endpoints have in common: pages, short texts, dollars and times."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from msgspec import Meta, Struct

from ....budgets.steering.audit import Author
from ....ledger import Millis, Unit
from ....money import DOLLAR
from ...keys import ADMIN, READ, Caller

PAGE = 100
MOST_PAGE = 1_000

Short = Annotated[str, Meta(max_length=500)]
"""A text in a query string, whose whole length is bounded, too."""
PageSize = Annotated[int, Meta(ge=1, le=MOST_PAGE)]

READERS = frozenset({READ, ADMIN})


class PageQuery(Struct, forbid_unknown_fields=True, frozen=True):
    """Which page."""

    after: Short | None = None
    limit: PageSize = PAGE


def figure(amount: int, unit: Unit) -> float:
    """An amount for people, in its unit: dollars, or a whole number."""
    return amount / DOLLAR if unit == "dollars" else amount


def iso(at_ms: Millis) -> str:
    """A time for people, and for programs."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat()


def author_of(caller: Caller) -> Author:
    """Who changes something, as the audit has it: a key by its alias, or else by its prefix."""
    return Author(caller.alias or (f"bg_{caller.prefix}" if caller.prefix else ""), "api")
