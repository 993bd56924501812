"""One subject: the budgets that its calls touch, in the order in which they are asked, and what it spent on what."""

from __future__ import annotations

from collections.abc import Sequence

from ...budgets.rules import Budget, escape
from ...ledger import Millis
from ..cube.blocks import HOUR_MS, Hour
from ..cube.cube import Cube
from ..cube.packed import cost_of
from ..cube.sums import CubePart, RowSource, ranked, summed
from ..cube.zones import spans
from ..shown.budgets import BudgetShown, SubjectShown
from ..shown.figures import GroupShown, HistoryRead
from ..shown.lists import CallsShown, ChangeShown, RefusalShown
from .explored import chart, figures_of, top_of
from .overview import Month

DAYS = 30
TOP = 8
MOST_BUDGETS = 100


def calls_of(cube: Cube, tag: tuple[str, str], month: Month) -> CubePart:
    """The calls with a tag, of this month and the last, and of the last thirty days."""
    first = min(month.last.first, month.today.first - DAYS * 24)
    return CubePart(cube, first, max(month.month.end, month.now), {tag[0]: (tag[1],)})


def touched(
    part: CubePart, rules: Sequence[Budget], lines: Sequence[BudgetShown], tag: tuple[str, str], now_ms: Millis
) -> tuple[BudgetShown, ...]:
    """The budgets that calls with a tag were covered by lately, and would be with no other tag; as they are asked."""
    name, value = tag
    found = dict.fromkeys([("users", escape(value))] if name == "user" else [])
    first, end = (now_ms - DAYS * 24 * HOUR_MS) // HOUR_MS, now_ms // HOUR_MS + 1
    for rule in rules:
        fields = list(dict.fromkeys([*rule.per, *rule.match]))
        combined = summed(part, fields, first, end) if fields else {(): 1}
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
    part: CubePart,
    tag: tuple[str, str],
    month: Month,
    budgets: tuple[BudgetShown, ...],
    lists: tuple[CallsShown, tuple[RefusalShown, ...], tuple[ChangeShown, ...], HistoryRead],
) -> SubjectShown:
    """See `Reports.subject`; `lists` are what other views know: calls, refusals, changes, and what was read."""
    name, value = tag
    days = spans("day", month.today.first - (DAYS - 1) * 24, month.today.end, month.zone)[-DAYS:]
    first, end = days[0].first, days[-1].end
    with part.locked():
        this, last = figures_of(part, [(month.month.first, month.month.end), (month.last.first, month.last.end)])
        stack, _ = chart(part, "model", days, TOP)
        tags = {
            other: groups
            for other in sorted(part.codes.tag_names() | {"user"})
            if other != name and (groups := _groups(part, other, (first, end)))
        }
        models = _groups(part, "model", (first, end))
    calls, refusals, changes, read = lists
    return SubjectShown(
        name, value, budgets, refusing(budgets), this, last, stack, models, tags, calls, refusals, changes, read
    )


def _groups(part: RowSource, by: str, hours: tuple[Hour, Hour]) -> tuple[GroupShown, ...]:
    """The dearest values of a field; none where no call has one."""
    found = ranked(part, (by,), hours, TOP)
    if not any(value for (value,), _ in found.top):
        return ()
    whole = cost_of(sum([packed for _, packed in found.top]) + found.rest)
    return top_of(part.kinds, found, whole)[0]
