"""Budgets: which accounts a call touches, and how a user's own budget is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetguard import Budget, ConfigError, Money
from budgetguard.budgets.accounts import Coverage
from budgetguard.budgets.rules import UserBudget, escape, model_keys, terms_key, unescape
from budgetguard.budgets.steering.steers import STEERS
from budgetguard.ledger import Stale, Terms
from budgetguard.testing import StoppedClock

names = st.text(st.characters(exclude_categories=[]))
"""Any text that Python can hold, lone surrogates too."""

NOON_MS = 1_798_804_800_000
"""2027-01-01T12:00Z."""


def own(user="ann", **rule):
    """A user's own budget of $1 a month."""
    return UserBudget(user, Budget("users", 1, **{"period": "monthly", "per": ("user",), **rule}), 0.0, 0.0)


def test_a_budget_for_all_has_one_account_a_period():
    """Whoever calls."""
    team = Budget("team", 50, "monthly")

    assert team.account({"user": "ann"}, NOON_MS) is team.account({}, NOON_MS)
    assert team.account({}, NOON_MS).key == "team//2027-01"
    assert team.account({}, NOON_MS).limit == Money.dollars(50).nano


def test_a_budget_per_user_has_an_account_for_each():
    """Everyone has this much for themselves."""
    free = Budget("free", "0.20", "daily", per=("user",))

    assert free.account({"user": "ann"}, NOON_MS).key == "free/ann/2027-01-01"
    assert free.account({"user": "bob"}, NOON_MS).key == "free/bob/2027-01-01"
    assert free.account({}, NOON_MS) is None


def test_subjects_of_several_tags_cannot_be_confused():
    """A comma in a name is not the comma between two names."""
    rule = Budget("rule", 1, per=("user", "team"))
    keys = {
        rule.account({"user": user, "team": team}, NOON_MS).key
        for user, team in [("a,b", "c"), ("a", "b,c"), ("a", "b")]
    }

    assert len(keys) == 3


def test_a_rule_covers_the_calls_whose_tags_fit_its_globs():
    """A call without the tag does not match: an unknown team is not the search team."""
    rule = Budget("search", 1, match={"team": "search*", "env": "prod"})

    assert rule.account({"team": "search-eu", "env": "prod"}, NOON_MS) is not None
    assert rule.account({"team": "ads", "env": "prod"}, NOON_MS) is None
    assert rule.account({"team": "search"}, NOON_MS) is None


def test_a_new_period_is_a_new_account():
    """Nothing is ever reset."""
    monthly = Budget("m", 1, "monthly")
    account = monthly.account({}, NOON_MS)

    assert monthly.account({}, account.end_ms - 1) is account
    assert monthly.account({}, account.end_ms).key == "m//2027-02"
    assert monthly.account({}, NOON_MS) == account


def test_a_rolling_budget_counts_its_earlier_buckets():
    """The newest bucket takes the spend, and all together count."""
    account = Budget("r", 1, "rolling 24h").account({}, NOON_MS)

    assert len(account.window) == 24
    assert account.key not in account.window
    assert account.end_ms - account.start_ms == 3_600_000


@given(names)
def test_any_name_comes_back_from_its_key(name):
    """Users are called what they are called."""
    assert unescape(escape(name)) == name


@given(names, names)
def test_two_names_never_share_a_key(one, other):
    """Nor can one name reach into another's keys."""
    assert (escape(one) == escape(other)) == (one == other)
    assert not set("/#,") & set(escape(one))


@pytest.mark.parametrize("name", ["😀", "ålesund", "שלום", "a b", "ñ", "日本"])
def test_what_people_can_read_stays_readable(name):
    """Keys are shown in refusals and reports."""
    assert escape(name) == name


@given(names)
def test_keys_can_be_written_by_every_store(name):
    """No control characters, no lone surrogates."""
    key = terms_key(name)

    assert key.encode().decode() == key
    assert key.isprintable()


@given(names.filter(str.strip), st.sampled_from(["hard", "soft", "observe"]))
def test_a_stored_budget_reads_back_as_it_was(user, enforce):
    """Another process sees the same budget."""
    budget = own(user, enforce=enforce, timezone="Asia/Tokyo", on_expire="charge", in_flight=3)

    assert UserBudget.from_text(budget.to_text(), 7) == UserBudget(user, budget.rule, 0.0, 0.0, 0, 7)


def test_a_reset_by_hand_gives_new_accounts():
    """The old ones stay, for the history."""
    budget = own()
    renewed = budget.renewed(5.0)

    assert renewed.account(NOON_MS).key != budget.account(NOON_MS).key
    assert renewed.model_prefixes(NOON_MS) != budget.model_prefixes(NOON_MS)
    assert renewed.updated_s == 5.0


def test_a_reset_of_one_user_is_not_another_users_account():
    """A user may be called as the key of a reset is written."""
    assert own().renewed(0).account(NOON_MS).key != own("ann#1").account(NOON_MS).key


def test_a_users_spend_on_a_model_has_an_account_of_its_own():
    """Whatever the model is called."""
    budget = own()
    [prefix] = budget.model_prefixes(NOON_MS)
    [key] = model_keys(["team//all", budget.account(NOON_MS).key], "ft:gpt-4o/x")

    assert unescape(key.removeprefix(prefix)) == "ft:gpt-4o/x"


@pytest.mark.parametrize("limit", [None, 0, "12.50", 1e-9])
def test_a_limit_can_be_anything_from_nothing_to_none(limit):
    """0 refuses every call that costs; `None` counts without a limit."""
    assert (Budget("b", limit).limit is None) == (limit is None)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"name": ""}, "name="),
        ({"limit": -1}, "limit="),
        ({"period": "sometimes"}, "period="),
        ({"timezone": "Mars/Olympus"}, "timezone="),
        ({"match": "team"}, "match="),
        ({"match": {"team": 5}}, r"match\['team'\]="),
        ({"match": {"": "x"}}, "match="),
        ({"per": "user"}, "per="),
        ({"per": ("",)}, "per="),
        ({"enforce": "maybe"}, "enforce="),
        ({"enforce": ["hard"]}, "enforce="),
        ({"on_expire": "keep"}, "on_expire="),
        ({"in_flight": 0}, "in_flight="),
        ({"in_flight": True}, "in_flight="),
        ({"in_flight": 1.5}, "in_flight="),
    ],
)
def test_an_argument_that_cannot_be_used_is_named(arguments, named):
    """One error, a `ValueError` too, at once and not at the first call."""
    with pytest.raises(ConfigError, match=f"^{named}"):
        Budget(**{"name": "b", "limit": 1, **arguments})


def test_what_is_learned_of_one_user_leaves_the_others_alone():
    """Or with many users every newcomer would have everybody's accounts worked out again."""
    known = Coverage([Budget("free", 1, "daily", per=("user",))], StoppedClock())
    ann, bob = known.cover({"user": "ann"}), known.cover({"user": "bob"})
    body = UserBudget("ann", Budget("users", 5, per=("user",)), 0.0, 0.0).to_text()
    known.learn(Stale(0, (Terms(terms_key("ann"), 1, body),)))
    assert known.cover({"user": "bob"}) is bob
    assert known.cover({"user": "ann"}) is not ann
    assert known.cover({"user": "ann"}).terms == ((terms_key("ann"), 1), (STEERS, 0))
    assert [account.limit for account in known.cover({"user": "ann"}).accounts] == [10**9, 5 * 10**9]
