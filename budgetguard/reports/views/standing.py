"""Where budgets stand: every rule for each subject that has calls or holds, and every user's own, with their books."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from ...budgets.accounts import read_balances
from ...budgets.rules import USERS, Budget, UserBudget, escape, unescape
from ...budgets.steering.states import Condition, is_raised, state_of
from ...concurrency.locks import mutex
from ...ledger import Account, Balance, Millis, OpenHold, Store
from ...ledger.units import MARK
from ..cube.blocks import HOUR_MS
from ..cube.cube import Cube
from ..cube.sums import summed
from ..forecast import SpendRate, forecast
from ..shown.budgets import BudgetShown, BudgetsQuery, BudgetsShown
from ..shown.figures import Forecast, HistoryRead
from ..steered import SteeredSubject, of_rule, of_user, steered_subjects, steers_of

FRESH_S: Final = 3.0
"""How long all budgets and their books are kept, so that the next page of them costs nothing."""
_STATES: Final[tuple[Condition, ...]] = ("ok", "near", "raised", "busy", "spent", "paused")


class _Subject(NamedTuple):
    """One budget of one subject, before its books are read."""

    steered: SteeredSubject
    own: UserBudget | None


class BudgetBooks:
    """Reads them for one store, and keeps them for a few seconds."""

    def __init__(self, store: Store, cube: Cube, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._cube = cube
        self._monotonic = monotonic
        self._lock = mutex("books of budgets")
        self._owns: dict[str, tuple[int, UserBudget]] = {}
        """Users' own budgets as they were read, with the version of their terms."""
        self._kept: tuple[float, tuple[BudgetShown, ...]] | None = None

    def all(self, rules: Sequence[Budget], read: HistoryRead, *, fresh: bool = False) -> tuple[BudgetShown, ...]:
        """All of them, the rules in their order, then users' own."""
        with self._lock:
            now_s = self._monotonic()
            if self._kept is None or fresh or now_s - self._kept[0] >= FRESH_S:
                now_ms = self._store.now_ms()
                found = list(self._subjects(rules, now_ms, read))
                accounts = [each.steered.account for each in found]
                books = zip(found, read_balances(self._store, accounts), strict=True)
                self._kept = now_s, tuple([_shown(each, balance, now_ms) for each, balance in books])
            return self._kept[1]

    def _subjects(self, rules: Sequence[Budget], now_ms: Millis, read: HistoryRead) -> Iterator[_Subject]:
        steers, held = steers_of(self._store), _held_subjects(self._store.holds())
        for rule in rules:
            subjects = self._subjects_of(rule, now_ms, read) | held.get(escape(rule.name), set())
            for subject in sorted(subjects | steered_subjects(steers, rule)):
                yield _Subject(of_rule(steers, rule, subject, now_ms), None)
        for own in self._own():
            yield _Subject(of_user(own, now_ms), own)

    def _own(self) -> Iterator[UserBudget]:
        known, self._owns = self._owns, {}
        for terms in self._store.all_terms(USERS):
            there = known.get(terms.key)
            if (there is None or there[0] != terms.version) and terms.body is not None:
                there = terms.version, UserBudget.from_text(terms.body, terms.version)
            if there is not None:
                self._owns[terms.key] = there
                yield there[1]

    def _subjects_of(self, rule: Budget, now_ms: Millis, read: HistoryRead) -> set[str]:
        """Who has calls that a rule covers, in the period that is running."""
        if not rule.per:
            return {""}
        start_ms = _start_ms(rule, now_ms)
        if not read.complete and read.since_ms is not None and start_ms < read.since_ms:
            return set(_booked(self._store, rule, now_ms))
        if rule.unit == "parallel":
            return set()
        names = list(dict.fromkeys([*rule.per, *rule.match]))
        found = summed(self._cube, names, start_ms // HOUR_MS, now_ms // HOUR_MS + 2)
        tags = [{name: value for name, value in zip(names, values, strict=True) if value} for values in found]
        return {subject for each in tags if (subject := rule.subject(each)) is not None}


def budgets(lines: Sequence[BudgetShown], query: BudgetsQuery, read: HistoryRead) -> BudgetsShown:
    """See `Reports.budgets`."""
    wanted = query.search.casefold()
    found = [
        each
        for each in lines
        if (query.budget is None or each.budget == query.budget)
        and (not wanted or wanted in f"{each.budget}/{unescape(each.subject)}".casefold())
    ]
    states = Counter[str]([each.state for each in found])
    if query.states:
        found = [each for each in found if each.state in query.states]
    found.sort(key=lambda each: (each.budget, each.subject))
    if query.order != "name":
        found.sort(key=_ORDERS[query.order], reverse=query.descending)
    elif query.descending:
        found.reverse()
    page = tuple(found[query.offset : query.offset + query.limit])
    return BudgetsShown(query, page, len(found), dict(states), read)


def _used(each: BudgetShown) -> float:
    return -1.0 if each.used is None else each.used


def _left(each: BudgetShown) -> float:
    return float("inf") if each.left is None else each.left


def _resets(each: BudgetShown) -> float:
    return float("inf") if each.resets_ms is None else each.resets_ms


_ORDERS: Final[Mapping[str, Callable[[BudgetShown], float]]] = {
    "used": _used,
    "spent": lambda each: each.spent,
    "left": _left,
    "resets": _resets,
}


def _shown(subject: _Subject, balance: Balance, now_ms: Millis) -> BudgetShown:
    steered, own = subject.steered, subject.own
    rule, account, limit = steered.rule, steered.account, steered.limit
    spent, held = balance.settled, balance.held
    window = rule.window(now_ms)
    values = [unescape(value) for value in steered.subject.split(",")] if rule.per else []
    return BudgetShown(
        budget=rule.name,
        subject=steered.subject,
        who=dict(zip(rule.per, values, strict=False)),
        own=own is not None,
        account=account.key,
        unit=rule.unit,
        enforce=rule.enforce,
        limit=limit,
        rule_limit=rule.limit,
        spent=spent,
        held=held,
        left=None if limit is None else max(limit - spent - held, 0),
        state=_state(steered, spent, held),
        period=rule.period.name,
        zone=rule.period.timezone,
        start_ms=window.start_ms,
        end_ms=window.end_ms,
        resets_ms=window.resets_ms,
        forecast=_forecast(account, rule, spent, now_ms, limit),
        by=steered.by,
        note=steered.note,
    )


def _state(steered: SteeredSubject, spent: int, held: int) -> Condition:
    limit, rule = steered.limit, steered.rule
    raised, unit = is_raised(rule.limit, limit), rule.unit
    return state_of(limit, spent, held, paused=steered.paused, raised=raised, unit=unit, warn_at=rule.warn_at)


def _forecast(account: Account, rule: Budget, spent: int, now_ms: Millis, limit: int | None) -> Forecast | None:
    """At the rate since its period began; not of a rolling one, in which what was spent leaves again."""
    if account.start_ms is None or account.end_ms is None or rule.period.rolling_ms is not None:
        return None
    return forecast(spent, SpendRate(spent, now_ms - account.start_ms), now_ms, account.end_ms, limit)


def _start_ms(rule: Budget, now_ms: Millis) -> Millis:
    rolling = rule.period.rolling_ms
    if rolling is not None:
        return max(now_ms - rolling - rolling // 24, 0)
    return rule.window(now_ms).start_ms or 0


def _held_subjects(holds: Iterable[OpenHold]) -> dict[str, set[str]]:
    """By the rules' names as keys have them, the subjects of what is held."""
    found: dict[str, set[str]] = {}
    for hold in holds:
        for key in hold.accounts:
            name, _, rest = key.partition("/")
            found.setdefault(name, set()).add(_without_epoch(rest.rpartition("/")[0]))
    return found


def _booked(store: Store, rule: Budget, now_ms: Millis) -> Iterator[str]:
    """The subjects that have an account now, from the books: while the history is read."""
    window, prefix = rule.window(now_ms), f"{escape(rule.name)}/"
    labels = {window.label, *window.earlier}
    for balance in store.accounts(prefix):
        subject, _, label = balance.key[len(prefix) :].rpartition("/")
        if label.partition(MARK)[0] in labels:
            yield _without_epoch(subject)


def _without_epoch(subject: str) -> str:
    return subject.partition(MARK)[0]
