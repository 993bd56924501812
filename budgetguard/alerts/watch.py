"""
The watch: spending far above what is usual, and limits that will not last for their period.

While calls are made, one process of a fleet looks every ten minutes, by what the store has: no call is any slower for
it. Only who spent in the last hour is looked at.

*Spike*: a subject's last hour is compared with the same hour of the day on each of the seven days before. It is told
of where it cost more than three times the median of those that had any spending (of which there have to be three),
more than one and a half times the dearest of them, and one part in a hundred of the limit.

*Forecast*: what is spent of a calendar period, drawn out to its end; not in its first tenth, and not once it is over
the limit.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median
from typing import Final, NamedTuple, TypeAlias

from ..budgets.accounts import read_balances
from ..budgets.rules import Budget, UserBudget, escape, terms_key
from ..budgets.steering.known import Steers
from ..budgets.steering.steers import STEERS
from ..errors import StoreError
from ..ledger import Account, Balance, Clock, Millis, Query, Record, Store, show_amount
from .alert import DAY_MS, AccountName, Alert, day_of, until_ms

WATCH: Final = "watch"
"""What a store calls the records by which one process of a fleet looks."""

LOOK_MS: Final = 600_000
FIRST_S: Final = 60.0
"""How long calls have to be made before anybody looks: not for every script."""

TIMES, TIMES_MOST, PART, DAYS, LEAST_DAYS = 3, 1.5, 100, 7, 3
FIRST_TENTH: Final = 0.1

_HOUR_MS: Millis = 3_600_000
_MOST_SUBJECTS = 10_000
_NO_TAGS: Final = frozenset({"model", "provider", "day"})
"""What a store groups by that is no tag: rules that count by a tag of such a name are not looked at."""

Spent: TypeAlias = Mapping[tuple[str, ...], int]


class Spender(NamedTuple):
    """A subject that spent in the last hour, and its account."""

    account: Account
    hour: int
    group: tuple[str, ...]


class RateWatch:
    """What one process looks at. In one thread."""

    def __init__(
        self,
        store: Store | None,
        rules: Sequence[Budget],
        off: frozenset[str],
        *,
        clock: Clock,
        time_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store = None if {"spike", "forecast"} <= off else store
        self._rules = [rule for rule in rules if rule.limit and rule.unit != "parallel"]
        self._off = off
        self._clock = clock
        self._time_s = time_s
        self._due_s: float | None = None

    def begin(self) -> None:
        """Calls are made."""
        if self._store is not None and self._due_s is None:
            self._due_s = self._time_s() + FIRST_S

    @property
    def idle(self) -> bool:
        """Whether it is still to begin, and there is something to look at."""
        return self._store is not None and self._due_s is None

    def forget(self) -> None:
        """Nobody has made a call."""
        self._due_s = None

    def due_s(self) -> float | None:
        """In how many seconds it is to be looked; `None`: not at all."""
        return None if self._due_s is None else max(self._due_s - self._time_s(), 0.0)

    def look(self) -> list[Alert]:
        """What is to be told, if it is time to look, and no other process does; nothing while the store is away."""
        store = self._store
        if store is None or self.due_s() != 0.0:
            return []
        self._due_s = self._time_s() + LOOK_MS / 1000
        now_ms = int(self._clock() * 1000)
        turn = now_ms // LOOK_MS
        try:
            if not store.note([Record(WATCH, f"{turn:012}", now_ms, "{}")])[0]:
                return []
            return list(self._alerts(store, now_ms))
        except StoreError:
            return []  # its absence is told by itself

    def _alerts(self, store: Store, now_ms: Millis) -> Iterator[Alert]:
        users = Budget("users", None, per=("user",))
        for rule in (*self._rules, users):
            names = tuple(dict.fromkeys((*rule.match, *rule.per)))
            if _NO_TAGS.isdisjoint(names):
                seen = list(self._seen(store, rule, names, now_ms))
                if seen and "spike" not in self._off:
                    yield from self._spikes(store, names, seen, now_ms)
                if seen and "forecast" not in self._off:
                    yield from self._forecasts(store, seen, now_ms)

    def _seen(self, store: Store, rule: Budget, names: tuple[str, ...], now_ms: Millis) -> Iterator[Spender]:
        steers = Steers.of(store.terms(STEERS))
        for group, hour in list(_spent(store, names, now_ms).items())[:_MOST_SUBJECTS]:
            tags = {name: value for name, value in zip(names, group, strict=False) if value}
            subject, account = rule.subject(tags), None
            if subject is not None:
                own = rule.name == "users"
                account = _own(store, tags["user"], now_ms) if own else steers.account(rule, subject, now_ms)
            if account is not None and account.limit:
                yield Spender(account, hour, group)

    def _spikes(self, store: Store, names: tuple[str, ...], seen: list[Spender], now_ms: Millis) -> Iterator[Alert]:
        before = [_spent(store, names, now_ms - day * DAY_MS) for day in range(1, DAYS + 1)]
        hours: dict[str, int] = defaultdict(int)
        usual: dict[str, list[int]] = {}
        for account, hour, group in seen:  # several groups may be one account, as globs match more than one name
            hours[account.key] += hour
            sums = usual.setdefault(account.key, [0] * DAYS)
            for day, spent in enumerate(before):
                sums[day] += spent.get(group, 0)
        for account in {each.account.key: each.account for each in seen}.values():
            if account.unit == "dollars" and is_spike(hours[account.key], usual[account.key], account.limit or 0):
                yield _spike(account, hours[account.key], usual[account.key], now_ms)

    def _forecasts(self, store: Store, seen: list[Spender], now_ms: Millis) -> Iterator[Alert]:
        accounts = list({each.account.key: each.account for each in seen if not each.account.window}.values())
        for account, balance in zip(accounts, read_balances(store, accounts), strict=True):
            at_end = drawn_out(account, balance.settled, now_ms)
            if at_end is not None and at_end > (account.limit or 0) > balance.settled:
                yield _forecast(account, balance, at_end, now_ms)


def is_spike(hour: int, before: Sequence[int], limit: int) -> bool:
    """Whether an hour cost far more than the same hour of the days before."""
    had = [each for each in before if each]
    if len(had) < LEAST_DAYS:
        return False
    return hour > TIMES * median(had) and hour > TIMES_MOST * max(had) and hour * PART >= limit


def drawn_out(account: Account, settled: int, now_ms: Millis) -> int | None:
    """What is spent at the end of its period if it goes on like this; `None`: nobody can say yet, or it has no end."""
    if account.start_ms is None or account.end_ms is None:
        return None
    passed_ms, length_ms = now_ms - account.start_ms, account.end_ms - account.start_ms
    if passed_ms < FIRST_TENTH * length_ms:
        return None
    return settled * length_ms // passed_ms


def _spent(store: Store, names: tuple[str, ...], until_ms: Millis) -> Spent:
    """What the calls of one hour cost, by their tags of these names."""
    totals = store.totals(names or ("provider",), Query(since_ms=until_ms - _HOUR_MS, until_ms=until_ms))
    if names:
        return {total.group: total.cost for total in totals}
    return {(): sum(total.cost for total in totals)} if totals else {}


def _own(store: Store, user: str, now_ms: Millis) -> Account | None:
    """The account of a user's own budget, if they have one."""
    terms = store.terms(terms_key(user))
    return (
        None if terms is None or terms.body is None else UserBudget.from_text(terms.body, terms.version).account(now_ms)
    )


def _spike(account: Account, hour: int, before: Sequence[int], now_ms: Millis) -> Alert:
    named, usual = AccountName.of(account), int(median([each for each in before if each]))
    rates = f"{show_amount(hour, 'dollars')} in the last hour, and {show_amount(usual, 'dollars')} is usual"
    name = f"spike/{escape(named.budget)}/{named.subject}/{day_of(now_ms)}"
    span = (now_ms, (now_ms // DAY_MS + 1) * DAY_MS)
    return Alert.of_account("spike", account, f"{rates} at this time of the day", name, span, settled=hour)


def _forecast(account: Account, balance: Balance, at_end: int, now_ms: Millis) -> Alert:
    unit, span = account.unit, (now_ms, until_ms(account))
    text = (
        f"{show_amount(balance.settled, unit)} of {show_amount(account.limit or 0, unit)} spent; at this rate "
        f"it is {show_amount(at_end, unit)} at the end of the period"
    )
    name = f"forecast/{account.key}"
    return Alert.of_account("forecast", account, text, name, span, settled=balance.settled, held=balance.held)
