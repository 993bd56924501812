"""Settings from outside: the file, the environment, and which of them wins."""

from __future__ import annotations

from pathlib import Path

import pytest

import budgetguard
from budgetguard import Budget, BudgetManager, ConfigError, PriceBook
from budgetguard.config import Config, configured_guard, load_config
from budgetguard.install import default_guard

FILE = """
store = "sqlite:///budgets.db"
project = "shop"
prices = "prices.toml"

[[budgets]]
name = "free"
limit = 0.20
period = "daily"
per = ["user"]

[[budgets]]
name = "search"
limit = "50"
period = "monthly"
timezone = "Europe/Berlin"
match = { team = "search*" }
enforce = "soft"
on_expire = "charge"
in_flight = 10
"""
PRICES = """
[models."our-own"]
input = 5
output = 10
"""


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def file(here):
    """A `budgetguard.toml` in the working directory, with its price file."""
    (here / "prices.toml").write_text(PRICES)
    path = here / "budgetguard.toml"
    path.write_text(FILE)
    return path


def test_without_a_file_there_are_defaults():
    """And no error."""
    assert load_config({}) == Config(None, "default", None, ())


def test_a_file_in_the_working_directory_is_read(file):
    """Every setting that there is."""
    config = load_config({})

    assert (config.store, config.project, config.prices) == ("sqlite:///budgets.db", "shop", Path("prices.toml"))
    assert config.budgets == (
        Budget("free", "0.20", "daily", per=("user",)),
        Budget(
            "search",
            50,
            "monthly",
            timezone="Europe/Berlin",
            match={"team": "search*"},
            enforce="soft",
            on_expire="charge",
            in_flight=10,
        ),
    )


def test_a_file_elsewhere_is_named_by_the_environment(file, here, monkeypatch):
    """Its price file lies beside it."""
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    config = load_config({"BUDGETGUARD_CONFIG": str(file)})

    assert config.project == "shop"
    assert config.prices == here / "prices.toml"


def test_the_environment_wins_over_the_file(file):
    """For a deployment of the same program."""
    environ = {
        "BUDGETGUARD_STORE": "memory://",
        "BUDGETGUARD_PROJECT": "staging",
        "BUDGETGUARD_PRICES": "other.toml",
    }
    config = load_config(environ)

    assert (config.store, config.project, config.prices) == ("memory://", "staging", Path("other.toml"))


def test_an_empty_variable_is_one_that_is_not_set(file):
    """As shells and compose files leave them."""
    assert load_config({"BUDGETGUARD_STORE": "", "BUDGETGUARD_CONFIG": ""}).store == "sqlite:///budgets.db"


def test_a_manager_takes_what_is_not_given_from_the_file(file, here):
    """Store, prices and rules."""
    manager = BudgetManager("shop")
    manager.create_budget(1, "ann")
    manager.update_cost("ann", {"model": "our-own", "usage": {"prompt_tokens": 1000, "completion_tokens": 1000}})

    assert manager.get_current_cost("ann") == 0.015
    assert [rule.name for rule in manager.guard.budgets] == ["free", "search"]
    assert (here / "budgets.db").exists()
    manager.close()


def test_an_argument_wins_over_the_file(file, here):
    """Each for itself; no rules are none."""
    manager = BudgetManager("shop", store="memory://", budgets=[], prices=PriceBook())

    assert manager.guard.budgets == ()
    assert not (here / "budgets.db").exists()


def test_a_manager_without_any_setting_keeps_budgets_in_a_file(here):
    """Which is made by the first write, not before."""
    manager = BudgetManager("shop")
    assert not (here / "budgetguard.db").exists()
    manager.create_budget(1, "ann")
    manager.close()

    assert BudgetManager("shop").get_users() == ["ann"]


def test_patch_takes_the_default_manager_from_the_settings(file, monkeypatch):
    """So that a program needs nothing but the one line."""
    monkeypatch.setenv("BUDGETGUARD_STORE", "memory://")
    budgetguard.patch()

    assert default_guard().store is not None
    assert [rule.name for rule in default_guard().budgets] == ["free", "search"]


def test_without_a_store_there_is_no_default_manager():
    """Only the limits of the process hold."""
    assert configured_guard({}) is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("store = ", "cannot be read as TOML"),
        ("\x00", "cannot be read as TOML"),
        ('stroe = "memory://"', "'stroe' is no setting"),
        ("store = 5", "store=5"),
        ('project = ""', "project=''"),
        ("budgets = 5", "budgets=5"),
        ("budgets = [5]", r"budgets\[1\]"),
        ('[[budgets]]\nname = "x"', r"budgets\[1\].*limit"),
        ('[[budgets]]\nname = "x"\nlimit = -1', r"budgets\[1\]: limit=-1"),
        ('[[budgets]]\nname = "x"\nlimit = nan', r"budgets\[1\]: limit=nan"),
        ('[[budgets]]\nname = "x"\nlimit = true', r"budgets\[1\]: limit=True"),
        ('[[budgets]]\nname = "x"\nlimit = 1\nperiod = "hourly"', r"budgets\[1\]: period='hourly'"),
        ('[[budgets]]\nname = "x"\nlimit = 1\nper = "user"', r"budgets\[1\]: per='user'"),
        ('[[budgets]]\nname = "x"\nlimit = 1\nmatch = "a"', r"budgets\[1\]: match='a'"),
        ('[[budgets]]\nname = "x"\nlimit = 1\ncolour = "red"', r"budgets\[1\]: 'colour' is nothing of a budget"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_error(here, text, said):
    """It names the file, and the place in it."""
    (here / "budgetguard.toml").write_text(text)
    with pytest.raises(ConfigError, match=rf"^budgetguard\.toml: .*{said}"):
        load_config({})


def test_a_file_that_is_named_and_not_there_is_an_error():
    """A budget that is silently not applied would be worse."""
    with pytest.raises(ConfigError, match=r"missing\.toml"):
        load_config({"BUDGETGUARD_CONFIG": "missing.toml"})


def test_rules_without_a_store_are_an_error(here):
    """They would hold nowhere."""
    (here / "budgetguard.toml").write_text('[[budgets]]\nname = "x"\nlimit = 1')
    with pytest.raises(ConfigError, match="no store"):
        configured_guard({})


def test_two_rules_of_one_name_are_an_error(here):
    """They would share their accounts."""
    rule = '[[budgets]]\nname = "x"\nlimit = 1\n'
    (here / "budgetguard.toml").write_text('store = "memory://"\n' + rule + rule)
    with pytest.raises(ConfigError, match="'x' is taken"):
        configured_guard({})
    with pytest.raises(ConfigError, match="'x' is taken"):
        BudgetManager("shop")
