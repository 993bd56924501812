"""Which budgets the calls of the history passed by: for `doctor`, as a rule that never held looks like one that did."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from ...budgets.rules import USERS, Budget
from ...ledger import Query, Store
from ...money import Nano
from ..common.show import money

_GROUPS = {"model", "provider", "day"}
"""What a store groups by that is no tag: a tag of such a name is read from the entries."""
_LATELY_MS = 7 * 24 * 3_600_000


def passed_by(store: Store, rules: Sequence[Budget]) -> Iterator[str]:
    """A sentence for every rule that no call was ever counted by, and for calls of late that lacked a tag."""
    lately = Query(since_ms=store.now_ms() - _LATELY_MS)
    for rule in rules:
        never = _never(rule, [tags for tags, _, _ in _history(store, [*rule.match, *rule.per], Query())])
        if never:
            yield f"budget {rule.name!r} {never}: no call was ever counted by it"
            continue
        for tag in rule.per:
            yield from _lacking(store, rule, tag, lately)
    if next(store.all_terms(USERS), None) is not None:
        users = Budget("users", None, per=("user",))
        yield from _lacking(store, users, "user", lately)


def _never(rule: Budget, history: Sequence[Mapping[str, str]]) -> str:
    """What no call of the history had, though the rule asks for it; "" if some call had it all, or there was none."""
    if not history or any(rule.subject(tags) is not None for tags in history):
        return ""
    for tag, glob in rule.match.items():
        values = sorted({tags[tag] for tags in history if tag in tags})
        if not values:
            return f"matches tag {tag!r}, which no call ever had"
        if not any(fnmatchcase(value, glob) for value in values):
            return f"matches {tag}={glob!r}, and there were {', '.join(map(repr, values[:5]))}"
    absent = [tag for tag in rule.per if not any(tag in tags for tags in history)]
    return f"counts by {', '.join(map(repr, absent or rule.per))}, which no call that it matches ever had"


def _lacking(store: Store, rule: Budget, tag: str, when: Query) -> Iterator[str]:
    """A sentence of the calls that the rule would have counted, if they had this tag."""
    without = [
        (calls, cost)
        for tags, calls, cost in _history(store, [*rule.match, tag], when)
        if tag not in tags and rule.fits(tags)
    ]
    if without:
        calls, cost = sum(calls for calls, _ in without), sum(cost for _, cost in without)
        whose = "the users' own budgets" if rule.name == "users" else f"budget {rule.name!r}"
        yield (
            f"{calls} calls of the last 7 days ({money(cost)}) had no tag {tag!r}, so {whose} did not count them: "
            f"Settings(unscoped='refuse') finds the lines"
        )


def _history(store: Store, tags: Iterable[str], when: Query) -> Iterator[tuple[dict[str, str], int, Nano]]:
    """The tags of these that calls had, and how many calls they were, at which cost."""
    names = list(dict.fromkeys(tags))
    if _GROUPS.isdisjoint(names):
        for total in store.totals(names, when) if names else ():
            had = {name: value for name, value in zip(names, total.group, strict=True) if value}
            yield had, total.calls, total.cost
    else:
        for entry in store.entries(when):
            yield {name: entry.tags[name] for name in names if name in entry.tags}, 1, entry.cost
