"""What `explain` answers of budgets and models: plain frozen data, amounts whole nano-dollars or of the unit."""

from __future__ import annotations

from dataclasses import dataclass

from ...ledger import Enforce, Millis, Unit
from ...money import Nano


@dataclass(frozen=True, slots=True)
class BudgetSays:
    """One budget that the call touches, and what it would say."""

    budget: str
    """The name of the rule; "users" for a user's own."""
    subject: str
    """Whose it is, commas between the values of several tags; "" if it is for all."""
    unit: Unit
    enforce: Enforce
    period: str
    timezone: str
    limit: int | None
    """What holds now."""
    rule_limit: int | None
    """What its rule says."""
    spent: int
    held: int
    left: int | None
    """What may still be spent; `None` without a limit."""
    wanted: int | None
    """What the call is projected at, in its unit; `None` where no price is known."""
    least: int | None
    """What it can do with, as its output may be capped; `None`: all of what is wanted."""
    fits: bool
    why: str = ""
    """Why it does not fit."""
    room_at_ms: Millis | None = None
    """When there may be room again, as far as that is known."""
    resets_ms: Millis | None = None
    """When it begins again; of a rolling period, when some of it may be free again."""
    paused: bool = False
    steered: tuple[str, ...] = ()
    """What people changed of it, a sentence each."""
    warn_at: tuple[float, ...] = ()
    warns: tuple[float, ...] = ()
    """The parts of its limit that the call may take it past: somebody would be told."""
    fallback: tuple[str, ...] = ()
    degrade_at: float | None = None

    @property
    def name(self) -> str:
        """How it is named for people."""
        return f"{self.budget}/{self.subject}" if self.subject else self.budget


@dataclass(frozen=True, slots=True)
class BudgetUntouched:
    """A budget that the call does not touch, and why."""

    budget: str
    why: str


@dataclass(frozen=True, slots=True)
class ProjectedCall:
    """The most that the call can use and cost, as the guard has it before it is sent."""

    model: str
    provider: str
    """Whose prices count; "" where that is not known."""
    input_tokens: int
    output_tokens: int
    """The cap that is stated, else as much as the model can write."""
    cost: Nano | None
    """`None`: no price is known."""
    input_cost: Nano
    output_cost: Nano
    stated: bool
    """Whether the output is that of a stated cap, which a budget lowers only under `stated_caps="lower"`."""
    cap: int | None = None
    """The output cap that the guard would add, where one is lower than all that the model can write."""
    input_price: Nano | None = None
    """Of a million tokens; `None` where there is more to the price than that."""
    output_price: Nano | None = None


@dataclass(frozen=True, slots=True)
class InsteadSays:
    """A model that a budget has asked in the place of the one that does not fit."""

    model: str
    fits: bool
    cost: Nano | None = None
    why: str = ""
    """Why it is not asked."""
