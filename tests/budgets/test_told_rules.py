"""Rules that are told for calls with a tag, as limits of keys and teams are, hold from the very next call on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import budgetguard.budgets.accounts as accounts_module
from budgetguard import Budget, BudgetExceededError, BudgetManager, budget
from budgetguard.budgets.accounts import Coverage
from budgetguard.errors import ConfigError
from budgetguard.ledger import Account
from budgetguard.testing import StoppedClock
from budgetguard.testing.contract import together
from tests.support.leasing import Process

FILE = Budget("all", 100, "monthly")
KEYS = ("k1", "k2", "k3")


def limit(number: int, **more: Any) -> Budget:
    return Budget("key", number, **{"period": "monthly", "per": ("key",), **more})


def names(coverage: Coverage, **tags: str) -> list[tuple[str, int | None]]:
    """Whose accounts a call touches, and their limits."""
    found = coverage.cover(tags).accounts
    return [(account.key.rpartition("/")[0], account.limit) for account in found]


@pytest.fixture
def coverage(clock: StoppedClock) -> Coverage:
    """One rule that is fixed."""
    return Coverage([FILE], clock)


def test_a_rule_covers_the_calls_with_its_tag_from_the_next_one_on(coverage):
    """Beside the fixed ones, and nobody else's."""
    assert names(coverage, key="k1") == [("all/", FILE.limit)]
    coverage.tell("key", "k1", (limit(5), limit(60, period="rolling 1m", unit="requests")))
    assert names(coverage, key="k1")[1:] == [("key/k1", limit(5).limit), ("key/k1", 60)]
    assert names(coverage, key="k2", user="k1") == [("all/", FILE.limit)]
    coverage.tell("key", "k1", ())
    assert names(coverage, key="k1") == [("all/", FILE.limit)]


def test_the_same_again_leaves_every_cover(coverage):
    """It is told before each call: only what is new may cost anything."""
    coverage.tell("key", "k1", (limit(5),))
    cover = coverage.cover({"key": "k1"})
    for rules in [(limit(5),), (limit(5.0),)]:
        coverage.tell("key", "k1", rules)
        assert coverage.cover({"key": "k1"}) is cover


def test_a_change_voids_the_covers_of_its_tag_alone(coverage):
    """With ten thousand keys, one that changes must not have the others' plans worked out again."""
    for key in KEYS:
        coverage.tell("key", key, (limit(5),))
    tags = [{"key": key, "user": user, "model": "m"} for key in KEYS for user in ("ann", "bob")]
    before = [coverage.cover(each) for each in tags]
    coverage.tell("key", "k2", (limit(6),))
    kept = [coverage.cover(each) is cover for each, cover in zip(tags, before, strict=True)]
    assert kept == [True, True, False, False, True, True]
    assert coverage.cover(tags[2]).accounts[1].limit == limit(6).limit


def test_many_subjects_cover_one_call(coverage):
    """A key, its team and its customer each have limits; one by the model counts for the key and the model."""
    coverage.tell("key", "k1", (limit(5), Budget("key by model", 1, per=("key", "model"), match={"model": "gpt-4o*"})))
    coverage.tell("team", "t", (Budget("team", 7, per=("team",)), Budget("seats", 2, per=("team",), unit="parallel")))
    assert [name for name, _ in names(coverage, key="k1", team="t", model="gpt-4o-mini")] == [
        "all/",
        "key/k1",
        "key by model/k1,gpt-4o-mini",
        "team/t",
        "seats/t",
    ]
    assert [name for name, _ in names(coverage, team="t", model="o3", key="k1")] == [
        "all/",
        "team/t",
        "seats/t",
        "key/k1",
    ]


@pytest.mark.parametrize(
    ("tag", "rules", "said"),
    [
        ("key", (Budget("all", 1, per=("key",)),), "use another name"),
        ("key", (Budget("users", 1, per=("key",)),), "use another name"),
        ("team", (Budget("key", 1, per=("team",)),), "use another name"),
        ("key", (Budget("other", 1),), "counts by it, too"),
        ("key", (limit(1), limit(2, match={"model": "gpt*"})), "give each its name"),
    ],
)
def test_what_would_be_counted_twice_or_for_others_is_refused(coverage, tag, rules, said):
    """Two rules on one account would each limit what the other counts; and nothing is changed by what is refused."""
    coverage.tell("key", "k0", (limit(5),))
    with pytest.raises(ConfigError, match=said):
        coverage.tell(tag, "k1", rules)
    assert names(coverage, **{tag: "k1"}) == [("all/", FILE.limit)]


def test_there_is_an_end_to_what_is_told(coverage, monkeypatch):
    """It is said rather than forgotten: a limit that is not known any more would not hold."""
    monkeypatch.setattr(accounts_module, "MOST_TOLD", 2)
    coverage.tell("key", "k1", (limit(5),))
    coverage.tell("key", "k2", (limit(5),))
    with pytest.raises(ConfigError, match="forget those that are gone"):
        coverage.tell("key", "k3", (limit(5),))
    coverage.tell("key", "k2", (limit(6),))
    coverage.tell("key", "k1", ())
    coverage.tell("key", "k3", (limit(5),))


def test_covers_stay_few_however_many_models_users_ask_for(coverage, monkeypatch):
    """Names of models come from outside: each with each user would be kept for ever; and no change is lost by that."""
    monkeypatch.setattr(accounts_module, "MOST_COVERS", 50)
    coverage.tell("key", "k1", (limit(5),))
    for number in range(300):
        coverage.cover({"key": "k1", "user": f"u{number % 20}", "model": f"m{number % 40}"})
        assert sum(map(len, coverage._covers.values())) <= 50
        assert sum(map(len, coverage._listed.values())) <= 51
    last = {"key": "k1", "user": "u19", "model": "m19"}
    coverage.tell("key", "k1", (limit(6),))
    assert coverage.cover(last).accounts[1].limit == limit(6).limit


class Interrupted(dict[str, str]):
    """Tags of a call during whose covering, once its rules were looked up, something else happens."""

    def __init__(self, tags: dict[str, str], happens: Callable[[], object]) -> None:
        super().__init__(tags)
        self.asked, self.happens = 0, happens

    def get(self, tag: str, default: Any = None) -> Any:
        self.asked += tag == "user"
        if self.asked == 2:
            self.asked += 1
            self.happens()
        return super().get(tag, default)


def test_a_change_while_a_cover_is_worked_out_is_not_missed(coverage):
    """Another thread's call, which looked the rules up before, must not leave its cover to the calls after it."""
    coverage.tell("key", "k1", (limit(1),))
    tags = Interrupted({"key": "k1"}, lambda: coverage.tell("key", "k1", (limit(2),)))
    assert coverage.cover(tags).accounts[1].limit == limit(2).limit
    assert names(coverage, key="k1")[1:] == [("key/k1", limit(2).limit)]
    coverage.tell("key", "k1", (limit(3),))
    assert names(coverage, key="k1")[1:] == [("key/k1", limit(3).limit)]


def test_the_first_rule_for_a_tag_is_not_missed_either(coverage):
    """Until then nobody listed the covers of calls that have the tag."""
    tags = Interrupted({"key": "k1"}, lambda: coverage.tell("key", "k1", (limit(2),)))
    coverage.cover({"key": "k1", "n": "1"})
    coverage.cover(tags)
    for more in ({}, {"n": "1"}):
        assert names(coverage, key="k1", **more)[1:] == [("key/k1", limit(2).limit)]


def test_threads_cover_while_others_tell(coverage, monkeypatch):
    """From an event loop's thread, while a pool's threads cover: nothing fails, and each sees the change it made."""
    monkeypatch.setattr(accounts_module, "MOST_COVERS", 20)

    def work(place: int) -> list[bool]:
        seen = []
        for number in range(1, 150):
            told = limit(number)
            coverage.tell("key", f"k{place}", (told,))
            covers = [coverage.cover({"key": f"k{key}", "n": str(number % 8)}) for key in (place, 0, 1, 2, 3)]
            seen.append(covers[0].accounts[1].limit == told.limit)
        return seen

    assert all(together(4, work))


def test_a_lowered_limit_is_what_a_slice_of_before_may_not_pass(manager):
    """What this process holds of an account was granted under the limit of then."""
    process = Process(manager.store)
    high, low = (Account("fleet//all", number, lease="release") for number in (1_000, 20))
    assert process.spend(10, 10, high)
    assert process.leases.pending
    assert process.spend(10, 10, low)
    process.leases.flush()
    assert not process.spend(10, 10, low)
    process.leases.close()
    [found] = manager.store.balances(["fleet//all"])
    assert (found.settled, found.held) == (20, 0)


@pytest.mark.provider(tokens=20, prices={"gpt-4o-mini": ("1", "2")})
def test_spend_goes_on_when_a_limit_changes_and_is_not_lost_when_its_period_does(url, clock, client):
    """A key whose limit is lowered below what it spent is refused at once; a new period begins with nothing spent."""
    made = BudgetManager("told", store=url, clock=clock)
    coverage = made.guard.coverage

    def ask() -> None:
        client.chat.completions.create(model="gpt-4o-mini", max_tokens=20, messages=[{"role": "user", "content": "hi"}])

    with made, budget(tags={"key": "k1"}):
        coverage.tell("key", "k1", (limit(2, unit="requests"),))
        ask()
        coverage.tell("key", "k1", (limit(1, unit="requests"),))
        with pytest.raises(BudgetExceededError, match="key/k1/2027-01: call projected at 1 request, 0 of 1"):
            ask()
        coverage.tell("key", "k1", (limit(1, unit="requests", period="daily"),))
        ask()
        coverage.tell("key", "k1", (limit(3, unit="requests"),))
        ask()
        coverage.tell("key", "k1", (limit(2, unit="requests"),))
        with pytest.raises(BudgetExceededError, match="0 of 2"):
            ask()
    assert len(list(made.store.entries())) == 3
    made.close()
