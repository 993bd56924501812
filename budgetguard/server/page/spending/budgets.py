"""Budgets: every rule, subject and user with what is spent, held and left, and what may be done with each."""

from __future__ import annotations

from typing import Any, get_args

from ....budgets.rules import escape
from ....budgets.steering.states import Condition
from ....reports.shown.budgets import BudgetOrder, BudgetShown, BudgetsQuery
from ..links import ViewPlace
from ..view import Look, Shown
from .asked import Page, page_of, sort_of

ROWS = 50
VERBS = {
    "raise": "Change the limit…",
    "top-up": "Top up once…",
    "pause": "Pause…",
    "resume": "Resume…",
    "reset": "Reset…",
    "remove": "Undo changes…",
    "take-away": "Remove…",
}
"""What a menu calls what may be done."""
STATES: tuple[Condition, ...] = get_args(Condition)
_ORDERS: tuple[BudgetOrder, ...] = get_args(BudgetOrder)


def budgets(look: Look) -> Shown:
    """A page of them."""
    sort, number = sort_of(look, "-used", _ORDERS), page_of(look)
    fresh = bool(look.said("search"))  # whoever looks for one, as a form that changed one does, wants it as it is now
    shown = look.reports.budgets(_query(look, sort, (number - 1) * ROWS), fresh=fresh)
    page = Page(number, ROWS, shown.count)
    if number > page.pages:
        page = Page(page.pages, ROWS, shown.count)
        shown = look.reports.budgets(_query(look, sort, (page.pages - 1) * ROWS))
    data: dict[str, Any] = {
        "shown": shown,
        "page": page,
        "sort": sort,
        "state_choices": [(state, f"{state} ({shown.states.get(state, 0):,})") for state in STATES],
        "whole": _whole(look),
        "rule_choices": [
            ("", "any"),
            ("users", "users' own"),
            *((rule.name, rule.name) for rule in look.reports.rules()),
        ],
        "is_filtered": any(look.said(name) for name in ("search", "state", "budget")),
        "kind": kind_of,
        "label": label_of,
        "menu": menu_of,
        "now_ms": look.now_ms,
    }
    return Shown("spending/budgets.html", data, rows=shown.rows, whole=shown)


def target_of(row: BudgetShown) -> str:
    """How commands, and the form that steers, name it: "users/ann", "team/red", "total"."""
    return f"{row.budget}/{row.subject}" if row.subject else row.budget


def label_of(row: BudgetShown) -> str:
    """How people read it: "users/ann", "team/red", "total"."""
    return "/".join(filter(None, (row.budget, ", ".join(row.who.values()) or row.subject)))


def kind_of(row: BudgetShown) -> str:
    """What is counted, over what time, and how strictly: "monthly, Europe/Berlin", "tokens, rolling 1d, soft"."""
    parts = [row.unit if row.unit != "dollars" else "", row.period, row.zone if row.zone != "UTC" else ""]
    return ", ".join(filter(None, [*parts, row.enforce if row.enforce != "hard" else ""]))


def menu_of(place: ViewPlace, row: BudgetShown) -> list[tuple[str, str]]:
    """What may be done with it: the pages that ask, and what they are called."""
    verbs = [("resume" if row.state == "paused" else "pause")]
    verbs = [*(["raise", "top-up"] if row.limit is not None else ["raise"]), *verbs, "reset", "remove"]
    verbs += ["take-away"] if row.budget == "users" else []
    return _links(place, target_of(row), verbs)


def _whole(look: Look) -> list[tuple[str, str]]:
    """What may be done with all subjects of the rule that is chosen, if it has any."""
    rule = next((rule for rule in look.reports.rules() if rule.name == look.said("budget") and rule.per), None)
    return (
        [] if rule is None else _links(look.place, escape(rule.name), [verb for verb in VERBS if verb != "take-away"])
    )


def _links(place: ViewPlace, target: str, verbs: list[str]) -> list[tuple[str, str]]:
    return [(place.link("steer", verb=verb, target=target), VERBS[verb]) for verb in verbs]


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
