"""How a budget is, in a word, and what is left of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal, TypeAlias

from ...ledger import Unit

Condition: TypeAlias = Literal["ok", "near", "busy", "spent", "raised", "paused"]
"""
"paused" by people; "spent", or "busy" with calls in flight: no room is left; "raised" by people; "near": what
was spent has come to the first part at which somebody is told, or to four fifths.
"""

NEAR: Final = 0.8
"""The part of its limit from which on a budget is near it, if it has no `warn_at`."""


def is_raised(ruled: int | None, limit: int | None) -> bool:
    """Whether people raised the limit above the rule's."""
    return ruled is not None and (limit is None or limit > ruled)


def near_from(warn_at: Sequence[float]) -> float:
    """The part of its limit from which on a budget is near it."""
    return min(warn_at, default=NEAR)


def left_of(limit: int | None, spent: int, held: int, state: Condition) -> int | None:
    """What may still be spent of a limit, in a state."""
    if limit is None:
        return None
    return 0 if state == "paused" else max(limit - spent - held, 0)


def state_of(
    limit: int | None,
    spent: int,
    held: int,
    *,
    paused: bool = False,
    raised: bool = False,
    unit: Unit = "dollars",
    warn_at: Sequence[float] = (),
) -> Condition:
    """How a budget is, in a word: the first that fits, of what stops calls before what does not."""
    if paused:
        return "paused"
    if limit is None:
        return "ok"
    if spent >= limit and unit != "parallel":
        return "spent"
    if spent + held >= limit:
        return "busy"
    if raised:
        return "raised"
    return "near" if spent >= limit * near_from(warn_at) else "ok"
