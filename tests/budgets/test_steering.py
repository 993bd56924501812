"""
Budgets that run are changed: topped up, raised, paused, reset; each from the next call on, and in the audit.

The calls here cost $0.0006012 each, and a team has $0.003: room for four of them.
"""

from __future__ import annotations

import json
import threading
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from budgetguard import Budget, BudgetManager, ConfigError, UnknownUserError
from budgetguard.budgets.rules import UserBudget, user_rule
from budgetguard.budgets.running import running
from budgetguard.budgets.steering.audit import Author, changes
from budgetguard.budgets.steering.declared import RULES, declare, declared
from budgetguard.budgets.steering.known import Steers
from budgetguard.budgets.steering.moments import since_ms, until_ms
from budgetguard.budgets.steering.office import Steering
from budgetguard.budgets.steering.steers import NO_STEER, STEERS, Steer, read_steers, write_steers
from budgetguard.errors import BudgetExceededError, StoreError
from budgetguard.ledger import Query
from budgetguard.money import MAX_AMOUNT
from budgetguard.stores import open_store
from budgetguard.testing import StoppedClock
from tests.support.steering import ask, client, many, passes, team

DAY_S = 86_400


@pytest.fixture
def steered(url, clock):
    """A project with a rule for each team, whose clock the test moves."""
    with closing(BudgetManager("shop", store=url, budgets=team(), clock=clock)) as ours:
        yield ours


def test_a_paused_team_is_refused_from_the_next_call_on_and_the_others_go_on(steered):
    """An incident is one team's: whoever stops it must not have to stop all."""
    calls = client(steered)
    assert passes(calls)
    steered.pause("team/red", note="incident 12", by="ann")

    with pytest.raises(BudgetExceededError) as refused:
        ask(calls)
    assert refused.value.paused
    assert str(refused.value) == (
        "team/red is paused by ann (incident 12): resume it with `budgetguard budget resume team/red`"
    )
    assert passes(calls, team="blue")
    steered.resume("team/red")
    assert passes(calls)


def test_a_pause_of_the_rule_is_one_of_all_its_subjects(steered):
    """There may be thousands of them, and some that did not call yet."""
    calls = client(steered)
    steered.pause("team")
    assert [passes(calls, team=name) for name in ("red", "blue")] == [False, False]
    with pytest.raises(BudgetExceededError, match="budget resume team`"):
        ask(calls)


@pytest.mark.parametrize("enforce", ["soft", "observe"])
def test_a_pause_refuses_whatever_the_budget_enforces(url, clock, enforce):
    """A budget that only watches can be stopped, too: it is a person who says so, and no sum."""
    with closing(BudgetManager("shop", store=url, budgets=team(enforce=enforce), clock=clock)) as ours:
        calls = client(ours)
        assert passes(calls)
        ours.pause("team/red")
        assert not passes(calls)


def test_a_pause_refuses_calls_that_cost_nothing(url, clock):
    """Nothing is held for these, so no hold can be told of it: they ask."""
    prices = {"mine": {"free": True}}
    with closing(BudgetManager("shop", store=url, budgets=team(), clock=clock, prices=prices)) as ours:
        calls = client(ours)
        assert passes(calls, model="mine")
        ours.pause("team")
        assert not passes(calls, model="mine")
        ours.resume("team")
        assert passes(calls, model="mine")


def test_a_users_own_budget_is_paused_as_well(steered):
    """It is kept with the terms that a hold carries anyway."""
    steered.create_budget(1, "ann")
    calls = client(steered)
    assert passes(calls, user="ann")
    steered.pause("ann", note="left the company")
    with pytest.raises(BudgetExceededError, match=r"users/ann is paused by .* \(left the company\)"):
        ask(calls, user="ann")
    assert passes(calls, user="bob")
    steered.resume("users/ann")
    assert passes(calls, user="ann")


def test_a_refusal_for_a_pause_tells_what_was_spent(steered):
    """A dashboard shows the same of every refusal."""
    calls = client(steered)
    ask(calls)
    steered.pause("team/red")
    with pytest.raises(BudgetExceededError) as refused:
        ask(calls)
    error = refused.value
    assert (error.budget, error.window, error.unit) == ("team", "2027-01", "dollars")
    assert (float(error.spent or 0), float(error.limit or 0)) == (0.0006012, 0.003)
    copy = type(error)(*error.args)
    assert copy.paused
    assert copy.args == error.args


def test_what_was_topped_up_ends_with_the_period(steered, clock):
    """It is for this month's launch; in the next month the rule holds again, and nobody has to think of it."""
    calls = client(steered)
    assert many(calls) == 4
    done = steered.top_up("team/red", "0.0012")
    assert "until 2027-02-01 00:00 UTC" in done.told
    assert many(calls) == 2
    clock.advance(31 * DAY_S)
    assert many(calls) == 4


def test_what_is_topped_up_twice_adds_up(steered):
    """Two people who each give five give ten."""
    steered.top_up("team/red", "0.0006")
    steered.top_up("team/red", "0.0006")
    assert many(client(steered)) == 6


def test_a_raise_ends_at_its_moment(steered, clock):
    """To the second, in the middle of a period, with no call needed to notice it."""
    calls = client(steered)
    assert many(calls) == 4
    steered.raise_budget("team/red", "0.006", "2h")
    assert many(calls, 3) == 3
    clock.advance(2 * 3600 - 1)
    assert passes(calls)
    clock.advance(1)
    assert not passes(calls)


def test_a_raise_for_good_lasts_over_periods(steered, clock):
    """Who says no moment means none."""
    steered.raise_budget("team", "0.006")
    calls = client(steered)
    assert many(calls) == 9
    clock.advance(31 * DAY_S)
    assert many(calls) == 9


def test_a_raise_below_what_is_spent_is_said(steered):
    """It is a typing error more often than a punishment."""
    many(client(steered))
    told = steered.raise_budget("team/red", "0.001").told
    assert "$0.0024048 is spent already, so no call passes" in told


def test_a_subject_that_is_steered_alone_goes_before_its_rule(steered):
    """All teams have $0.006, and red, as was said of it alone, $0.0012."""
    steered.raise_budget("team", "0.006")
    steered.raise_budget("team/red", "0.0015")
    calls = client(steered)
    assert (many(calls), many(calls, team="blue")) == (2, 9)


def test_a_reset_begins_with_nothing_spent_and_keeps_the_history(steered):
    """What was spent was spent: reports go on telling it."""
    calls = client(steered)
    assert many(calls) == 4
    steered.reset_budget("team/red", note="the test run is over")
    assert many(calls) == 4
    assert len(list(steered.store.entries(Query()))) == 8
    assert steered.store.check() == []


def test_a_reset_of_a_rule_and_one_of_its_subject_are_two(steered):
    """Each begins anew, and neither brings back what was spent before the other."""
    calls = client(steered)
    for target in ("team", "team/red", "team"):
        assert many(calls) == 4
        steered.reset_budget(target)
    assert many(calls) == 4


def test_calls_at_once_cannot_be_reset(url, clock):
    """Those in flight are not over for it: on an account of its own the next ones would come on top of them."""
    seats = Budget("seats", 1, per=("team",), unit="parallel")
    calls = Budget("seats", "0.003", per=("team",))
    with closing(BudgetManager("shop", store=url, budgets=[seats], clock=clock)) as ours:
        office = Steering(ours.users, Author("ann"), rules=[seats])
        ours.set_budget("ann", 1, unit="parallel")
        for target in ("seats", "seats/red", "users/ann"):
            with pytest.raises(ConfigError, match="calls in flight"):
                office.reset(target)
        assert ours.users.renew("ann").subject == "ann"

        Steering(ours.users, Author("ann"), rules=[calls]).reset("seats/red")  # as a key has several under its name
        accounts = [Steers.of(ours.store.terms(STEERS)).account(rule, "red", 0).key for rule in (seats, calls)]
        assert accounts == ["seats/red/all#parallel", "seats/red#1/all"]
        assert passes(client(ours), user="ann")
        assert [(each.key, each.limit) for each in running(ours.store, [seats], 0)] == [("seats/red", 1)]


def test_what_was_steered_is_taken_back(steered):
    """A reset stays one: what was spent before it does not come back."""
    calls = client(steered)
    many(calls)
    steered.reset_budget("team/red")
    steered.raise_budget("team/red", 5)
    steered.pause("team/red")
    steered.restore_budget("team/red")
    assert many(calls) == 4


def test_a_budget_of_a_user_is_steered_in_its_unit(steered):
    """Ten requests are ten requests; and a new rule for the user ends what was raised of the old one, not the pause."""
    steered.set_budget("ann", 2, unit="requests")
    steered.raise_budget("ann", 5)
    steered.top_up("ann", 1)
    assert steered.get_total_budget("ann") == 6
    with pytest.raises(ConfigError, match="whole number"):
        steered.top_up("ann", "0.5")
    steered.pause("ann")
    steered.set_budget("ann", 3, unit="requests")
    own = steered.users.get("ann")
    assert (own.limit_at(0), own.steer.paused) == (3, True)


def test_a_top_up_of_a_rule_that_counts_something_else_now_is_in_its_unit(url, clock):
    """Five dollars that were topped up once are no five billion tokens on the day that the rule counts tokens."""
    with closing(BudgetManager("shop", store=url, clock=clock)) as ours:
        counts = [Budget("all", limit, "monthly", unit=unit) for limit, unit in ((1, "dollars"), (100, "tokens"))]
        for rule in counts:
            office = Steering(ours.users, Author("ann"), rules=[rule])
            done = office.top_up("all", 10)
        assert (done.limit, done.told) == (110, "all: 10 tokens are added to its limit until 2027-02-01 00:00 UTC")
        office.pause("all")
        assert Steering(ours.users, Author(), rules=counts[:1]).resume("all").limit == 1_000_000_000
        assert "extra" not in ours.changes()[0].before["steer"]


def test_what_is_said_of_a_subject_begins_with_the_limit_of_all(steered):
    """Who was let spend more with all others is not told that nothing is left, nor to have no limit."""
    steered.raise_budget("team", "0.006")
    calls = client(steered)
    assert many(calls) == 9
    done = steered.resume("team/red")
    assert (done.limit, done.told) == (6_000_000, "team/red: calls pass again, as far as its limit goes")
    assert steered.top_up("team/red", "0.001").limit == 7_000_000
    counted = [Budget("seen", None, per=("team",))]
    office = Steering(steered.users, Author("ann"), rules=counted)
    office.raise_limit("seen", 5)
    assert office.top_up("seen/red", 1).limit == 6_000_000_000


def test_no_steers_together_come_to_more_than_a_store_can_book(steered):
    """Each alone is checked where it is said; together they would be a number that a store rounds."""
    steered.top_up("team/red", 8_999_999)
    assert steered.raise_budget("team/red", 9_000_000).limit == MAX_AMOUNT
    steered.top_up("team", 8_999_999)
    assert steered.top_up("team/blue", "0.001").limit == 8_999_999_004_000_000
    with pytest.raises(ConfigError, match="beyond what a store can book"):
        steered.top_up("team/blue", 8_999_999)


@pytest.mark.parametrize("name", ["50%41", "a/b", "%", "a%2fb", "#1", "\ud800"])
def test_a_name_that_looks_like_an_escaped_one_is_meant_as_it_is(name, clock):
    """Whoever pauses "50%41" does not mean "50A"; and what a command printed is understood again."""
    with closing(BudgetManager("shop", store="memory://", budgets=team(), clock=clock)) as ours:
        calls = client(ours)
        for other in (name, "50A", "a%2Fb"):
            ours.create_budget(1, other)
        for target in (f"users/{name}", f"team/{name}"):
            whose = {"user": name} if target.startswith("users") else {"team": name}
            done = ours.pause(target)
            assert not passes(calls, **whose)
            assert passes(calls, user="50A")
            ours.resume(done.target.stem)
            assert passes(calls, **whose)


def test_a_rule_is_found_by_its_name_whatever_is_in_that(steered):
    """A slash in it is no subject, unless there is a rule before the slash."""
    rules = [Budget(name, 1) for name in ("a/b", "50%25", "50%")]
    office = Steering(steered.users, Author("ann"), rules=[*rules, *team()])
    said = {each: office.target(each).budget for each in ("a/b", "a%2Fb", "50%25", "50%", "50%2525")}
    assert said == {"a/b": "a/b", "a%2Fb": "a/b", "50%25": "50%", "50%": "50%", "50%2525": "50%25"}


@pytest.mark.parametrize("target", ["tean", "tean/red", "TEAM", "team/red/green", "users/nobody", "users", "x"])
def test_nobody_steers_what_is_not_there(steered, target):
    """A typing error would pause nothing, and be believed."""
    steered.guard.budgets  # noqa: B018  # it has the rule "team" alone
    if target == "team/red/green":
        assert steered.pause(target).target.subject == "red%2Fgreen"
        return
    with pytest.raises((ConfigError, UnknownUserError), match=r"did you mean|no budget|say whose|there is no rule"):
        steered.pause(target)
    assert steered.store.terms(STEERS) is None


def test_two_people_steering_at_once_lose_nothing(tmp_path):
    """Each reads, changes and writes over the version that was read: forty top-ups of a cent are forty cents."""
    url, faults = f"sqlite:///{tmp_path}/budgets.db", []

    def top_up(name: str) -> None:
        with closing(BudgetManager("shop", store=url, budgets=team())) as ours:
            for _ in range(10):
                try:
                    ours.top_up("team/red", "0.01", by=name)
                except ConfigError as error:
                    faults.append(error)

    threads = [threading.Thread(target=top_up, args=(name,)) for name in ("ann", "bob", "cem", "dora")]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    with closing(open_store(url, namespace="shop")) as store:
        extra = Steers.of(store.terms(STEERS)).by_stem["team/red"].extra
        told = [each for each in changes(store) if each.what == "top up"]
    assert extra == (40 - len(faults)) * 10_000_000
    assert len(told) == 40 - len(faults)
    assert len(faults) < 40


def test_the_audit_tells_who_when_and_why(steered, clock):
    """With what was and what is, the last first; of a user's budget from its creation to its end."""
    steered.create_budget(1, "ann")
    steered.create_budget(1, "ann")  # nothing is changed by it
    clock.advance(60)
    steered.pause("team/red", note="incident 12", by="bob")
    steered.create_budget(2, "ann")
    steered.remove_budget("ann")
    found = steered.changes()
    assert [(each.what, each.target) for each in found] == [
        ("remove", "users/ann"),
        ("change", "users/ann"),
        ("pause", "team/red"),
        ("create", "users/ann"),
    ]
    assert found[1].fields_changed == {"limit": (10**9, 2 * 10**9)}
    assert (found[2].who, found[2].via, found[2].note) == ("bob", "python", "incident 12")
    assert found[2].at_ms == int(clock() * 1000)
    assert [each.what for each in steered.changes(user="ann", limit=2)] == ["remove", "change"]
    assert len(steered.changes(since=timedelta(days=1))) == 4


def test_a_change_that_the_audit_cannot_take_holds_all_the_same(steered, monkeypatch, caplog):
    """What was done is done; the log says what is missing."""

    def fail(*_: object, **__: object) -> list[bool]:
        raise StoreError("the disk is full")

    monkeypatch.setattr(steered.store, "note", fail)
    steered.pause("team/red")
    assert not passes(client(steered))
    assert "missing in the audit" in caplog.text


def test_rules_that_programs_know_are_declared_once_they_call(url, clock):
    """So that every reader shows their limits, though only the program has the rule. All of a rule comes back."""
    rules = [
        Budget("team", "0.5", "rolling 7d", per=("team",), match={"team": "r*"}, warn_at=(0.5, 1.0), enforce="soft"),
        Budget("all/of it", 9, unit="requests", fallback="gpt-4o-mini", degrade_at=0.9, in_flight=3),
        Budget("leased", 5, lease=True, timezone="Europe/Berlin"),
    ]
    with closing(BudgetManager("shop", store=url, budgets=rules, clock=clock)) as ours:
        assert declared(ours.store) == []  # it has made no call
        ask(client(ours))
        ours.guard.close()
        assert {rule.name: rule for rule in declared(ours.store)} == {rule.name: rule for rule in rules}
        before = [terms.version for terms in ours.store.all_terms(RULES)]
        assert declare(ours.store, rules) == 0
        assert [terms.version for terms in ours.store.all_terms(RULES)] == before


def test_what_a_newer_writer_declared_is_read_as_far_as_it_can_be(url):
    """Fields that are not known are not looked at, and what is no rule is left out."""
    with closing(open_store(url, namespace="shop")) as store:
        declare(store, [Budget("team", 1)])
        said = json.loads(store.terms(f"{RULES}team").body or "")
        store.put_terms(f"{RULES}team", json.dumps({**said, "colour": "red"}))
        for number, body in enumerate(("no JSON", "[]", "7", json.dumps({**said, "match": ["team"]}))):
            store.put_terms(f"{RULES}odd{number}", body)
        store.put_terms(f"{RULES}other", json.dumps({"name": "other", "limit": 1, "unit": "apples"}))
        assert declared(store) == [Budget("team", 1)]


def test_running_budgets_show_their_limit_and_how_they_are(steered, clock):
    """In a word; of a rule that is declared, and steered, and was set to zero by hand."""
    calls = client(steered)
    declare(steered.store, team())
    many(calls)
    ask(calls, team="blue")
    steered.reset_budget("team/red")
    ask(calls)
    steered.raise_budget("team/red", 1)
    steered.pause("team/blue")

    found = {each.subject: each for each in running(steered.store, (), int(clock() * 1000))}
    assert {name: (each.state, each.limit) for name, each in found.items()} == {
        "red": ("raised", 10**9),
        "blue": ("paused", 3_000_000),
    }
    assert found["red"].spent == 601_200
    assert found["blue"].left == 0


def test_terms_of_an_earlier_version_are_read_and_say_no_steer():
    """What it wrote has none; and what is written without one, an earlier version reads."""
    own = UserBudget("ann", user_rule(1, None), 0.0, 0.0)
    assert "steer" not in json.loads(own.to_text())
    assert UserBudget.from_text(own.to_text(), 0).steer == NO_STEER
    steered = UserBudget("ann", user_rule(1, None), 0.0, 0.0, steer=Steer(paused=True, by="bob"))
    assert UserBudget.from_text(steered.to_text(), 0) == steered


def test_steers_that_change_nothing_are_not_kept():
    """Or the terms, which every process reads, would grow with everything that was ever done."""
    steers = {"team/red": Steer(by="ann", note="resumed"), "team": Steer(paused=True), "old": Steer(epoch=1)}
    assert list(read_steers(write_steers(steers))) == ["team", "old"]


def test_steers_that_cannot_be_read_refuse_calls(steered):
    """They may say that a call is stopped: before it is sent, it fails loudly."""
    steered.store.put_terms(STEERS, "[1]")
    with pytest.raises(StoreError, match="no steers"):
        ask(client(steered))


NOW_MS = int(datetime(2027, 1, 15, 12, tzinfo=UTC).timestamp() * 1000)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("2h", "2027-01-15T14:00+00:00"),
        ("3d", "2027-01-18T12:00+00:00"),
        ("end of month", "2027-02-01T00:00+00:00"),
        ("the end of the day", "2027-01-16T00:00+00:00"),
        ("2027-01-31", "2027-01-31T00:00+00:00"),
        ("2027-01-31T18:00+01:00", "2027-01-31T17:00+00:00"),
        (timedelta(minutes=5), "2027-01-15T12:05+00:00"),
        (datetime(2028, 1, 1, tzinfo=UTC), "2028-01-01T00:00+00:00"),
    ],
)
def test_moments_are_understood_as_people_write_them(said, meant):
    """And those of Python."""
    assert until_ms(said, NOW_MS) == int(datetime.fromisoformat(meant).timestamp() * 1000)


def test_a_moment_without_a_zone_is_one_of_the_budgets():
    """A day ends where the budget's days end."""
    berlin = until_ms("end of day", NOW_MS, "Europe/Berlin")
    assert berlin == until_ms("2027-01-16", NOW_MS, "Europe/Berlin") == until_ms("2027-01-15T23:00Z", NOW_MS)


@pytest.mark.parametrize("said", ["soon", "", "2026-01-01", "0s", 5, None, "99999999999d", "999999999w"])
def test_what_is_no_moment_or_over_is_refused(said):
    """With the argument's name, as it was said, and what may be said."""
    with pytest.raises(ConfigError, match=f"until={said!r}"):
        until_ms(said, NOW_MS)


def test_since_is_so_long_ago():
    """ "7d" is a week back there."""
    assert since_ms("7d", NOW_MS) == NOW_MS - 7 * DAY_S * 1000
    assert since_ms(timedelta(hours=1), NOW_MS) == NOW_MS - 3_600_000
    assert since_ms("2027-01-01", NOW_MS) < NOW_MS


def test_the_office_names_its_author(url):
    """Whoever calls it says who asks, by what: the page, a key."""
    with closing(BudgetManager("shop", store=url, budgets=team(), clock=StoppedClock())) as ours:
        done = Steering(ours.users, Author("ann", "page"), rules=team()).pause("team", note="why")
        assert (done.change.who, done.change.via, done.change.note) == ("ann", "page", "why")
        assert [each.id for each in changes(ours.store)] == [done.change.id]


@pytest.mark.parametrize("said", ["anm", "Ann", "users/anm"])
def test_a_user_whose_name_is_near_is_named(steered, said):
    """Whoever mistypes a name would else look for it in a list of thousands."""
    steered.create_budget(5, "ann")
    with pytest.raises((ConfigError, UnknownUserError), match="did you mean 'users/ann'"):
        steered.pause(said)


def test_the_audit_is_asked_by_what_commands_take_and_print(steered):
    """An empty answer for "ann", which was just topped up as that, would say that nobody did it."""
    steered.create_budget(5, "ann")
    steered.top_up("ann", 1)
    printed = steered.pause("team/red/blue").target.stem
    assert printed == "team/red%2Fblue"
    for said, what in (("ann", "top up"), ("users/ann", "top up"), (printed, "pause"), ("team/red/blue", "pause")):
        assert next(iter(changes(steered.store, target=said))).what == what
    assert not list(changes(steered.store, target="red"))
