"""Settings from outside: the file, the environment, and which of them wins."""

from __future__ import annotations

import json
import os
import re
import sqlite3
from contextlib import closing
from dataclasses import fields, replace
from pathlib import Path

import pytest

import budgetguard
from budgetguard import Budget, BudgetManager, ConfigError, PriceBook, Settings
from budgetguard.config import OF_TESTS, Config, load_config, unmanaged, variables
from budgetguard.config.forms import forms, variable
from budgetguard.config.unmanaged import Unmanaged
from budgetguard.errors import BudgetExceededError, StoreError, UnknownUserError
from budgetguard.sdks.install import default_guard
from budgetguard.stores.sqlite.schema import APPLICATION_ID
from tests.support import ROOT

pytestmark = pytest.mark.usefixtures("here")

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
    assert config.where == {
        "store": "budgetguard.toml: store",
        "project": "budgetguard.toml: project",
        "prices": "budgetguard.toml: prices",
        "budgets": "budgetguard.toml: [[budgets]]",
    }
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


def test_a_file_is_found_upwards_and_its_paths_begin_where_it_lies(file, here, monkeypatch):
    """A program is started from anywhere below its project, and means the same books."""
    file.write_text(FILE + "\n[settings]\njournal = 'waiting'\n")
    below = here / "src" / "deep"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)
    config = load_config({})

    assert (config.store, config.prices) == (f"sqlite:///{here}/budgets.db", here / "prices.toml")
    assert config.settings().journal == f"{here}/waiting"
    assert config.where["store"] == f"{file}: store"
    (below.parent / "budgetguard.toml").write_text("")
    nearest = load_config({})
    assert (nearest.store, nearest.budgets) == (None, ())
    assert nearest.url == f"sqlite:///{below.parent}/budgetguard.db"


@pytest.mark.parametrize(
    ("stated", "placed"),
    [
        ("sqlite:///data/a b.db?synchronous=normal", "sqlite:///{here}/data/a%20b.db?synchronous=normal"),
        ("sqlite:///data/a%20b.db", "sqlite:///{here}/data/a%20b.db"),
        ("sqlite:////var/lib/budgets.db", "sqlite:////var/lib/budgets.db"),
        ("sqlite:///:memory:", "sqlite:///:memory:"),
        ("memory://", "memory://"),
        ("redis://host/0", "redis://host/0"),
    ],
)
def test_only_a_relative_file_is_moved_beside_its_settings(here, monkeypatch, stated, placed):
    """Options and quoting are kept, and no other store has a place in a directory."""
    (here / "budgetguard.toml").write_text(f"store = '{stated}'")
    (here / "below").mkdir()
    monkeypatch.chdir(here / "below")

    assert load_config({}).store == placed.replace("{here}", str(here))


def test_a_table_of_pyproject_says_the_same(here, monkeypatch):
    """One that has none is not asked; where both are, budgetguard.toml is, and what is passed over can be told."""
    (here / "pyproject.toml").write_text(
        "[tool.budgetguard]\nproject = 'shop'\nstore = 'sqlite:///b.db'\n"
        "[tool.budgetguard.settings]\nttl_ms = 5\n[[tool.budgetguard.budgets]]\nname = 'x'\nlimit = 1\n"
    )
    below = here / "below"
    below.mkdir()
    (below / "pyproject.toml").write_text("[project]\nname = 'x'\ndependencies = ['budgetguard-llm']\n[tool.ruff]\n")
    monkeypatch.chdir(below)
    config = load_config({})

    assert (config.project, config.store) == ("shop", f"sqlite:///{here}/b.db")
    assert ([rule.name for rule in config.budgets], config.settings()) == (["x"], Settings(ttl_ms=5))
    assert config.where["project"] == f"{here}/pyproject.toml: [tool.budgetguard] project"
    assert config.file.passed_over is None
    (here / "budgetguard.toml").write_text("project = 'own'")
    both = load_config({})
    assert (both.project, both.store, both.file.passed_over) == ("own", None, here / "pyproject.toml")
    assert load_config({"BUDGETGUARD_CONFIG": str(here / "pyproject.toml")}).project == "shop"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[tool]\nbudgetguard = 5", r"pyproject\.toml: \[tool\.budgetguard\] 5: a table"),
        ("[tool.budgetguard]\nstroe = 'x'", r"pyproject\.toml: \[tool\.budgetguard\] 'stroe' is no setting"),
        ("[tool.budgetguard]\nstore = 5", r"pyproject\.toml: \[tool\.budgetguard\] store=5"),
        ("[tool.budgetguard", r"pyproject\.toml: cannot be read as TOML"),
    ],
)
def test_a_table_that_cannot_be_used_is_an_error(here, text, said):
    """A budget that is silently not applied would be worse."""
    (here / "pyproject.toml").write_text(text)
    with pytest.raises(ConfigError, match=f"^{said}"):
        load_config({})


def test_a_pyproject_that_is_named_needs_the_table(here):
    """It was named for what it says."""
    (here / "pyproject.toml").write_text("[project]\nname = 'x'\n")
    with pytest.raises(ConfigError, match=r"no table \[tool\.budgetguard\]"):
        load_config({"BUDGETGUARD_CONFIG": "pyproject.toml"})


def test_an_argument_wins_over_the_environment(file):
    """Each for itself, and what is said where can be told."""
    environ = {"BUDGETGUARD_STORE": "memory://", "BUDGETGUARD_PROJECT": "staging"}
    config = load_config(environ, store="sqlite:///mine.db")

    assert (config.store, config.project, config.prices) == ("sqlite:///mine.db", "staging", Path("prices.toml"))
    assert (config.where["store"], config.where["project"]) == ("argument", "BUDGETGUARD_PROJECT")


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


def test_without_a_store_only_the_limits_of_the_process_hold(here):
    """And no file is made for them."""
    budgetguard.patch()

    assert default_guard().store is None
    assert list(here.iterdir()) == []


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
        "BUDGETGUARD_UNSCOPED": "refuse",
        "BUDGETGUARD_USERS": "known",
        "BUDGETGUARD_UNPRICED": "assume",
        "BUDGETGUARD_AUTO_TIER": "priority",
    }
    config = load_config(environ)

    assert config.settings() == replace(STATED, output_guess=9, allowance="2.50", unscoped="refuse", users="known")
    assert config.price_book().quote(None, "gpt-5").output_pico(0) == 20_000_000


def test_every_variable_that_is_read_is_known():
    """Else `doctor` calls it a mistake, and tells people to take away what holds."""
    texts = [
        path for room in ("budgetguard", "tests", "benchmarks", "examples") for path in (ROOT / room).rglob("*.py")
    ]
    texts += [ROOT / "Makefile", ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    named = {name for path in texts for name in re.findall(r"\bBUDGETGUARD_[A-Z]\w*", path.read_text("utf-8"))}
    mistyped = {"BUDGETGUARD_STROE"}  # on purpose
    assert {name for name in named - mistyped if not name.startswith(OF_TESTS)} - set(variables()) == set()


def test_a_field_of_settings_is_a_setting_outside():
    """One that is added is known in the file, the environment and the command line at once."""
    assert set(forms()) == {field.name for field in fields(Settings)} | {"auto_tier", "price_list"}
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
        Unmanaged(load_config(environ))


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


def test_rules_hold_in_the_default_store_where_none_is_named(here):
    """As they do for a manager: they would hold nowhere without one."""
    (here / "budgetguard.toml").write_text('[[budgets]]\nname = "x"\nlimit = 1')
    budgetguard.patch()

    assert default_guard().store.journal == f"{here}/budgetguard.db-unsettled"
    assert [rule.name for rule in default_guard().budgets] == ["x"]


@pytest.mark.parametrize("store", ["", 'store = "sqlite:///budgets.db"\n'])
def test_users_can_be_known_to_a_program_that_names_no_manager(here, ask, set_budget, store):
    """Those of the store that is named, or else of the default one, as a rule would have it."""
    (here / "budgetguard.toml").write_text(f'{store}[settings]\nusers = "known"\n')
    budgetguard.patch()

    with pytest.raises(UnknownUserError, match="'ann' has no budget"):
        ask()
    set_budget("ann", 1)
    ask()


def test_two_rules_of_one_name_are_an_error(here):
    """They would share their accounts."""
    rule = '[[budgets]]\nname = "x"\nlimit = 1\n'
    (here / "budgetguard.toml").write_text('store = "memory://"\n' + rule + rule)
    with pytest.raises(ConfigError, match="'x' is taken"):
        budgetguard.patch()
    with pytest.raises(ConfigError, match="'x' is taken"):
        BudgetManager("shop")


# -- programs that name no manager -----------------------------------------------------------------------------------


@pytest.fixture
def ask(provider):
    """Makes a call for ann, in a scope and nothing else; what it cost."""
    with provider.client(max_retries=0) as client:

        def call():
            with budgetguard.budget(user="ann") as scope:
                client.chat.completions.create(
                    model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], max_tokens=100
                )
            return scope.spent

        yield call


@pytest.fixture
def at_every_call(monkeypatch):
    """The default store is looked for at every call, not once a second."""
    monkeypatch.setattr(unmanaged, "LOOK_S", 0)


@pytest.fixture
def set_budget():
    """What `budgetguard budget set` does, from another program."""

    def put(user, limit, project="default", **where):
        manager = BudgetManager(project, **where)
        manager.create_budget(limit, user)
        manager.close()

    return put


@pytest.mark.parametrize("patched", [True, False])
def test_a_budget_in_the_default_store_holds_for_a_program_that_names_none(ask, set_budget, patched):
    """One that was set on the command line, beside a program with `patch()`, or a scope, and no manager."""
    set_budget("ann", 0)
    if patched:
        budgetguard.patch()

    with pytest.raises(BudgetExceededError, match="users/ann"):
        ask()


def test_the_default_store_is_found_once_it_is_there_and_never_made(ask, set_budget, here, at_every_call):
    """A program that runs since before somebody set the first budget is stopped all the same."""
    budgetguard.patch()
    budgetguard.max_budget = 5
    spent = ask()
    assert list(here.iterdir()) == []

    set_budget("ann", 0)
    with pytest.raises(BudgetExceededError, match="users/ann"):
        ask()
    assert budgetguard._current_cost == float(spent)


def test_the_default_store_is_looked_for_once_a_second_at_most(ask, set_budget, monkeypatch):
    """A call must not ask the disk each time for what is not there."""
    monkeypatch.setattr(unmanaged, "LOOK_S", 1e9)
    budgetguard.patch()
    ask()
    set_budget("ann", 0)
    ask()

    default = Unmanaged(load_config({}))
    assert default.look().store is not None
    assert default.look_s == float("inf")


def test_a_program_keeps_to_the_directory_that_it_began_in(ask, set_budget, here, monkeypatch, at_every_call):
    """One that goes elsewhere has not changed its budgets."""
    budgetguard.patch()
    elsewhere = here / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    set_budget("ann", 0)
    ask()
    set_budget("ann", 0, store=f"sqlite:///{here}/budgetguard.db")

    with pytest.raises(BudgetExceededError, match="users/ann"):
        ask()


def test_a_directory_whose_name_is_no_text_has_budgets_like_any_other(ask, set_budget, here, monkeypatch):
    """Its letters are another locale's, or this one has none but ASCII: `patch()` must not fail for that."""
    home = here / os.fsdecode(b"caf\xe9 50%20")
    try:
        home.mkdir()
    except OSError:
        pytest.skip("file names are always text here")
    monkeypatch.chdir(home)
    set_budget("ann", 0)
    budgetguard.patch()

    with pytest.raises(BudgetExceededError, match="users/ann"):
        ask()
    assert (home / "budgetguard.db").exists()


def test_a_scope_alone_acts_by_the_settings(file, ask, set_budget):
    """The store, the project and the rules: as after `patch()`."""
    set_budget("ann", 0, "shop")

    with pytest.raises(BudgetExceededError, match="users/ann"):
        ask()
    assert [rule.name for rule in default_guard().budgets] == ["free", "search"]


def test_the_only_project_of_a_file_is_meant_by_who_names_none(ask, set_budget):
    """A manager has named it before, and the command line takes it, too; "default" is, where it is there."""
    set_budget("ann", 0, "shop")
    with pytest.raises(BudgetExceededError, match="users/ann"):
        ask()
    assert BudgetManager().project_name == "shop"

    set_budget("ann", 1)
    assert BudgetManager().project_name == "default"


@pytest.mark.parametrize("managed", [True, False])
def test_a_program_that_could_mean_several_projects_is_told(ask, set_budget, caplog, managed):
    """The budgets of their users do not hold in a third one."""
    set_budget("ann", 0, "shop")
    set_budget("ann", 0, "lab")
    (BudgetManager if managed else ask)()

    [said] = [record.getMessage() for record in caplog.records if "none of them is named" in record.getMessage()]
    assert "budgetguard.db has the projects 'lab', 'shop'" in said
    assert "calls count in project 'default'" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("budgets.db", "budgetguard.toml: store: a store is named by a URL"),
        ("sqlite:///missing/budgets.db", "budgetguard.toml: store: .*the directory .*missing does not exist"),
        ("redis://host?strict=2", "budgetguard.toml: store: strict=2"),
    ],
)
@pytest.mark.parametrize("opens", [budgetguard.patch, BudgetManager])
def test_a_store_that_cannot_be_is_an_error_with_its_place(here, monkeypatch, text, said, opens):
    """Whoever reads it need not know which of many files was found."""
    (here / "budgetguard.toml").write_text(f'store = "{text}"\n')
    with pytest.raises(ConfigError, match=f"^{said}"):
        opens()
    monkeypatch.setenv("BUDGETGUARD_STORE", text)
    with pytest.raises(ConfigError, match=r"^BUDGETGUARD_STORE: "):
        opens()


def test_a_manager_may_leave_its_project_to_the_settings(file, monkeypatch):
    """So that it is said in one place; `None` is a value that somebody forgot."""
    assert BudgetManager(store="memory://").project_name == "shop"
    monkeypatch.setenv("BUDGETGUARD_PROJECT", "staging")
    assert BudgetManager(store="memory://").project_name == "staging"
    assert BudgetManager("mine", store="memory://").project_name == "mine"


def test_a_default_file_that_cannot_be_used_is_told_before_a_call(ask, here):
    """What can never be a store at once; what may be mended meanwhile by each call, until it is."""
    (here / "budgetguard.db").write_bytes(b"no database at all, " * 100)
    with pytest.raises(ConfigError, match="not a SQLite database"):
        budgetguard.patch()

    (here / "budgetguard.db").unlink()
    with closing(sqlite3.connect(here / "budgetguard.db")) as newer:
        newer.executescript(f"PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version=99;")
    budgetguard.patch()
    for _ in range(2):
        with pytest.raises(StoreError, match="newer version"):
            ask()
    (here / "budgetguard.db").unlink()
    assert ask() > 0


def test_work_in_the_background_is_known_to_the_guard_that_finds_the_store(provider, set_budget, at_every_call):
    """A response that was begun before settles on the scope's limit when a look shows its end."""
    budgetguard.patch()
    budgetguard.max_budget = 1
    with provider.client(max_retries=0) as client:
        begun = client.responses.create(model="gpt-4o-mini", input="hi", background=True, max_output_tokens=100)
        set_budget("bob", 1)
        while client.responses.retrieve(begun.id).status != "completed":
            pass
    assert budgetguard._current_cost > 0
