"""Users' budgets as CSV: what is clear is taken over, what is not is refused with its line and column."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from budgetguard import BudgetManager, Money
from budgetguard.budgets.periods import Period
from budgetguard.budgets.rules import UserBudget, user_rule
from budgetguard.budgets.said.sheet import plan_sheet, read_sheet, write_sheet
from budgetguard.cli import main
from budgetguard.cli.books.sheets import import_sheet
from budgetguard.errors import ConfigError, StoreError
from budgetguard.ledger import Terms
from budgetguard.stores.sqlite.store import SQLiteStore

Run: TypeAlias = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BudgetManager]:
    """A file with ann's $10 a month, of which $0.0075 are spent."""
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("BUDGETGUARD_")]:
        monkeypatch.delenv(name)
    made = BudgetManager("default", store="sqlite:///budgets.db")
    made.set_budget("ann", 10, "monthly", timezone="Europe/Berlin", warn_at=0.8)
    made.update_cost("ann", {"model": "gpt-4o", "usage": {"prompt_tokens": 1000, "completion_tokens": 500}})
    yield made
    made.close()


@pytest.fixture
def run(shop: BudgetManager, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command there; its exit code, what it printed, and what it complained of."""

    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main([*arguments, "--store", "sqlite:///budgets.db"])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def budgets(manager: BudgetManager) -> dict[str, tuple[int | None, str, str, str, str]]:
    """What each user has."""
    return {
        own.user: (own.rule.limit, own.rule.unit, own.rule.period.name, own.rule.period.timezone, own.rule.enforce)
        for own in manager.users.all()
    }


def test_a_sheet_gives_budgets_and_the_spend_stays(shop: BudgetManager, run: Run) -> None:
    """Who has one keeps what the sheet says nothing of; the audit has the line that it came from."""
    Path("budgets.csv").write_text(
        "user,limit,unit,enforce\nann,20,,\nbob,5.50,dollars,soft\neve,1000,requests,\nzoë,none,,observe\n"
    )
    code, out, _ = run("import", "budgets.csv")

    assert (code, out) == (0, "budgets.csv: 3 were new, 1 changed, 0 the same.\n")
    assert budgets(shop) == {
        "ann": (20 * 10**9, "dollars", "monthly", "Europe/Berlin", "hard"),
        "bob": (5_500_000_000, "dollars", "forever", "UTC", "soft"),
        "eve": (1000, "requests", "forever", "UTC", "hard"),
        "zoë": (None, "dollars", "forever", "UTC", "observe"),
    }
    assert shop.users.get("ann").rule.warn_at == (0.8,)
    assert shop.get_current_cost("ann") == 0.0075
    assert shop.changes("ann", limit=1)[0].note == "budgets.csv, line 2"
    assert run("import", "budgets.csv")[1] == "budgets.csv: 0 were new, 0 changed, 4 the same.\n"


def test_a_dry_run_says_what_would_change_and_changes_nothing(shop: BudgetManager, run: Run) -> None:
    """Nobody gives a thousand people budgets without a look."""
    Path("budgets.csv").write_text("user,limit,period\nann,10,daily\nbob,5,weekly\n")
    before = budgets(shop)
    code, out, _ = run("import", "budgets.csv", "--dry-run")
    assert code == 0
    assert [line.split() for line in out.splitlines() if line[:4] in {" ann", " bob"}] == [
["bob", "new", "$5.00", "weekly"], ["ann", "period", "$10.00", "daily,", "Europe/Berlin"]
    ]  # fmt: skip
    assert "1 would be new, 1 changed, 0 the same. Nothing was written." in out
    assert "1 of them begins with nothing spent" in out

    found = json.loads(run("import", "budgets.csv", "--dry-run", "--json")[1])
    assert [(each["user"], each["what"], each["limit"]) for each in found["users"]] == [
        ("bob", "new", 5 * 10**9), ("ann", "changed", 10 * 10**9)
    ]  # fmt: skip
    assert (found["written"], found["users"][1]["before"]["period"]) == (False, "monthly")
    assert budgets(shop) == before


def test_what_a_spreadsheet_makes_of_it_is_read(shop: BudgetManager, run: Run) -> None:
    """Excel writes a mark, semicolons and decimal commas, or UTF-16 and tabs; names keep their letters."""
    text = "User;Limit;Warn at;spent\r\nann;12,50;50% 80%;0,01\r\n\r\n'=bob;1.234,56;;\r\n"
    Path("excel.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    Path("unicode.csv").write_bytes("user\tlimit\nzoë\t$7.25\n".encode("utf-16"))
    Path("marked.csv").write_text("sep=;\nuser;limit\nmarked;1,5\n")
    Path("mac.csv").write_bytes(b"\r\ruser;limit;warn_at\rmac;1,5;0,5 0,8 0,9\r")
    assert run("import", "excel.csv")[0] == run("import", "marked.csv")[0] == run("import", "mac.csv")[0] == 0
    assert run("import", "unicode.csv")[0] == 0

    found = {user: each[0] for user, each in budgets(shop).items()}
    assert found.pop("marked") == found.pop("mac") == 1_500_000_000
    assert found == {"ann": 12_500_000_000, "=bob": 1_234_560_000_000, "zoë": 7_250_000_000}
    assert shop.users.get("ann").rule.warn_at == (0.5, 0.8)


@pytest.mark.parametrize(
    ("lines", "complaint"),
    [
        ("user;limit\nann;1,000", "line 2, limit: '1,000' may be 1000 or 1.000"),
        ("user;limit\nann;1.000", "line 2, limit: '1.000' may be 1000 or 1.000"),
        ('user,limit\nann,"1,000"', "line 2, limit: '1,000' may be 1000 or 1.000"),
        ("user,limit,unit\nann,1.000,tokens", "line 2, limit: '1.000' may be"),
        ("user,limit\nann,", "line 2, limit: it is empty: write an amount, or none"),
        ("user,limit\nann,plenty", "line 2, limit: 'plenty' is no amount"),
        ("user,limit\nann,-5", "line 2, limit: '-5' is no amount"),
        ("user,limit\n,5", "line 2, user: it is empty"),
        ("user,limit\nann ,5", "line 2, user: 'ann ' has blanks"),
        ("user,limit\nbob,5\n\nbob,6", "line 4, user: 'bob' is in line 2 already"),
        ("user,limit\nbob,5,hard", "line 2: it has 3 cells, and there are 2 columns"),
        ("user,limit,period\nbob,5,fortnightly", "line 2, period: period='fortnightly' is no period"),
        ("user,limit,timezone\nbob,5,Mars/North", "line 2, timezone: timezone='Mars/North'"),
        ("user,limit,unit\nbob,5,euros", "line 2, unit: unit='euros'"),
        ("user,limit,unit\nbob,5.5,tokens", "line 2: limit='5.5', unit='tokens'"),
        ("user,limit,enforce\nbob,5,maybe", "line 2, enforce: enforce='maybe'"),
        ("user,limit,warn_at\nbob,5,1.5", "line 2: warn_at=1.5"),
        ("user,limit,warn_at\nbob,5,half", "line 2, warn_at: 'half' is no part"),
        ("user,limit,in_flight\nbob,5,x", "line 2, in_flight: 'x'"),
        ("user,limit,unit,period\nbob,5,parallel,daily", "line 2: unit='parallel', period='daily'"),
        ("user,limits\nbob,5", "line 1: no column is called 'limits': did you mean 'limit'?"),
        ("user,limit,limit\nbob,5,6", "line 1: the column 'limit' is there twice"),
        ("user,period\nbob,daily", "line 1: the column 'limit' is missing"),
        ("bob,5", "line 1: no column is called 'bob'"),
        ("", "line 1: the column 'user' is missing"),
        ('user,limit\n"bob"x,5', "line 2: "),
        ("user,limit\nbob\xff,5", "it is no UTF-8"),
    ],
)
def test_what_is_not_clear_is_refused_with_its_line_and_column(
    shop: BudgetManager, run: Run, lines: str, complaint: str
) -> None:
    """A limit that is a thousand times another is no matter of taste; and nothing of the sheet is written."""
    before = budgets(shop)
    Path("budgets.csv").write_bytes(lines.encode("latin-1"))
    code, out, err = run("import", "budgets.csv")

    assert (code, out) == (2, "")
    assert complaint in err
    assert budgets(shop) == before


def test_all_that_is_wrong_is_said_at_once_and_nothing_is_written(shop: BudgetManager, run: Run) -> None:
    """Whoever mends a sheet wants the list; a line that is right is not taken alone."""
    Path("budgets.csv").write_text("user,limit,unit\ngood,5,\nbob,x,\neve,5,euros\n")
    _, _, err = run("import", "budgets.csv")

    assert [line.partition(": ")[0] for line in err.removeprefix("error: ").splitlines()] == [
        "budgets.csv, line 3, limit", "budgets.csv, line 4, unit"
    ]  # fmt: skip
    assert "good" not in budgets(shop)


def test_what_is_exported_imports_as_the_same(shop: BudgetManager, run: Run) -> None:
    """The way back: a sheet of everybody, in which nothing is left to change."""
    shop.set_budget("eve", 1_000, "rolling 1m", unit="requests", enforce="soft")
    shop.set_budget("=1+1", None)
    assert run("export", "budgets.csv")[1] == "3 users written to budgets.csv.\n"

    assert Path("budgets.csv").read_text().splitlines()[:3] == [
        "user,limit,period,timezone,unit,enforce,warn_at,on_expire,in_flight",
        "'=1+1,none,forever,UTC,dollars,hard,,release,",
        "ann,10.00,monthly,Europe/Berlin,dollars,hard,0.8,release,",
    ]
    assert run("import", "budgets.csv", "--dry-run")[1].startswith(
        "budgets.csv: 0 would be new, 0 changed, 3 the same."
    )


RULES = st.builds(
    lambda limit, unit, period, zone, enforce, warn_at, in_flight: user_rule(
        limit if limit is None or unit != "dollars" else Money(limit),
        None if unit == "parallel" else Period.parse(period, zone),
        unit=unit, enforce=enforce, warn_at=() if limit is None else warn_at, in_flight=in_flight,
    ),
    st.none() | st.integers(0, 10**15),
    st.sampled_from(["dollars", "tokens", "requests", "parallel"]),
    st.sampled_from([None, "daily", "yearly", "rolling 90m"]),
    st.sampled_from([None, "Asia/Tokyo"]),
    st.sampled_from(["hard", "soft", "observe"]),
    st.lists(st.floats(0.001, 1), max_size=3).map(tuple),
    st.none() | st.integers(1, 99),
)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip), RULES))
def test_any_budget_and_any_name_go_there_and_back(rules: dict[str, object]) -> None:
    """Names are anybody's: quotes, lines, formulas; and no amount loses a digit."""
    made = {user: UserBudget(user, rule, 0.0, 0.0) for user, rule in rules.items()}  # type: ignore[arg-type]
    lines = read_sheet(write_sheet(made.values()).encode(), "sheet")
    planned = plan_sheet("sheet", lines, made.get)

    assert (len(planned.new), len(planned.changed), planned.same) == (0, 0, len(made))
    assert {line.user: rule for line, rule in plan_sheet("sheet", lines, lambda user: None).new} == rules


def test_the_list_of_users_goes_back_in(shop: BudgetManager, run: Run) -> None:
    """Who edits `users --csv` and imports it elsewhere loses neither zone nor strictness nor a name."""
    shop.set_budget("eve", 1_000, "rolling 1m", unit="requests", enforce="soft")
    for name in ("'=q", "=q", " led", "no limit", "'ann "):
        shop.set_budget(name, None if name == "no limit" else 5, "daily", timezone="Asia/Tokyo", enforce="observe")
    Path("users.csv").write_text(run("users", "--csv")[1])
    assert run("import", "users.csv", "--project", "elsewhere")[0] == 0

    other = BudgetManager("elsewhere", store="sqlite:///budgets.db")
    assert budgets(other) == budgets(shop)
    other.close()


def test_a_long_sheet_is_written_many_lines_at_a_time(shop: BudgetManager, run: Run) -> None:
    """A store that takes milliseconds for a line takes as long for many together: a long sheet is not a long wait."""
    at_once, most, lock = 0, 0, threading.Lock()
    together = threading.Event()

    class Watched(SQLiteStore):
        def put_terms(self, key: str, body: str | None, *, expected: int | None = None) -> Terms | None:
            nonlocal at_once, most
            with lock:
                at_once += 1
                most = max(most, at_once)
                if at_once == 8:
                    together.set()
            together.wait(10)
            with lock:
                at_once -= 1
            return super().put_terms(key, body, expected=expected)

    Path("many.csv").write_text("user,limit\n" + "".join([f"u{number},5\n" for number in range(40)]))
    manager = BudgetManager("default", store=Watched("budgets.db", namespace="default"))
    planned = import_sheet(manager, Path("many.csv"), dry_run=False)
    manager.close()

    assert most >= 8
    assert len(planned.new) == 40 == len(budgets(shop)) - 1


def test_a_sheet_that_cannot_be_written_on_stops(shop: BudgetManager) -> None:
    """A store that goes away is said at the first line: the others are not tried one by one."""
    asked = list[str]()

    class Away(SQLiteStore):
        def put_terms(self, key: str, body: str | None, *, expected: int | None = None) -> Terms | None:
            asked.append(key)
            raise StoreError("away")

    Path("many.csv").write_text("user,limit\n" + "".join([f"u{number},5\n" for number in range(2_000)]))
    manager = BudgetManager("default", store=Away("budgets.db", namespace="default"))
    with pytest.raises(StoreError, match="away"):
        import_sheet(manager, Path("many.csv"), dry_run=False)
    manager.close()
    assert len(asked) < 2_000


def test_a_file_that_is_not_there_is_said(run: Run) -> None:
    """As of LiteLLM's, which goes on working by its own name; the two cannot be mistaken for each other."""
    assert "missing.csv: cannot be read" in run("import", "missing.csv")[2]
    assert run("export", "user_cost.json")[0] == 0
    assert run("import", "user_cost.json")[1] == "1 user taken over from user_cost.json.\n"
    assert "are for budgets as CSV" in run("import", "user_cost.json", "--dry-run")[2]
    with pytest.raises(ConfigError):
        read_sheet(b'{"ann": {"total_budget": 5}}', "user_cost.json")
