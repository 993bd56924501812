"""The watch: spending far above what is usual, and limits that will not last, by what the store has."""

from __future__ import annotations

import pytest

from budgetguard import Budget
from budgetguard.alerts import Alerts
from budgetguard.alerts.herald import Herald
from budgetguard.alerts.watch import FIRST_S, LOOK_MS, RateWatch, drawn_out, is_spike
from budgetguard.budgets.rules import USERS, UserBudget, user_rule
from budgetguard.ledger import Account, Entry, RecordQuery, Store
from budgetguard.money import DOLLAR
from budgetguard.stores import open_store
from budgetguard.testing import StoppedClock
from tests.support.alerting import Heard, ask, client_of, managed

DAY_S, HOUR_S = 86_400, 3_600
TEAM = Budget("team", 100, "monthly", match={"team": "search*"}, per=("team",))


@pytest.fixture
def store(url: str, clock: StoppedClock) -> Store:
    """An empty store."""
    return open_store(url, clock=clock)


def spend(store: Store, clock: StoppedClock, dollars: float, ago_s: float = 60, **tags: str) -> None:
    """Put a call on the books that was made some time ago."""
    at_ms = int((clock() - ago_s) * 1000)
    accounts = [account.key for rule in (TEAM,) if (account := rule.account(tags, at_ms)) is not None]
    id_ = f"{at_ms:012x}{spend.calls:020x}"
    spend.calls += 1
    store.load(entries=[Entry(id_, round(dollars * DOLLAR), tuple(accounts), at_ms, tags)])


spend.calls = 0  # type: ignore[attr-defined]


def watch(store: Store, clock: StoppedClock, *rules: Budget, off: tuple[str, ...] = ()) -> RateWatch:
    """One that is due."""
    moment = [0.0]
    made = RateWatch(store, rules, frozenset(off), clock=clock, time_s=lambda: moment[0])
    made.begin()
    moment[0] = FIRST_S
    return made


def usual(store: Store, clock: StoppedClock, dollars: float = 0.1, **tags: str) -> None:
    """A week in which each day had this much in the hour that it is now."""
    for day in range(1, 8):
        spend(store, clock, dollars, day * DAY_S + 600, **tags)


def test_an_hour_far_above_the_usual_is_told(store: Store, clock: StoppedClock) -> None:
    """A loop that spends ten times as much is noticed before its budget is gone."""
    for team in ("search", "search-2"):
        usual(store, clock, team=team)
    spend(store, clock, 0.12, team="search")
    spend(store, clock, 1.5, team="search-2")
    spend(store, clock, 9, team="other")
    [alert] = watch(store, clock, TEAM).look()
    assert (alert.what, alert.budget, alert.subject) == ("spike", "team", "search-2")
    assert alert.text.endswith("$1.50 in the last hour, and $0.10 is usual at this time of the day")


def test_an_hour_that_is_as_usual_is_not(store: Store, clock: StoppedClock) -> None:
    """Somebody who works from nine to five is at nine not told of the night before."""
    for day in range(1, 8):
        spend(store, clock, 1.0, day * DAY_S + 600, team="search")
        spend(store, clock, 0.001, day * DAY_S + 6 * HOUR_S, team="search")
    spend(store, clock, 1.4, team="search")
    assert watch(store, clock, TEAM).look() == []


@pytest.mark.parametrize(
    ("hour", "before", "spike"),
    [
        (31, [10] * 7, True),
        (30, [10] * 7, False),
        (31, [10, 10, 0, 0, 0, 0, 0], False),  # two days are no habit
        (31, [10, 10, 10, 0, 0, 0, 0], True),
        (31, [0] * 7, False),
        (31, [1, 1, 1, 1, 1, 1, 25], False),  # there was such a day before
        (31, [1, 1, 1, 1, 1, 1, 20], True),
        (9, [1] * 7, False),  # not one part in a hundred of the limit
    ],
)
def test_what_is_far_above(hour: int, before: list[int], spike: bool) -> None:
    """Against one odd day, against a habit that is none, and against pennies."""
    assert is_spike(hour, before, 1_000) is spike


def test_a_limit_that_will_not_last_is_told(store: Store, clock: StoppedClock) -> None:
    """On the fifth of the month, 20 of 100 dollars are gone: 155 at its end."""
    clock.advance(4 * DAY_S - 12 * HOUR_S)
    for day in range(4):
        spend(store, clock, 5, day * DAY_S + 60, team="search")
        spend(store, clock, 2, day * DAY_S + 60, team="search-2")
    [alert] = watch(store, clock, TEAM, off=("spike",)).look()
    assert (alert.what, alert.subject, alert.settled) == ("forecast", "search", 20 * DOLLAR)
    assert (
        alert.text
        == "team/search (2027-01): $20.00 of $100.00 spent; at this rate it is $155.00 at the end of the period"
    )


def test_a_limit_that_was_raised_is_the_one_that_counts(url: str, clock: StoppedClock) -> None:
    """Whoever raised it has heard the warning."""
    clock.advance(4 * DAY_S - 12 * HOUR_S)
    manager = managed(url, TEAM, clock=clock)
    spend(manager.store, clock, 20, team="search")
    manager.raise_budget("team/search", 200)
    assert watch(manager.store, clock, TEAM, off=("spike",)).look() == []
    manager.close()


def test_nobody_can_say_in_the_first_tenth_of_a_period() -> None:
    """The first call of a month would be a catastrophe."""
    account = Account("a//2027-01", limit=100, start_ms=0, end_ms=1_000)
    assert drawn_out(account, 50, 99) is None
    assert drawn_out(account, 50, 100) == 500
    assert drawn_out(Account("a//all", limit=100), 50, 100) is None


def test_users_own_budgets_are_watched_too(store: Store, clock: StoppedClock) -> None:
    """They are what most programs have."""
    own = UserBudget("ann", user_rule(10, "monthly"), clock(), clock())
    store.put_terms(f"{USERS}ann", own.to_text())
    for user in ("ann", "bob"):
        usual(store, clock, user=user)
        spend(store, clock, 1.5, user=user)
    [alert] = watch(store, clock).look()
    assert (alert.what, alert.budget, alert.subject) == ("spike", "users", "ann")


def test_one_process_of_a_fleet_looks(store: Store, clock: StoppedClock) -> None:
    """What takes a while on a large history is not done by all of them."""
    usual(store, clock, team="search")
    spend(store, clock, 5, team="search")
    found = [watch(store, clock, TEAM).look() for _ in range(3)]
    assert [len(each) for each in found] == [1, 0, 0]
    clock.advance(LOOK_MS / 1000)
    assert len(watch(store, clock, TEAM).look()) == 1, "in the next turn somebody does again; the claim is elsewhere"
    assert len(list(store.noted(RecordQuery("watch")))) == 2


def test_nobody_looks_before_calls_were_made_for_a_while(store: Store, clock: StoppedClock) -> None:
    """A script that asks one thing does not read a week of history."""
    moment = [0.0]
    made = RateWatch(store, [TEAM], frozenset(), clock=clock, time_s=lambda: moment[0])
    assert made.due_s() is None
    made.begin()
    moment[0] = FIRST_S - 1
    assert made.due_s() == 1.0
    assert made.look() == []
    assert list(store.noted(RecordQuery("watch"))) == []


def test_nobody_looks_where_nobody_is_told(store: Store, clock: StoppedClock) -> None:
    """Without a sink, or with both turned off, it is no work for anybody."""
    assert not Herald(store, Alerts(), [TEAM], clock=clock)._watch.idle
    assert not Herald(store, Alerts([print], off=["spike", "forecast"]), [TEAM], clock=clock)._watch.idle
    assert Herald(store, Alerts([print], off=["spike"]), [TEAM], clock=clock)._watch.idle


def test_a_call_has_the_watch_begin_and_a_spike_told_once(url: str, clock: StoppedClock) -> None:
    """The whole way: from the first call to the sink, once a day."""
    heard = Heard()
    manager = managed(url, TEAM, told=[heard], clock=clock)
    usual(manager.store, clock, team="search")
    spend(manager.store, clock, 5, team="search")
    herald = manager.guard.notices.news
    assert isinstance(herald, Herald)
    ask(client_of(manager), team="search")
    herald._worker.drain(20)
    assert not herald._watch.idle
    for _ in range(3):
        clock.advance(LOOK_MS / 1000)
        herald._watch._due_s = 0.0
        herald.rest(final=False)
    manager.close()
    assert [each.what for each in heard] == ["spike"]
