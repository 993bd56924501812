"""
Budgets as bars, in text and in HTML: what is spent, what is held by calls in flight, what is left.

    [███████▒▒░░░░░░░░░░░] ann: $0.35 spent, $0.10 held, $0.55 of $1.00 left

It is what a notebook, a shell and a debugger show, so nothing here raises, whatever the store says.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import islice

from ..ledger import Unit, show_amount
from .accounts import read_balances
from .users import Users

CELLS = 20
MOST_USERS = 20
"""More are not read: it is a look, not a report."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One budget; without a limit it has nothing to fill."""

    label: str
    spent: int
    held: int
    limit: int | None
    unit: Unit = "dollars"

    def __str__(self) -> str:
        spent, held = self._parts(CELLS)
        cells = "" if self.limit is None else f"[{'█' * spent}{'▒' * held}{'░' * (CELLS - spent - held)}] "
        return cells + (f"{self.label}: " if self.label else "") + self.said

    @property
    def said(self) -> str:
        """The amounts."""
        if self.unit == "parallel":
            return f"{self.held:,} in flight" + ("" if self.limit is None else f" of {self.limit:,}")
        text = f"{show_amount(self.spent, self.unit)} spent"
        if self.held:
            text += f", {show_amount(self.held, self.unit)} held"
        if self.limit is not None:
            left = show_amount(max(self.limit - self.spent - self.held, 0), self.unit)
            text += f", {left} of {show_amount(self.limit, self.unit)} left"
        return text

    def html(self) -> str:
        """A row of a table."""
        spent, held = self._parts(100)
        filled = "".join(
            f'<div style="float:left;height:1em;width:{part}%;background:{colour}"></div>'
            for part, colour in ((spent, "#c0392b"), (held, "#e6a23c"))
        )
        frame = f'<div style="width:14em;height:1em;background:#dfe6e9">{filled}</div>'
        shown = "" if self.limit is None else frame
        return f"<tr><td>{escape(self.label)}</td><td>{shown}</td><td>{escape(self.said)}</td></tr>"

    def _parts(self, cells: int) -> tuple[int, int]:
        """How many of so many cells are spent, and held: a bit of one is one."""
        if not self.limit:
            return (cells if self.limit == 0 else 0), 0
        spent = min(-(-self.spent * cells // self.limit), cells)
        return spent, min(-(-self.held * cells // self.limit), cells - spent)


def as_text(title: str, read: Callable[[], Sequence[Bar]]) -> str:
    """A line for each bar, below a title; where they cannot be read, a line that says so."""
    try:
        lines = [str(bar) for bar in read()]
    except Exception as error:
        lines = [_unread(error)]
    return "\n".join([title, *lines])


def as_html(title: str, read: Callable[[], Sequence[Bar]]) -> str:
    """The same as a table."""
    try:
        rows = "".join(bar.html() for bar in read())
    except Exception as error:
        rows = f"<tr><td>{escape(_unread(error))}</td></tr>"
    return f"<div><b>{escape(title)}</b><table>{rows}</table></div>"


def _unread(error: Exception) -> str:
    return f"the store cannot be read now: {type(error).__name__}: {error}"


def read_bars(users: Users) -> list[Bar]:
    """The budgets that everybody shares, and those of the first users, in two looks at the store."""
    shared = users.coverage.shared()
    taken = read_balances(users.store, [account for _, account in shared])
    own = users.standings(list(islice(users.all(), MOST_USERS)), users.coverage.now_ms())
    return [
        *(
            Bar(rule.name, got.settled, got.held, rule.limit, rule.unit)
            for (rule, _), got in zip(shared, taken, strict=True)
        ),
        *(Bar(it.budget.user, it.spent, it.held, it.budget.rule.limit, it.budget.rule.unit) for it in own),
    ]
