"""Settings from outside: the file, the environment, and which of them wins."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

import budgetguard
from budgetguard import Budget, BudgetManager, ConfigError, PriceBook, Settings
from budgetguard.config import Config, configured_guard, forms, load_config, variable, variables
from budgetguard.sdks.install import default_guard
from tests.support import ROOT

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
pytestmark = pytest.mark.usefixtures("here")

PRICES = """
[models."our-own"]
input = 5
output = 10
"""


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


# -- the settings of a guard -----------------------------------------------------------------------------------------

SETTINGS = """
[settings]
ttl_ms = 5000
output_guess = 100
context_guess = 1000
abandoned = "held"
usage_hosts = ["localhost:8080", "other"]
on_store_error = "open"
allowance = 2.50
journal = "/var/lib/shop"
unpriced = "assume"
auto_tier = "default"
"""
STATED = Settings(
    ttl_ms=5000,
    output_guess=100,
    context_guess=1000,
    abandoned="held",
    usage_hosts=frozenset({"localhost:8080", "other"}),
    on_store_error="open",
    allowance=2.5,
    journal="/var/lib/shop",
    unpriced="assume",
)


def test_every_setting_can_be_said_in_the_file(here):
    """Those of a guard, and the price book's service tiers."""
    (here / "budgetguard.toml").write_text(SETTINGS)
    config = load_config({})

    assert config.settings() == STATED
    book = config.price_book()
    assert book is not None
    assert book.quote("openai", "gpt-5").output_pico(0) == 10_000_000


def test_every_setting_can_be_said_in_the_environment(here):
    """A list is written with commas; the variable wins over the file."""
    (here / "budgetguard.toml").write_text("[settings]\nttl_ms = 7\noutput_guess = 9\n")
    environ = {
        "BUDGETGUARD_TTL_MS": "5000",
        "BUDGETGUARD_CONTEXT_GUESS": "1000",
        "BUDGETGUARD_ABANDONED": "held",
        "BUDGETGUARD_USAGE_HOSTS": "localhost:8080, other",
        "BUDGETGUARD_ON_STORE_ERROR": "open",
        "BUDGETGUARD_ALLOWANCE": "2.50",
        "BUDGETGUARD_JOURNAL": "/var/lib/shop",
        "BUDGETGUARD_UNPRICED": "assume",
        "BUDGETGUARD_AUTO_TIER": "priority",
    }
    config = load_config(environ)

    assert config.settings() == replace(STATED, output_guess=9, allowance="2.50")
    assert config.price_book().quote(None, "gpt-5").output_pico(0) == 20_000_000


def test_a_field_of_settings_is_a_setting_outside():
    """One that is added is known in the file, the environment and the command line at once."""
    assert set(forms()) == {field.name for field in fields(Settings)} | {"auto_tier"}
    assert {variable(name) for name in forms()} <= set(variables())
    table = (ROOT / "docs/settings.md").read_text("utf-8")
    assert [name for name in forms() if f"| `{variable(name)}` | `{name} = " not in table] == []


def test_managers_and_patch_take_the_settings_up(here, monkeypatch):
    """Also where no store is named; an argument is all of them."""
    monkeypatch.setenv("BUDGETGUARD_ABANDONED", "held")

    assert BudgetManager("shop", store="memory://").guard.settings == Settings(abandoned="held")
    given = BudgetManager("shop", store="memory://", settings=Settings(ttl_ms=5))
    assert given.guard.settings == Settings(ttl_ms=5)
    budgetguard.patch()
    assert default_guard().settings == Settings(abandoned="held")
    assert default_guard().store is None


def test_a_price_file_is_taken_up_where_no_store_is_named(file, monkeypatch):
    """The limit of a process needs prices as well."""
    file.write_text('prices = "prices.toml"')
    budgetguard.patch()

    assert default_guard().prices.quote(None, "our-own").output_pico(0) == 10_000_000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ttl_ms", "0"),
        ("ttl_ms", "-1"),
        ("ttl_ms", "1.5"),
        ("ttl_ms", "true"),
        ("ttl_ms", "'soon'"),
        ("abandoned", "'lost'"),
        ("abandoned", "1"),
        ("usage_hosts", "5"),
        ("usage_hosts", "[5]"),
        ("usage_hosts", "['']"),
        ("on_store_error", "'ajar'"),
        ("on_store_error", "'open'"),
        ("allowance", "1"),
        ("allowance", "true"),
        ("journal", "5"),
        ("auto_tier", "'warp'"),
        ("auto_tier", "5"),
        ("colour", "'red'"),
    ],
)
def test_a_setting_that_cannot_be_used_is_an_error_with_its_place(here, name, value):
    """The file and the key."""
    (here / "budgetguard.toml").write_text(f"[settings]\n{name} = {value}")
    with pytest.raises(ConfigError, match=rf"^budgetguard\.toml: \[settings\].*{name}"):
        BudgetManager("shop", store="memory://")


@pytest.mark.parametrize(("name", "value"), [("ttl_ms", "soon"), ("abandoned", "lost"), ("allowance", "much")])
def test_a_variable_that_cannot_be_used_is_an_error_with_its_name(name, value):
    """No file is to blame."""
    environ = {f"BUDGETGUARD_{name.upper()}": value, "BUDGETGUARD_STORE": "memory://"}
    with pytest.raises(ConfigError, match=f"^BUDGETGUARD_{name.upper()}"):
        configured_guard(environ)


def test_a_byte_order_mark_is_no_part_of_a_file(here):
    """Editors on Windows put one before the text."""
    mark = "\ufeff"
    (here / "prices.toml").write_text(mark + PRICES, "utf-8")
    (here / "budgetguard.toml").write_text(mark + FILE, "utf-8")
    record = {"ann": {"total_budget": 10, "current_cost": 0.5, "model_cost": {"gpt-4o": 0.5}}}
    (here / "user_cost.json").write_text(mark + json.dumps(record), "utf-8")
    manager = BudgetManager("shop", store="memory://")

    assert [rule.name for rule in manager.guard.budgets] == ["free", "search"]
    assert manager.guard.prices.quote(None, "our-own").output_pico(0) == 10_000_000
    assert manager.import_litellm(str(here / "user_cost.json")) == 1
    assert manager.get_current_cost("ann") == 0.5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("settings = 5", "settings=5"),
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
