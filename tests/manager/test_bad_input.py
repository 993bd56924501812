"""
Bad input: one error of ours, that names the argument and says what to do; and nothing is changed by halves.

The other half of the claim: a user may be called anything.
"""

from __future__ import annotations

import os
import sqlite3

import pytest

import budgetguard
from budgetguard import (
    Budget,
    BudgetManager,
    ConfigError,
    Money,
    PriceBook,
    StoreError,
    budget,
    budgeted,
)
from budgetguard.guards.guard import Guard
from budgetguard.guards.scope import current
from budgetguard.ledger import Query
from budgetguard.stores import open_store

AMOUNTS = [
    -1,
    -1e-9,
    float("nan"),
    float("inf"),
    "NaN",
    "-Infinity",
    "much",
    "",
    "1,5",
    "5 dollars",
    True,
    [5],
    b"5",
    1e7,
]
"""No limits: negative, not finite, no number, or above what every store keeps exact."""

ANSWER = {"model": "gpt-4", "usage": {"prompt_tokens": 1000, "completion_tokens": 0}}


@pytest.fixture
def manager(url):
    """A project with one user, on both stores."""
    made = BudgetManager("shop", store=url)
    made.create_budget(10, "ann", "monthly")
    yield made
    made.close()


def refused(named, call, *args, **kwargs):
    """The call raises one `ConfigError`, a `ValueError` too, that begins with the argument and has more to say."""
    with pytest.raises(ConfigError, match=f"^{named}") as caught:
        call(*args, **kwargs)
    assert isinstance(caught.value, ValueError)
    assert len(str(caught.value).split()) > 4
    assert current.get() is None


# -- amounts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("amount", AMOUNTS, ids=repr)
def test_what_is_no_limit_is_refused_wherever_a_limit_is_given(manager, amount):
    """By the same words everywhere."""
    before = dict(manager.user_dict)
    refused("total_budget=", manager.create_budget, amount, "ann")
    refused("total_budget=", manager.create_budget, amount, "bob")
    refused("limit=", Budget, "rule", amount)
    refused("limit=", budget, limit=amount)
    refused("limit=", budgeted, limit=amount)
    refused("dollars=", Money.dollars, amount)

    assert manager.user_dict == before


@pytest.mark.parametrize("amount", AMOUNTS, ids=repr)
def test_what_is_no_limit_leaves_max_budget_as_it_was(amount):
    """The old limit goes on to hold."""
    budgetguard.max_budget = 5
    with pytest.raises(ConfigError, match=r"^max_budget="):
        budgetguard.max_budget = amount
    assert budgetguard.max_budget == 5


@pytest.mark.parametrize(("amount", "dollars"), [("$0.25", 0.25), (" 5 ", 5), ("1_000", 1000), (0, 0), (None, None)])
def test_what_people_write_for_an_amount_is_one(amount, dollars):
    """Text comes from environments and forms."""
    budgetguard.max_budget = amount

    assert budgetguard.max_budget == dollars


# -- the other arguments -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("user", ["", " ", "\n", None, 5, b"ann", ["ann"]])
def test_an_empty_user_or_none_is_refused(manager, user):
    """Where a budget is made for one; where one is looked up, nobody is there."""
    refused("user=", manager.create_budget, 10, user)
    refused("user=", manager.set_budget, user, 10)
    if user is not None:
        refused("user=", budget, user=user)
    with pytest.raises(KeyError, match="no budget was created"):
        manager.get_current_cost(user)
    assert manager.get_users() == ["ann"]


@pytest.mark.parametrize(
    ("named", "arguments"),
    [
        ("duration=", {"duration": "hourly"}),
        ("duration=", {"duration": 7}),
        ("timezone=", {"timezone": "Mars/Olympus"}),
        ("timezone=", {"timezone": ""}),
        ("enforce=", {"enforce": "maybe"}),
        ("on_expire=", {"on_expire": "explode"}),
        ("in_flight=", {"in_flight": 0}),
        ("in_flight=", {"in_flight": True}),
        ("in_flight=", {"in_flight": "50"}),
        ("created_at=", {"created_at": "yesterday"}),
        ("created_at=", {"created_at": float("nan")}),
        ("created_at=", {"created_at": -1}),
        ("created_at=", {"created_at": True}),
    ],
)
def test_a_users_budget_with_a_bad_argument_is_refused_whole(manager, named, arguments):
    """The budget that was there is there unchanged."""
    before = dict(manager.user_dict)
    refused(named, manager.set_budget, "ann", 20, **arguments)
    refused(named, manager.set_budget, "bob", 20, **arguments)

    assert manager.user_dict == before


@pytest.mark.parametrize(
    ("named", "arguments"),
    [
        ("user=", {"user": ""}),
        ("tags=", {"tags": "team"}),
        ("tags=", {"tags": {5: "x"}}),
        ("tags=", {"tags": {"": "x"}}),
        (r"tags\['team'\]=", {"tags": {"team": 5}}),
        (r"tags\['team'\]=", {"tags": {"team": None}}),
        (r"tags\['user'\]=", {"tags": {"user": ""}}),
        ("enforce=", {"enforce": "maybe"}),
        ("enforce=", {"enforce": None}),
        ("wait=", {"wait": -1}),
        ("wait=", {"wait": float("nan")}),
        ("wait=", {"wait": float("inf")}),
        ("wait=", {"wait": "5"}),
        ("wait=", {"wait": True}),
        ("in_flight=", {"in_flight": 0}),
    ],
)
def test_a_scope_with_a_bad_argument_is_refused_before_it_is_entered(named, arguments):
    """So it is never half entered."""
    refused(named, budget, **arguments)


@pytest.mark.parametrize(
    ("named", "arguments"),
    [
        ("settings=", {"settings": {"unscoped": "refuse"}}),
        ("settings=", {"settings": {}}),
        ("project_name=", {"project_name": ""}),
        ("project_name=", {"project_name": None}),
        ("client_type=", {"client_type": "remote"}),
        ("store=", {"store": 5}),
        ("budgets: the name 'x' is taken", {"budgets": [Budget("x", 1), Budget("x", 2)]}),
        ("budgets: the name 'users' is taken", {"budgets": [Budget("users", 1)]}),
        ("budgets: the name 'models' is taken", {"budgets": [Budget("models", 1)]}),
        ("budgets", {"budgets": ["x"]}),
        ("budgets", {"budgets": Budget("x", 1)}),
    ],
)
def test_a_manager_with_a_bad_argument_is_refused(named, arguments):
    """Before it opens anything."""
    refused(named, BudgetManager, **{"project_name": "shop", "store": "memory://", **arguments})


@pytest.mark.parametrize(
    "answer", [5, "an answer", [], object(), {}, {"model": "gpt-4"}, {"model": "gpt-4", "usage": {}}]
)
def test_an_answer_that_is_none_is_not_booked_as_nothing(manager, answer):
    """A cost that is not known is not $0."""
    with pytest.raises(ConfigError, match="completion_obj"):
        manager.update_cost("ann", answer)
    assert list(manager.store.entries()) == []


@pytest.mark.parametrize("manager", [5, "shop", object()])
def test_a_manager_that_is_none_cannot_be_the_default(manager):
    """And nothing is patched."""
    with pytest.raises(ConfigError, match=r"^manager="):
        budgetguard.patch(manager)


# -- files and stores --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text", ["[models", "\x00", "models = 5", "[models.x]\ninput = -1", "[models.x]\ninput = 'much'", "[modles.x]"]
)
def test_a_price_file_that_cannot_be_used_is_named(tmp_path, text):
    """With the place in it."""
    path = tmp_path / "prices.toml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"prices\.toml"):
        PriceBook.load(path)
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        PriceBook.load(tmp_path / "missing.toml")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "budgets.db",
        "mongodb://localhost/budgets",
        "memory://shop",
        "sqlite:///budgets.db?synchronous=never",
        "sqlite:///budgets.db?colour=red",
        "sqlite://budgets.db",
        "user:secret@localhost",
    ],
)
def test_a_store_that_there_is_not_is_refused(url, tmp_path, monkeypatch):
    """What there is is named, and no password is repeated."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="sqlite:///") as caught:
        BudgetManager("shop", store=url)
    assert "secret" not in str(caught.value)
    assert os.listdir(tmp_path) == []


def foreign_database(path):
    """A SQLite file of another program."""
    with sqlite3.connect(path) as file:
        file.execute("create table customers (name text)")
    file.close()


def damaged_database(path):
    """One of ours, with a page overwritten."""
    manager = BudgetManager("shop", store=f"sqlite:///{path}")
    manager.create_budget(1, "ann")
    manager.close()
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 4000)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda path: path.write_text("Dear diary, " * 100),
        lambda path: path.write_bytes(b"\x00" * 5000),
        foreign_database,
        damaged_database,
        lambda path: path.mkdir(),
    ],
    ids=["text", "zeros", "foreign", "damaged", "directory"],
)
def test_a_file_that_is_no_store_is_left_alone(tmp_path, spoil):
    """It may be somebody's; the error names it."""
    path = tmp_path / "budgets.db"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises((StoreError, ConfigError), match=r"budgets\.db"):
        BudgetManager("shop", store=f"sqlite:///{path}").create_budget(1, "bob")

    assert (path.read_bytes() if path.is_file() else None) == before


def test_a_store_in_a_directory_that_is_not_there_is_one_error(tmp_path):
    """Whoever wrote the path wants to know which part of it is wrong."""
    with pytest.raises((StoreError, ConfigError), match="no/such"):
        BudgetManager("shop", store=f"sqlite:///{tmp_path}/no/such/budgets.db").create_budget(1, "ann")


# -- users may be called anything --------------------------------------------------------------------------------

NAMES = [
    "ann@example.com",
    "Ünïcödé",
    "👩‍👩‍👧‍👦",
    "שלום עולם",
    "\u202eevil\u202c",
    "a/b/../c",
    "50%",
    "%2F",
    "%",
    "a,b",
    "a#1",
    "nul\x00byte",
    "line\nbreak\ttab",
    " leading and trailing ",
    "\ud800 lone surrogate \udfff",
    "'; DROP TABLE accounts; --",
    "*",
    "[a-z]?",
    "_%_",
    "é",
    "e\u0301",
    "x" * 5000,
    "__proto__",
    "None",
    "users/ann",
]


@pytest.mark.parametrize("user", NAMES, ids=lambda name: ascii(name)[:40])
def test_a_user_may_be_called_anything(manager, user):
    """The name comes back from every place where users are listed."""
    manager.create_budget(10, user, "monthly")
    manager.update_cost(user, ANSWER)

    assert manager.is_valid_user(user)
    assert sorted(manager.get_users()) == sorted(["ann", user])
    assert manager.user_dict[user]["current_cost"] == 0.03
    assert manager.get_model_cost(user) == {"gpt-4": 0.03}
    assert manager.get_current_cost("ann") == 0
    assert [entry.tags["user"] for entry in manager.store.entries(Query(tags={"user": user}))] == [user]
    assert [total.group for total in manager.store.totals(["user"])] == [(user,)]
    assert manager.reset_cost(user)["user"]["current_cost"] == 0
    manager.remove_budget(user)
    assert manager.get_users() == ["ann"]


@pytest.mark.parametrize("user", NAMES, ids=lambda name: ascii(name)[:40])
def test_a_user_called_anything_has_a_budget_that_holds(manager, client, user):
    """Through a guarded call, and its refusal."""
    messages = [{"role": "user", "content": "hi"}]
    manager.create_budget(0.002, user)
    with manager, budget(user=user, reraise=False):
        client.chat.completions.create(model="gpt-4", messages=messages, max_tokens=10)
        spent = manager.get_current_cost(user)
        manager.create_budget(spent, user)
        with pytest.raises(budgetguard.BudgetExceededError) as caught:
            client.chat.completions.create(model="gpt-4", messages=messages, max_tokens=10)

    assert caught.value.user == user
    assert str(caught.value).encode()
    assert spent > 0


@pytest.mark.parametrize(
    "model", ["ft:gpt-4o/x", "a,b", "🦙", "nul\x00", "\ud800", "m" * 2000], ids=lambda name: ascii(name)[:40]
)
def test_a_model_may_be_called_anything(manager, model):
    """It is a key of `get_model_cost`."""
    manager.guard.prices.add("*" if "\x00" in model or "\ud800" in model else model, input=1, output=1)
    manager.update_cost("ann", {"model": model, "usage": {"prompt_tokens": 1_000_000, "completion_tokens": 0}})

    assert manager.get_model_cost("ann") == {model: 1.0}


def test_a_project_may_be_called_anything(tmp_path):
    """It is the namespace in the store."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    names = [name for name in NAMES if name.strip()]
    for number, name in enumerate(names):
        manager = BudgetManager(name, store=url)
        manager.create_budget(number, "ann")
        manager.close()
    for number, name in enumerate(names):
        manager = BudgetManager(name, store=url)
        assert manager.get_total_budget("ann") == number
        manager.close()


def test_a_rule_and_its_tags_may_be_called_anything(client):
    """Two that differ never share an account."""
    rules = [Budget(f"rule {name}", 10, per=("team",)) for name in NAMES]
    store = open_store("memory://")
    manager = BudgetManager("shop", store=store, budgets=rules)
    with manager, budget(tags={"team": NAMES[-1]}):
        client.chat.completions.create(model="gpt-4", messages=[{"role": "user", "content": "hi"}], max_tokens=1)

    assert len(list(store.accounts("rule"))) == len(NAMES)
    assert isinstance(manager.guard, Guard)


def test_an_answer_in_the_place_of_the_user_is_not_shown(manager):
    """Arguments are swapped in no time: what a model said to somebody must not stand in logs for it."""
    with pytest.raises(budgetguard.UnknownUserError, match="for user of dict: call create_budget") as told:
        manager.update_cost({**ANSWER, "choices": [{"message": {"content": "a secret"}}]}, "ann")
    assert "secret" not in str(told.value)
