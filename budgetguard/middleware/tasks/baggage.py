"""
What travels with a task: whose it is, and what its earlier attempts have spent.

The user and the tags of the scope that a task is sent in go along, as plain JSON in a header of the task. Limits do
not: a scope's limit is counted in its own process. What a task may spend is said where its queue is set up.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ...errors import ConfigError
from ...guards.scope import NO_TAGS, current
from ...money import Nano

HEADER = "budgetguard"
"""The name of the header."""

log = logging.getLogger("budgetguard")


@dataclass(frozen=True, slots=True)
class Baggage:
    """What travels with one task."""

    tags: Mapping[str, str] = field(default_factory=lambda: NO_TAGS)
    """Those of the scope that it was sent in, the user among them."""
    spent: Nano = 0
    """What attempts have cost that were made before."""

    def header(self) -> dict[str, Any]:
        """As JSON."""
        return {"tags": dict(self.tags), "spent": self.spent}


def read_header(header: object) -> Baggage:
    """What a header says; of a task without one, what the scope around says. Raises `ConfigError` for what is none."""
    if header is None:
        scope = current.get()
        return Baggage() if scope is None else Baggage(scope.tags)
    if isinstance(header, Mapping) and isinstance(header.get("tags"), Mapping):
        return Baggage(header["tags"], max(int(header.get("spent", 0)), 0))
    raise ConfigError(f"the task's header {HEADER!r} is none that was written here: send the task again")


_said: set[str] = set()


def carry(name: str, *, limited: bool) -> dict[str, Any] | None:
    """
    The header of a task that is sent here and now; `None` outside of every scope.

    Where the scope has a limit and the task is given none (`limited`), that is said once for each `name`.
    """
    scope = current.get()
    if scope is None:
        return None
    if not limited and name not in _said and any(tally.account.limit is not None for tally in scope.tallies):
        _said.add(name)
        log.warning(
            "%s was sent from a scope with a limit, which counts in this process only: the task takes the user and the "
            "tags along. State what it may spend, limit=, where its queue is set up",
            name,
        )
    return Baggage(scope.tags).header()
