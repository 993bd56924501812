"""One subject: the budgets that its calls touch, in the order in which they are asked, and what it spent on what."""

from __future__ import annotations

from collections.abc import Sequence

from ...budgets.rules import Budget, escape
from ...ledger import Millis
from ..cube.blocks import HOUR_MS
from ..cube.cube import Cube
from ..cube.packed import cost_of
from ..cube.sums import Only, dearest, summed, totals
from ..cube.zones import spans
from ..shown.budgets import BudgetShown, SubjectShown
from ..shown.figures import GroupShown, HistoryRead
from ..shown.lists import CallsShown, ChangeShown, RefusalShown
from .explored import chart, figures_of, top_of
from .overview import Month

DAYS = 30
TOP = 8
MOST_BUDGETS = 100


def touched(
    cube: Cube, rules: Sequence[Budget], lines: Sequence[BudgetShown], tag: tuple[str, str], now_ms: Millis
) -> tuple[BudgetShown, ...]:
    """The budgets that calls with a tag were covered by lately, and would be with no other tag; as they are asked."""
    name, value = tag
    found = dict.fromkeys([("users", escape(value))] if name == "user" else [])
    first, end = (now_ms - DAYS * 24 * HOUR_MS) // HOUR_MS, now_ms // HOUR_MS + 1
    for rule in rules:
        fields = list(dict.fromkeys([*rule.per, *rule.match]))
        combined = summed(cube, fields, first, end, {name: (value,)}) if fields else {(): 1}
        tags = [{field: each for field, each in zip(fields, values, strict=True) if each} for values in combined]
        for each in [*tags, {}]:
            subject = rule.subject({**each, name: value})
            if subject is not None:
                found[rule.name, subject] = None
    return _first(tuple([line for line in lines if (line.budget, line.subject) in found]), name)


def _first(lines: tuple[BudgetShown, ...], tag: str) -> tuple[BudgetShown, ...]:
    """Of many budgets those that are nobody else's, and the others that are used most, in the same order."""
    if len(lines) <= MOST_BUDGETS:
        return lines
    own = [each for each in lines if each.who.keys() <= {tag}]
    others = sorted([each for each in lines if not each.who.keys() <= {tag}], key=_used, reverse=True)
    kept = {each.account for each in [*own, *others][:MOST_BUDGETS]}
    return tuple([each for each in lines if each.account in kept])


def _used(each: BudgetShown) -> float:
    return each.used or 0.0


def refusing(budgets: Sequence[BudgetShown]) -> BudgetShown | None:
    """The first budget that has no room for a call."""
    for each in budgets:
        if each.enforce != "observe" or each.state == "paused":
            full = each.state in {"spent", "paused"} or (each.state == "busy" and each.enforce == "hard")
            if full:
                return each
    return None


def subject(
    cube: Cube,
    tag: tuple[str, str],
    month: Month,
    budgets: tuple[BudgetShown, ...],
    lists: tuple[CallsShown, tuple[RefusalShown, ...], tuple[ChangeShown, ...], HistoryRead],
) -> SubjectShown:
    """See `Reports.subject`; `lists` are what other views know: calls, refusals, changes, and what was read."""
    name, value = tag
    only: Only = {name: (value,)}
    with cube.locked():
        this, last = figures_of(cube, [(month.month.first, month.month.end), (month.last.first, month.last.end)], only)
        days = spans("day", month.today.first - (DAYS - 1) * 24, month.today.end, month.zone)[-DAYS:]
        stack, _ = chart(cube, "model", days, TOP, only=only)
        first, end = days[0].first, days[-1].end
        tags = {
            other: groups
            for other in sorted(cube.codes.tag_names() | {"user"})
            if other != name and (groups := _groups(cube, other, first, end, only))
        }
        models = _groups(cube, "model", first, end, only)
    calls, refusals, changes, read = lists
    return SubjectShown(
        name, value, budgets, refusing(budgets), this, last, stack, models, tags, calls, refusals, changes, read
    )


def _groups(cube: Cube, by: str, first: int, end: int, only: Only) -> tuple[GroupShown, ...]:
    """The dearest values of a field; none where no call has one."""
    found = dearest(summed(cube, (by,), first, end, only).items())
    if not any(value for (value,), _ in found):
        return ()
    whole = sum([cost_of(packed) for packed in totals(cube, [(first, end)], only)])
    return top_of(cube.kinds, found, TOP, whole)[0]
