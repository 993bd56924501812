"""Users' own budgets: many may change one at once, and none of it is lost; what was spent is summed in one place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from threading import Barrier

import pytest

from budgetguard.budgets.accounts import Coverage
from budgetguard.budgets.rules import Budget, UserBudget, user_rule
from budgetguard.budgets.users import Users, is_budget_of
from budgetguard.errors import ConfigError, ContendedError, UnknownUserError
from budgetguard.ledger import Balance, Conflict, Hold, Settled, Store, Terms, new_id
from budgetguard.litellm.records import read_record, records
from budgetguard.stores import open_store
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.testing.clock import StoppedClock

DOLLAR = 10**9
DAY_S = 86_400


@pytest.fixture
def clock() -> StoppedClock:
    """Noon of the first day of 2027."""
    return StoppedClock(datetime(2027, 1, 1, 12, tzinfo=UTC).timestamp())


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path, clock: StoppedClock) -> Iterator[Store]:
    """Each that needs no server."""
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/budgets.db"
    opened = open_store(url, namespace="shop", clock=clock)
    yield opened
    opened.close()


@pytest.fixture
def users(store: Store, clock: StoppedClock) -> Users:
    """The users in it."""
    return Users(store, clock=clock)


# -- who has which -----------------------------------------------------------------------------------------------------


def test_a_budget_that_was_put_is_found(users: Users) -> None:
    """As it was put, with the version that it has there."""
    put = users.put("ann", user_rule(10, "monthly", enforce="soft"))
    assert (put.version, put.epoch, put.rule.limit) == (1, 0, 10 * DOLLAR)
    assert users.find("ann") == users.get("ann") == put


def test_a_user_without_a_budget_is_none_or_an_error(users: Users) -> None:
    """Which says whose budget is missing."""
    assert users.find("ann") is None
    with pytest.raises(UnknownUserError, match="no budget was created for user 'ann'") as error:
        users.get("ann")
    assert error.value.user == "ann"


def test_all_are_listed_by_name(users: Users) -> None:
    """Behind a name for the next page; who was removed is not there."""
    for name in ("cid", "a/b", "ann", "bob"):
        users.put(name, user_rule(1, None))
    users.remove("bob")
    assert [own.user for own in users.all()] == ["a/b", "ann", "cid"]
    assert [own.user for own in users.all(after="ann")] == ["cid"]


# -- changing them -----------------------------------------------------------------------------------------------------


def test_a_budget_is_added_once(users: Users) -> None:
    """So that two who create the same user do not overwrite each other."""
    assert users.add("ann", user_rule(1, None)) is not None
    assert users.add("ann", user_rule(2, None)) is None
    assert users.get("ann").rule.limit == 1 * DOLLAR
    with pytest.raises(ConfigError, match="user=' '"):
        users.add(" ", user_rule(1, None))


def test_a_budget_that_is_put_again_keeps_its_spend(users: Users, clock: StoppedClock) -> None:
    """And when it was created."""
    first = users.put("ann", user_rule(1, "monthly"))
    users.book(first, 5, model="m")
    clock.advance(60)
    second = users.put("ann", user_rule(2, "monthly"))
    assert (second.created_s, second.updated_s) == (first.created_s, first.created_s + 60)
    assert users.standing(second, users.store.now_ms()).spent == 5


def test_a_change_starts_from_what_is_there(users: Users) -> None:
    """A stranger has nothing to change."""
    users.put("ann", user_rule(1, "daily"))
    assert users.change("ann", lambda own: replace(own, rule=user_rule(2, own.rule.period))).rule.period.name == "daily"
    with pytest.raises(UnknownUserError):
        users.change("bob", lambda own: own)


def test_a_budget_that_begins_again_has_nothing_spent(users: Users, clock: StoppedClock) -> None:
    """The history stays."""
    users.book(users.put("ann", user_rule(1, None)), 5, model="m")
    clock.advance(1)
    renewed = users.renew("ann")
    assert (renewed.epoch, renewed.version, renewed.updated_s) == (1, 2, clock())
    assert users.standing(renewed, users.store.now_ms()).spent == 0
    assert [entry.cost for entry in users.store.entries()] == [5]


def test_a_budget_after_a_removal_has_nothing_spent(users: Users) -> None:
    """Its accounts are others than those of the one that was removed."""
    users.book(users.put("ann", user_rule(1, None)), 5, model="m")
    users.remove("ann")
    assert users.find("ann") is None
    with pytest.raises(UnknownUserError):
        users.remove("ann")
    again = users.put("ann", user_rule(1, None))
    assert (again.epoch, again.version) == (2, 3)
    assert users.standing(again, users.store.now_ms()).spent == 0


def test_a_budget_is_replaced_only_over_what_was_read(users: Users) -> None:
    """Whoever read an older one is told, and nothing changes."""
    first = users.put("ann", user_rule(1, None))
    second = users.put("ann", user_rule(2, None))
    assert users.replace(replace(first, rule=user_rule(3, None))) is None
    assert users.get("ann") == second


def test_changes_of_many_at_once_are_all_kept(store: Store, clock: StoppedClock) -> None:
    """
    Each of four reads the same version before any writes: three of them must notice, and look again.

    In a store that took every write, or if nothing were expected of the version, one of the four would be left.
    """
    Users(store, clock=clock).put("ann", user_rule(1, None, in_flight=1))
    together = Barrier(4)

    def one_more(_: int) -> None:
        looks = 0

        def more(own: UserBudget) -> UserBudget:
            nonlocal looks
            looks += 1
            if looks == 1:
                together.wait(10)
            return replace(own, rule=user_rule(1, None, in_flight=own.rule.in_flight + 1))

        Users(store, clock=clock).change("ann", more)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(one_more, range(4)))
    own = Users(store).get("ann")
    assert (own.rule.in_flight, own.version) == (5, 5)


def test_users_that_many_put_at_once_are_one(store: Store, clock: StoppedClock) -> None:
    """The first creates it, the others change it: it was created once, and no write was lost."""
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda limit: Users(store, clock=clock).put("ann", user_rule(limit, None)), range(1, 5)))
    own = Users(store).get("ann")
    assert (own.version, own.epoch) == (4, 0)


class Contended(MemoryStore):
    """A store in which somebody else is always faster."""

    def put_terms(self, key: str, body: str | None, *, expected: int | None = None) -> Terms | None:
        """Another change comes first."""
        super().put_terms(key, body)
        return super().put_terms(key, body, expected=expected)


def test_a_budget_that_others_change_all_the_time_is_an_error(clock: StoppedClock) -> None:
    """Rather than a wait without an end."""
    users = Users(Contended(clock=clock), clock=clock)
    with pytest.raises(ContendedError, match="user='ann': the budget is being changed by others all the time"):
        users.put("ann", user_rule(1, None))


# -- what was spent ----------------------------------------------------------------------------------------------------


def test_a_standing_counts_the_window_and_what_is_held(users: Users, clock: StoppedClock) -> None:
    """A rolling day of 3 spent before the hour, 2 now and 4 held leaves 1 of 10; a day later all is left."""
    own = users.put("ann", user_rule(10, "rolling 1d"))
    users.book(own, 3 * DOLLAR, model="m")
    clock.advance(2 * 3_600)
    users.book(own, 2 * DOLLAR, model="m")
    now_ms = users.store.now_ms()
    users.store.reserve(Hold(new_id(), (own.account(now_ms),), 4 * DOLLAR))
    standing = users.standing(own, now_ms)
    assert (standing.spent, standing.held, standing.left) == (5 * DOLLAR, 4 * DOLLAR, 1 * DOLLAR)
    clock.advance(2 * DAY_S)
    later = users.standing(own, users.store.now_ms())
    assert (later.spent, later.held, later.left) == (0, 0, 10 * DOLLAR)


def test_standings_are_those_of_each_user(users: Users) -> None:
    """In the order asked; one without a limit has no end, one that was passed has nothing left, and not less."""
    for name, limit, cost in (("ann", 1, 2 * DOLLAR), ("bob", None, 5), ("cid", 1, 0)):
        users.book(users.put(name, user_rule(limit, None if name == "bob" else "monthly")), cost, model="m")
    found = users.standings([users.get(name) for name in ("cid", "bob", "ann")], users.store.now_ms())
    assert [(each.budget.user, each.spent, each.left) for each in found] == [
        ("cid", 0, 1 * DOLLAR),
        ("bob", 5, None),
        ("ann", 2 * DOLLAR, 0),
    ]
    assert [each.resets_ms is None for each in found] == [False, True, False]
    assert users.standings([], users.store.now_ms()) == []


@pytest.mark.parametrize("others", [0, 20], ids=["few", "many"])
def test_spend_by_model_is_that_of_the_period(users: Users, clock: StoppedClock, others: int) -> None:
    """However many are asked for, and whatever a model is called; what was spent before a reset is not in it."""
    own = users.put("ann", user_rule(10, "rolling 2d"))
    users.book(own, 9, model="gpt-4o")
    own = users.renew("ann")
    users.book(own, 1, model="gpt-4o")
    clock.advance(7_200)
    users.book(own, 2, model="gpt-4o")
    users.book(own, 4, model="org/model#1")
    for number in range(others):
        users.book(users.put(f"user{number}", user_rule(1, None)), number, model="gpt-4o")
    budgets = list(users.all())
    found = users.spent_by_model(budgets, users.store.now_ms())
    assert found["ann"] == {"gpt-4o": 3, "org/model#1": 4}
    assert [found[f"user{number}"] for number in range(others)] == [{"gpt-4o": number} for number in range(others)]
    assert users.spent_by_model(budgets[:1], users.store.now_ms()) == {"ann": found["ann"]}


class Busy(MemoryStore):
    """A store in which a call is settled right after anything was read."""

    users: Users

    def balances(self, keys: Sequence[str]) -> list[Balance]:
        """And then it is more."""
        found = super().balances(keys)
        self.users.book(self.users.get("ann"), DOLLAR, model="m")
        return found

    def accounts(self, prefix: str = "", *, after: str | None = None) -> Iterator[Balance]:
        """And then it is more."""
        found = list(super().accounts(prefix, after=after))
        self.users.book(self.users.get("ann"), DOLLAR, model="m")
        return iter(found)


def test_a_record_has_no_spend_without_its_model(clock: StoppedClock) -> None:
    """What is settled while it is read may be on a model already, and not in the sum: never the other way round."""
    store = Busy(clock=clock)
    users = store.users = Users(store, clock=clock)
    users.book(users.put("ann", user_rule(10, "monthly")), DOLLAR, model="m")
    record = records(users, [users.get("ann")], users.coverage.now_ms())["ann"]
    assert (record["current_cost"], record["model_cost"]) == (1, {"m": 2})
    assert read_record("ann", "ann", record).model_cost == {"m": 2 * DOLLAR}


# -- spend that no guard saw -------------------------------------------------------------------------------------------


def test_a_booking_charges_the_rules_of_the_project_too(store: Store, clock: StoppedClock) -> None:
    """But not twice those that a guarded call was charged to: its user is another one than it is booked on."""
    users = Users(store, Coverage([Budget("all", 10)], clock), clock=clock)
    own = users.put("ann", user_rule(10, None))
    users.book(own, 3, model="m")
    users.book(own, 4, model="m", counted={"team": "search"})
    spent = {balance.key.partition("/")[0]: balance.settled for balance in store.accounts()}
    assert spent == {"all": 3, "models": 7, "users": 7}


def test_a_booking_with_an_id_is_booked_once(users: Users) -> None:
    """Another cost under the same id is told what stands."""
    own = users.put("ann", user_rule(10, None))
    assert users.book(own, 3, model="m", hold_id="x" * 32) == Settled(3)
    assert users.book(own, 3, model="m", hold_id="x" * 32) == Settled(3)
    assert users.book(own, 4, model="m", hold_id="x" * 32) == Conflict(3)
    assert users.standing(own, users.store.now_ms()).spent == 3


def test_a_rest_is_booked_on_top_of_what_is_there(users: Users) -> None:
    """3 are booked, then 5 of which 3 are there, then 5 again: 5 in all, in two entries. Less changes nothing."""
    own = users.put("ann", user_rule(10, None))

    def after(booked: int) -> str:
        return f"{booked:032d}"

    assert [users.book_rest(own, cost, model="m", hold_id=after) for cost in (3, 5, 5, 2)] == [3, 5, 5, 3]
    assert [entry.cost for entry in users.store.entries()] == [3, 2]
    assert users.standing(own, users.store.now_ms()).spent == 5


# -- what a guard knows of them ----------------------------------------------------------------------------------------


def test_a_coverage_knows_what_was_read_and_changed(store: Store, clock: StoppedClock) -> None:
    """So that the next call is not told that it computed from old terms."""
    coverage = Coverage((), clock)
    users = Users(store, coverage, clock=clock)
    assert [users.put("ann", user_rule(limit, None)).version for limit in (1, 2)] == [1, 2]
    assert coverage.cover({"user": "ann"}).terms == (("users/ann", 2),)
    Users(store, clock=clock).put("ann", user_rule(3, None))
    users.get("ann")
    assert [account.limit for account in coverage.cover({"user": "ann"}).accounts] == [3 * DOLLAR]
    users.remove("ann")
    assert coverage.cover({"user": "ann"}).terms == (("users/ann", 4),)
    assert coverage.cover({"user": "ann"}).accounts == ()


def test_only_a_users_budget_stands_where_budgets_are(users: Users) -> None:
    """Whoever lists them would meet anything else."""
    text = users.put("ann", user_rule(1, "daily")).to_text()
    assert is_budget_of("users/ann", text)
    assert not is_budget_of("users/bob", text)
    for body in ("", "{}", "null", text.replace('"epoch": 0', '"epoch": -1'), text.replace("daily", "hourly")):
        assert not is_budget_of("users/ann", body)
