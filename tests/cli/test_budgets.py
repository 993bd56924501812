"""`budgetguard budgets` and `users`: how far each budget is, sorted and narrowed, in bars, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import time
from contextlib import closing
from pathlib import Path

import pytest

from budgetguard import Budget
from budgetguard.budgets.steering.audit import Author
from budgetguard.budgets.steering.declared import declare
from budgetguard.budgets.steering.office import Steering
from budgetguard.budgets.users import Users
from budgetguard.cli.budgets.lines import BudgetLine, chosen
from budgetguard.cli.common.tables import BarCell
from budgetguard.ledger import Entry, Hold, Terms, new_id
from budgetguard.stores.sqlite.store import SQLiteStore
from tests.support.commands import exit_code

DOLLAR = 10**9
SPENT = {"ann": 1, "bob": 9, "chen": 10, "dora": 2, "emre": 12, "=fay": 0}
"""Dollars, of ten."""


@pytest.fixture
def standing_db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Six users, one in each state, and a rule in tokens."""
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path}/standing.db"
    monkeypatch.setenv("BUDGETGUARD_STORE", url)
    with closing(SQLiteStore(tmp_path / "standing.db", namespace="default")) as store:
        users, now_ms = Users(store), store.now_ms()
        tokens = Budget("tokens", 1000, "monthly", unit="tokens")
        declare(store, [tokens])
        for user, dollars in SPENT.items():
            users.put(user, Budget("users", 10, "monthly"))
            keys = (users.get(user).account(now_ms).key, tokens.account_of("", now_ms).key)
            said = Entry(new_id(), dollars * DOLLAR, keys, now_ms, {"user": user}, units={"tokens": 10})
            store.load(entries=[said])
        office = Steering(users, Author("ines", "cli"))
        office.pause("dora")
        office.raise_limit("emre", "20")
        store.reserve(Hold(new_id(), (users.get("=fay").account(now_ms),), 10 * DOLLAR))
    return url


def who(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    """The users that `users` shows, in its order."""
    assert exit_code("users", *arguments, "--json") == 0
    return [each["user"] for each in json.loads(capsys.readouterr().out)]


def test_the_fullest_is_found_without_reading_all(standing_db: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Who is to be asked, or helped, stands first."""
    assert who(capsys) == ["=fay", "ann", "bob", "chen", "dora", "emre"]
    assert who(capsys, "--sort", "used")[:3] == ["=fay", "chen", "bob"]
    assert who(capsys, "--sort", "spent", "--top", "2") == ["emre", "chen"]
    assert who(capsys, "--sort", "left")[-1] == "ann"
    assert who(capsys, "--sort", "name") == sorted(SPENT)


@pytest.mark.parametrize(
    ("state", "user"),
    [("ok", "ann"), ("near", "bob"), ("spent", "chen"), ("paused", "dora"), ("raised", "emre"), ("busy", "=fay")],
)
def test_each_state_is_asked_for_by_its_name(
    standing_db: str, capsys: pytest.CaptureFixture[str], state: str, user: str
) -> None:
    """The words are those of the page, of alerts and of refusals."""
    assert who(capsys, "--state", state) == [user]


def test_a_state_that_there_is_none_of_is_said_to_be_none(standing_db: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An empty list and a word that is misspelt are not the same."""
    assert exit_code("users", "--state", "spend") == 2
    assert "use ok, near, busy, raised, spent, paused" in capsys.readouterr().err
    assert exit_code("budgets", "--state", "raised", "--state", "paused", "--sort", "name") == 0
    shown = capsys.readouterr().out
    assert [line.split()[1] for line in shown.splitlines() if "users" in line] == ["dora", "emre"]
    assert exit_code("budget", "restore", "dora") == 0
    capsys.readouterr()
    assert exit_code("users", "--state", "paused") == 0
    assert capsys.readouterr().out == "None is in such a state.\n"


def test_bars_show_what_is_spent_held_and_left(standing_db: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Spent money is gone, held money may come back."""
    assert exit_code("users") == 0
    shown = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if "$" in line}

    assert ("█" * 4 + "░" * 36) in shown["ann"]
    assert "▒" * 40 in shown["=fay"]
    assert BarCell(5, 10, track="░", held=3).text(10).plain == "█████▒▒▒░░"
    assert BarCell(0, 1000, track="░", held=1).text(10).plain == "▒░░░░░░░░░"
    assert BarCell(10, 10, track="░", held=5).text(4).plain == "████"


def test_csv_opens_in_a_spreadsheet_each_amount_in_its_unit(
    standing_db: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Dollars with all digits, tokens as they are, and no name is a formula."""
    assert exit_code("budgets", "--csv") == 0
    rows = {(row["budget"], row["for"]): row for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}

    assert rows["users", "'=fay"]["held"] == "10.00"
    assert [rows["users", "bob"][name] for name in ("spent", "left", "used", "state")] == [
        "9.00",
        "1.00",
        "0.9000",
        "near",
    ]
    assert [rows["tokens", ""][name] for name in ("unit", "spent", "limit")] == ["tokens", "60", "1000"]


def test_units_are_not_compared_with_each_other(standing_db: str) -> None:
    """A thousand tokens are not more than a dollar's nano-dollars, nor less."""
    lines = [
        BudgetLine(unit, "", unit, spent, 0, 100, 100 - spent, "ok", "", None)
        for unit, spent in (("tokens", 9), ("dollars", 1), ("tokens", 99), ("dollars", 7))
    ]
    assert [(line.unit, line.spent) for line in chosen(lines, (), "spent")] == [
        ("dollars", 7),
        ("dollars", 1),
        ("tokens", 99),
        ("tokens", 9),
    ]
    assert [line.spent for line in chosen(lines, (), "left")] == [7, 1, 99, 9]


def test_ten_thousand_users_are_shown_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever looks for one does not wait: it takes about a second; ten times as much would be a fault of ours."""
    with closing(SQLiteStore(tmp_path / "many.db", namespace="default", durable=False)) as store:
        users = Users(store)
        users.put("first", Budget("users", 10, "monthly"))
        [terms] = store.all_terms("users/")
        store.load(terms=[Terms(f"users/{number:05d}", 1, terms.body) for number in range(10_000)])
    began = time.process_time()
    assert exit_code("users", "--store", f"sqlite:///{tmp_path}/many.db") == 0
    assert time.process_time() - began < 10
    assert sum("monthly" in line for line in capsys.readouterr().out.splitlines()) == 10_001
