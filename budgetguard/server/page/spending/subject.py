"""One user, team or feature: what its calls touch and cost, and why one of them was refused."""

from __future__ import annotations

from ....reports.amounts import amount
from ....reports.shown.budgets import BudgetShown, SubjectShown
from ..view import Look, Shown
from .budgets import kind_of, label_of, menu_of
from .slots import chart_of


def subject(look: Look) -> Shown:
    """All of what `tag` and `value` name; a form that asks for them, where they name nothing."""
    tag, value = look.said("tag", "user"), look.said("value")
    if not value:
        return Shown("spending/subject_none.html", {"tag": tag}, title="Subject")
    shown = look.reports.subject(tag, value, zone=look.zone.key)
    data = {
        "shown": shown,
        "chart": chart_of(f"Spend of {value} by day, by model", shown.by_day),
        "kind": kind_of,
        "label": label_of,
        "verdict": _verdict(shown),
        "verdict_of": verdict_of,
        "menu": menu_of,
        "now_ms": look.now_ms,
        "refused": sum(row.times for row in shown.refusals),
        "calls_link": look.place.link("calls", **({tag: value} if tag == "user" else {"tag": f"{tag}={value}"})),
    }
    return Shown("spending/subject.html", data, title=f"{tag} {value}", rows=shown.budgets, whole=shown)


def verdict_of(row: BudgetShown) -> str:
    """What a budget says to a call now, in words."""
    if row.state == "paused":
        return "says no: paused"
    if row.limit is None:
        return "counts only"
    if row.left is not None and row.left > 0:
        return "has room"
    if row.enforce == "observe":
        return "full, but only observes"
    if row.spent < row.limit:
        return "busy: the rest is held by calls in flight"
    return "says no: spent"


def _verdict(shown: SubjectShown) -> str:
    """Why a call would be refused now, in a sentence with its arithmetic; "" where none would be."""
    row = shown.refusing
    if row is None:
        return ""
    name = label_of(row)
    if row.state == "paused" or row.limit is None:
        why = f" by {row.by}" if row.by else ""
        return f"The next call is refused by {name}: it is paused{why}{f' ({row.note})' if row.note else ''}."
    left = row.limit - row.spent - row.held
    told = [amount(each, row.unit) for each in (row.limit, row.spent, row.held, left)]
    return f"The next call is refused by {name}: {told[0]} limit − {told[1]} spent − {told[2]} held = {told[3]} left."
