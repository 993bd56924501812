"""Which budgets a command is about: where it finds them, what it says if there is nothing, and `config`."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from budgetguard import Budget, BudgetManager
from budgetguard.budgets.running import running
from budgetguard.config import load_config
from budgetguard.stores import open_store
from budgetguard.testing import StoppedClock
from tests.support import ENVIRONMENT, servers
from tests.support.commands import exit_code

pytestmark = pytest.mark.usefixtures("here")

READING = [
    ("users",),
    ("spend",),
    ("budgets",),
    ("budget", "show", "ann"),
    ("budget", "rm", "ann"),
    ("holds",),
    ("jobs",),
    ("check",),
    ("export", "out.json"),
    ("keys", "list"),
    ("copy", "sqlite:///budgetguard.db", "sqlite:///other.db"),
]


@pytest.fixture
def cli(capsys):
    """Runs a command; gives its exit code, what it printed, and what it complained of."""

    def run(*arguments):
        code = exit_code(*arguments)
        return (code, *capsys.readouterr())

    return run


def spent(project, *, store=None, calls=1):
    """A project in which ann has a budget, and spent $0.0075 a call."""
    manager = BudgetManager(project, store=store)
    manager.create_budget(10, "ann")
    for _ in range(calls):
        manager.update_cost("ann", {"model": "gpt-4o", "usage": {"prompt_tokens": 1000, "completion_tokens": 500}})
    manager.close()


@pytest.mark.parametrize("command", READING, ids=" ".join)
def test_who_reads_a_file_that_is_not_there_is_told_and_none_is_made(command, cli, here):
    """Nothing would be taken for an answer: a budget in another place, say, for no budget."""
    code, out, err = cli(*command)

    assert (code, out) == (2, "")
    assert f"sqlite:///budgetguard.db ({'argument' if command[0] == 'copy' else 'nobody names another'})" in err
    assert f"is not there: {here}/budgetguard.db." in err
    assert list(here.iterdir()) == []


def test_a_url_without_a_file_is_told_what_it_lacks(cli):
    """It is not a file that the first call would make."""
    code, _, err = cli("spend", "--store", "sqlite://")
    assert code == 2
    assert "a SQLite file is sqlite:///budgets.db" in err


def test_doctor_says_that_a_store_is_not_there(cli, here, monkeypatch):
    """Fresh from the installation that is as it should be; a store that somebody names is missed."""

    def store():
        code, out, _ = cli("doctor", "--json")
        [found] = [each for each in json.loads(out) if each["check"] == "store"]
        return code, found["state"], found["text"]

    code, state, text = store()
    assert (code, state) == (0, "warn")
    assert text.startswith("sqlite:///budgetguard.db is not there yet")
    monkeypatch.setenv("BUDGETGUARD_STORE", "sqlite:///budgets.db")
    code, state, text = store()
    assert (code, state) == (1, "fail")
    assert "sqlite:///budgets.db (BUDGETGUARD_STORE) is not there" in text
    assert list(here.iterdir()) == []


def test_a_command_takes_the_only_project_of_a_file_and_says_so(cli):
    """What a program spent is shown right after it ran, whatever it calls its project."""
    spent("shop")
    code, out, err = cli("spend", "--json")

    assert (code, json.loads(out)[0]["cost"]) == (0, 7_500_000)
    assert err == "budgetguard: project 'shop', the only one in sqlite:///budgetguard.db; --project names another\n"
    assert cli("budget", "set", "ann", "0")[0] == 0
    assert BudgetManager("shop").get_total_budget("ann") == 0
    assert cli("users", "--project", "shop")[2] == ""


def test_an_empty_answer_names_the_store_and_the_projects_that_are_there(cli):
    """On stderr, so that programs read what they did."""
    spent("shop")
    spent("lab", calls=0)
    for command in ("users", "spend", "holds", "jobs"):
        code, out, err = cli(command, "--json")
        assert (code, json.loads(out)) == (0, [])
        assert err == (
            "budgetguard: this is project 'default' of sqlite:///budgetguard.db; "
            "it has 'lab', 'shop': --project names one\n"
        )
    assert cli("spend", "--project", "lab")[2] == "budgetguard: this is project 'lab' of sqlite:///budgetguard.db\n"


def test_a_budget_is_not_set_in_a_project_that_nobody_means(cli):
    """It would hold for no program; who means a new one says so."""
    spent("shop")
    spent("lab", calls=0)
    code, _, err = cli("budget", "set", "ann", "0")

    assert code == 2
    assert "--project is missing: sqlite:///budgetguard.db has 'lab', 'shop'; name one" in err
    assert cli("budget", "set", "ann", "0", "--project", "default")[0] == 0
    assert cli("budget", "set", "ann", "0")[0] == 0


@pytest.mark.parametrize("name", servers.NAMES)
def test_a_server_is_asked_for_its_projects_where_there_is_nothing(name, cli):
    """No project of it is taken for the one that is meant, as programs cannot count on its answer."""
    url = servers.running(name)
    spent("cli-config", store=url)
    _, _, err = cli("users", "--store", url, "--project", "cli-config-nobody")

    assert "'cli-config'" in err.partition("it has ")[2]
    assert "this is project 'cli-config-nobody' of" in err


def test_config_shows_each_value_and_who_says_so(cli, here, monkeypatch):
    """Argument, variable, file and default; no password, no key."""
    (here / "prices.toml").write_text("")
    (here / "budgetguard.toml").write_text(
        'project = "shop"\nprices = "prices.toml"\n[settings]\nttl_ms = 5\n[[budgets]]\nname = "x"\nlimit = 1\n'
    )
    monkeypatch.setenv("BUDGETGUARD_OUTPUT_GUESS", "9")
    monkeypatch.setenv("BUDGETGUARD_KEY", "bg-secret")
    arguments = ("config", "--store", "redis://ann:s3cret@host/0")
    code, out, _ = cli(*arguments, "--json")
    told = json.loads(out)
    values = {each["name"]: (each["value"], each["origin"]) for each in told["values"]}

    assert code == 0
    assert values["store"] == ("redis://host/0", "argument")
    assert values["project"] == ("shop", "budgetguard.toml: project")
    assert values["prices"] == (f"{here}/prices.toml", "budgetguard.toml: prices")
    assert values["budgets"] == (["x"], "budgetguard.toml: [[budgets]]")
    assert values["ttl_ms"] == (5, "budgetguard.toml: [settings] ttl_ms")
    assert values["output_guess"] == (9, "BUDGETGUARD_OUTPUT_GUESS")
    assert values["abandoned"] == ("auto", "default")
    assert values["key"][1] == "BUDGETGUARD_KEY"
    assert told["file"] == f"{here}/budgetguard.toml"
    table = cli(*arguments)[1]
    assert "budgetguard.toml: project" in table
    assert not [secret for secret in ("s3cret", "bg-secret") if secret in out + table]


def test_config_says_where_it_looked(cli, here, monkeypatch):
    """And what it did not take up, as doctor does; it makes no file."""
    code, out, _ = cli("config", "--json")
    told = json.loads(out)
    values = {each["name"]: (each["value"], each["origin"]) for each in told["values"]}

    assert (code, told["file"]) == (0, None)
    assert told["looked_in"] == [str(here), *map(str, here.parents)]
    assert values["store"] == ("sqlite:///budgetguard.db", "default; not there yet")
    assert values["project"] == ("default", "default")
    assert list(here.iterdir()) == []
    assert str(here.parent) in cli("config")[1]

    spent("shop")
    (here / "budgetguard.toml").write_text("")
    (here / "pyproject.toml").write_text("[tool.budgetguard]\nproject = 'lab'\n")
    assert f"{here}/pyproject.toml is passed over" in cli("config")[1]
    _, out, _ = cli("config", "--json")
    values = {each["name"]: (each["value"], each["origin"]) for each in json.loads(out)["values"]}
    assert values["project"] == ("shop", "the only one in the store")
    [found] = [each for each in json.loads(cli("doctor", "--json")[1]) if each["check"] == "config"]
    assert found["state"] == "warn"
    assert "[tool.budgetguard] in pyproject.toml is not" in found["text"]


def test_prices_are_those_of_the_settings(cli, here):
    """What a call is priced at, and what the command shows, are of one file."""
    (here / "prices.toml").write_text('[models."our-own"]\ninput = 5\noutput = 10\n')
    (here / "budgetguard.toml").write_text('prices = "prices.toml"')
    code, out, _ = cli("prices", "our-own", "--json")

    assert code == 0
    assert {each["kind"]: each["dollars"] for each in json.loads(out)["prices"]} == {"input": 5.0, "output": 10.0}


def test_run_says_to_its_program_where_budgets_live(here):
    """Managers that it makes find the same books, also if it goes elsewhere first."""
    (here / "elsewhere").mkdir()
    program = Path("program.py")
    program.write_text(
        "import os, budgetguard\n"
        "os.chdir('elsewhere')\n"
        "manager = budgetguard.BudgetManager()\n"
        "manager.create_budget(1, 'ann')\n"
        "manager.close()\n"
    )
    words = ["run", "program.py", "--budget", "1", "--store", "sqlite:///mine.db", "--project", "shop"]
    ended = subprocess.run([sys.executable, "-m", "budgetguard.cli", *words], env=ENVIRONMENT, cwd=here)

    assert ended.returncode == 0
    assert BudgetManager("shop", store=f"sqlite:///{here}/mine.db").get_users() == ["ann"]


def test_budgets_shows_what_every_rule_and_user_has_taken(cli, here):
    """Rules of a program, too, whose limits it knows alone; what a user spends on a model is no budget."""
    (here / "budgetguard.toml").write_text(
        '[[budgets]]\nname = "free"\nlimit = 1\nperiod = "rolling 1h"\nper = ["user"]\n'
        '[[budgets]]\nname = "calls"\nlimit = 5\nperiod = "daily"\nunit = "requests"\n'
    )
    clock = StoppedClock()
    rules = [*load_config({}).budgets, Budget("old", 2, "daily"), Budget("all/of it", 3, "monthly")]
    manager = BudgetManager("shop", store="sqlite:///budgetguard.db", budgets=rules, clock=clock)
    for _ in range(2):
        manager.create_budget(10, "ann")
        manager.update_cost("ann", {"model": "gpt-4o", "usage": {"prompt_tokens": 1000, "completion_tokens": 500}})
        clock.advance(600)
    manager.close()
    now_ms = int(clock() * 1000)

    with closing(open_store("sqlite:///budgetguard.db", namespace="shop", clock=clock)) as store:
        found = {each.rule: each[:7] for each in running(store, load_config({}).budgets, now_ms)}
        unknown = {each.rule: each.period for each in running(store, (), now_ms)}
        later = [each.rule for each in running(store, (), now_ms + 86_400_000)]
    cost = 15_000_000
    assert found == {
        "all/of it": ("all/of it", "", "dollars", cost, 0, None, "2027-01"),
        "calls": ("calls", "", "requests", 2, 0, 5, "daily"),
        "free": ("free", "ann", "dollars", cost, 0, 1_000_000_000, "rolling 1h"),
        "old": ("old", "", "dollars", cost, 0, None, "2027-01-01"),
    }
    assert unknown["free"] == "rolling 1h"
    assert later == ["all/of it"]


def test_budgets_prints_them_for_people_and_programs(cli, here):
    """In one table, each amount in its unit."""
    (here / "budgetguard.toml").write_text('[[budgets]]\nname = "calls"\nlimit = 5\nunit = "requests"\n')
    spent("shop")
    code, out, _ = cli("budgets", "--json")
    [rule, own] = json.loads(out)

    assert code == 0
    assert (rule["budget"], rule["for"], rule["unit"], rule["spent"], rule["left"]) == ("calls", "", "requests", 1, 4)
    assert (own["budget"], own["user"], own["spent"], own["left"]) == ("users", "ann", 7_500_000, 9_992_500_000)
    lines = [" ".join(line.split()) for line in cli("budgets")[1].splitlines()]
    assert f"calls all 1 request 0 requests 5 requests 4 requests 20 % {'█' * 8}{'░' * 32} forever ok -" in lines
    assert f"users ann $0.0075 $0.00 $10.00 $9.99 < 1 % ▏{'░' * 39} forever ok -" in lines


def test_config_says_which_variable_names_the_prices(cli, here, monkeypatch):
    """An argument wins over it, so the two are not the same to whoever wonders why a price holds."""
    (here / "ours.toml").write_text("")
    monkeypatch.setenv("BUDGETGUARD_PRICES", "ours.toml")
    for given, origin in (((), "BUDGETGUARD_PRICES"), (("--prices", "ours.toml"), "argument")):
        _, out, _ = cli("config", *given, "--json")
        assert {each["name"]: each["origin"] for each in json.loads(out)["values"]}["prices"] == origin
