"""One budget that runs, as lists show it: for people, for spreadsheets and for programs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeAlias

from rich.text import Text

from ...budgets.running import Running
from ...budgets.said.sheet import NO_LIMIT
from ...budgets.said.shown import on_lines
from ...budgets.steering.states import Condition
from ...budgets.users import Standing
from ...ledger import Enforce, Millis, Unit
from ...reports.amounts import readable_in, share
from ..common.show import in_csv, iso, moment
from ..common.tables import BarCell, Cell, Column

OWN: Final = "users"
"""What users' own budgets are called where those of rules have their names."""
COLOURS: Final[dict[Condition, str]] = {
    "ok": "green",
    "near": "yellow",
    "busy": "yellow",
    "raised": "cyan",
    "spent": "bold red",
    "paused": "magenta",
}
COLUMNS: Final = (
    Column("user"),
    Column("spent", number=True, drop=2),
    Column("held", number=True, drop=6),
    Column("limit", number=True, drop=4),
    Column("left", number=True),
    Column("used", number=True, drop=1),
    Column("", drop=3),
    Column("period", drop=5),
    Column("state"),
    Column("begins again", number=True, drop=7),
)
CSV_COLUMNS: Final = (
    *("unit", "spent", "held", "limit", "left", "used", "period", "timezone", "enforce", "state", "begins_again"),
)
_UNITS: Final[dict[Unit, int]] = {"dollars": 0, "tokens": 1, "requests": 2, "parallel": 3}

LineOrder: TypeAlias = Literal["name", "used", "spent", "left"]


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """A budget of a rule for one subject, or a user's own; amounts are in its unit."""

    budget: str
    who: str
    """ "" if it is for all."""
    unit: Unit
    spent: int
    held: int
    limit: int | None
    left: int | None
    state: Condition
    period: str
    resets_ms: Millis | None
    timezone: str | None = None
    """Of users' own budgets, as all that follows."""
    enforce: Enforce = "hard"

    @classmethod
    def of_rule(cls, it: Running) -> BudgetLine:
        """A rule's."""
        amounts = (it.spent, it.held, it.limit, it.left)
        return cls(it.rule, it.subject, it.unit, *amounts, it.state, it.period, it.resets_ms)

    @classmethod
    def of_user(cls, it: Standing) -> BudgetLine:
        """A user's own."""
        rule, amounts = it.budget.rule, (it.spent, it.held, it.limit, it.left)
        period, enforce = rule.period, rule.enforce
        who = it.budget.user
        return cls(OWN, who, rule.unit, *amounts, it.state, period.name, it.resets_ms, period.timezone, enforce)

    @property
    def used(self) -> float | None:
        """The part of the limit that is spent or held."""
        if self.limit is None:
            return None
        return (self.spent + self.held) / self.limit if self.limit else 1.0

    def row(self) -> list[Cell]:
        """For people, under `COLUMNS`."""
        colour = COLOURS[self.state]
        period = self.period if self.timezone in {None, "UTC"} else f"{self.period}, {self.timezone}"
        period += "" if self.enforce == "hard" else f" ({self.enforce})"
        filled = BarCell(self.spent, self.limit, colour, "░", self.held) if self.limit else ""
        amounts = [readable_in(amount, self.unit) for amount in (self.spent, self.held, self.limit, self.left)]
        state = Text(self.state, style=colour)
        return [on_lines(self.who), *amounts, share(self.used), filled, period, state, moment(self.resets_ms)]

    def in_csv(self) -> list[str]:
        """For spreadsheets, under `CSV_COLUMNS`; of a user's own, `import` takes it back as it is."""
        amounts = [in_csv(amount, self.unit) for amount in (self.spent, self.held, self.limit, self.left)]
        if self.limit is None and self.budget == OWN:
            amounts[2] = NO_LIMIT  # of a rule's it is not known
        used = "" if self.used is None else f"{self.used:.4f}"
        how = ("", "") if self.timezone is None else (self.timezone, self.enforce)
        return [self.unit, *amounts, used, self.period, *how, self.state, iso(self.resets_ms) or ""]

    def in_json(self) -> dict[str, Any]:
        """For programs, without its name."""
        return {
            "unit": self.unit,
            "spent": self.spent,
            "held": self.held,
            "limit": self.limit,
            "left": self.left,
            "state": self.state,
            "period": self.period,
            **({} if self.timezone is None else {"timezone": self.timezone, "enforce": self.enforce}),
            "resets_at": iso(self.resets_ms),
        }


_ORDERS: Final[dict[str, Callable[[BudgetLine], Any]]] = {
    "name": lambda line: (line.budget, line.who),
    "used": lambda line: -1.0 if line.used is None else line.used,
    "spent": lambda line: (-_UNITS[line.unit], line.spent),
    "left": lambda line: (_UNITS[line.unit], line.left is None, line.left or 0),
}


def chosen(lines: Iterable[BudgetLine], states: Sequence[str], order: LineOrder | None) -> list[BudgetLine]:
    """Those in one of the states, all if none is named; the most used and spent first, and the least left."""
    kept = [line for line in lines if not states or line.state in states]
    return kept if order is None else sorted(kept, key=_ORDERS[order], reverse=order in {"used", "spent"})
