"""Budgets: every rule, subject and user with what is spent, held and left, and what may be done with each."""

from __future__ import annotations

from typing import Any, get_args

from ....reports.shown.budgets import BudgetOrder, BudgetsQuery, BudgetShown, BudgetState
from ..view import Look, Shown
from .asked import Page, page_of, sort_of

ROWS = 50
STATES: tuple[BudgetState, ...] = get_args(BudgetState)
_ORDERS: tuple[BudgetOrder, ...] = get_args(BudgetOrder)


def budgets(look: Look) -> Shown:
    """A page of them."""
    sort, number = sort_of(look, "-used", _ORDERS), page_of(look)
    shown = look.reports.budgets(_query(look, sort, (number - 1) * ROWS))
    page = Page(number, ROWS, shown.count)
    if number > page.pages:
        page = Page(page.pages, ROWS, shown.count)
        shown = look.reports.budgets(_query(look, sort, (page.pages - 1) * ROWS))
    data: dict[str, Any] = {
        "shown": shown,
        "page": page,
        "sort": sort,
        "states": STATES,
        "is_filtered": any(look.said(name) for name in ("search", "state", "budget")),
        "target": target_of,
    }
    return Shown("spending/budgets.html", data, rows=shown.rows, whole=shown)


def target_of(row: BudgetShown) -> str:
    """How commands, and the form that steers, name it: "users/ann", "team/red", "total"."""
    return f"{row.budget}/{row.subject}" if row.subject else row.budget


def _query(look: Look, sort: str, offset: int) -> BudgetsQuery:
    wanted = look.said("state")
    states = frozenset(state for state in STATES if state == wanted)
    order = next(each for each in _ORDERS if each == sort.removeprefix("-"))
    return BudgetsQuery(
        search=look.said("search"),
        states=states,
        budget=look.said("budget") or None,
        order=order,
        descending=sort.startswith("-"),
        offset=offset,
        limit=ROWS,
    )
