"""`budgetguard report`: the statement of a month adds up to the cent, says what it is worth, and no name breaks it."""

from __future__ import annotations

import csv
import io
import json
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetguard.cli.spending.report import MonthReport
from budgetguard.reports.reports import Reports
from budgetguard.reports.views.statement import CENT, nested_cents
from budgetguard.stores.sqlite.store import SQLiteStore
from budgetguard.testing import StoppedClock
from tests.support.commands import exit_code
from tests.support.history import at, entry

THIRD = 10**9 // 3
OCTOBER = [
    ("search", "ann", THIRD, {"estimated"}),
    ("search", "bob|x", THIRD, set()),
    ("search", "zoë", THIRD, set()),
    ("data", "=cmd", THIRD, {"unpriced"}),
    ("", "ann", 4_999_999, set()),
]


@pytest.fixture
def october(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project whose calls were all in October of 2025, but for one in the first hour of November in Berlin."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "october.db"
    monkeypatch.setenv("BUDGETGUARD_STORE", f"sqlite:///{file}")
    monkeypatch.setenv("BUDGETGUARD_PROJECT", "shop")
    store = SQLiteStore(file, namespace="shop")
    calls = [
        entry(
            f"c{number}",
            at("2025-10-20T10:00"),
            cost,
            tags={"user": user, **({"team": team} if team else {})},
            usage={"input_tokens": 10, "output_tokens": 1},
            flags=frozenset(flags),
        )
        for number, (team, user, cost, flags) in enumerate(OCTOBER)
    ]
    store.load(entries=[*calls, entry("late", at("2025-10-31T23:30"), 2 * 10**9, tags={"user": "ann", "team": "data"})])
    store.close()
    return file


def said(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What it printed."""
    assert exit_code("report", *arguments) == 0
    return capsys.readouterr().out


@given(st.lists(st.tuples(st.sampled_from("abcd"), st.integers(0, 30 * CENT)), max_size=40))
def test_subtotals_add_up_to_the_cent(lines: list[tuple[str, int]]) -> None:
    """Whoever adds up a team's lines gets its subtotal, and the subtotals are the total; none is a cent off or more."""
    costs = [cost for _, cost in lines]
    cents = nested_cents([first for first, _ in lines], costs, sum(costs))

    assert sum(cents) == (sum(costs) + CENT // 2) // CENT
    assert all(abs(each * CENT - cost) < CENT for each, cost in zip(cents, costs, strict=True))
    for team in {first for first, _ in lines}:
        places = [place for place, (first, _) in enumerate(lines) if first == team]
        assert abs(sum(cents[place] * CENT - costs[place] for place in places)) < CENT


def test_the_json_has_whole_nano_dollars_and_cents_that_add_up(
    october: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Programs book the one, people the other."""
    found = json.loads(said(capsys, "2025-10", "--by", "team", "--by", "user", "--json"))

    assert (found["project"], found["month"], found["complete"], found["agrees"]) == ("shop", "2025-10", True, True)
    assert found["total"]["cost"] == found["store_cost"] == 4 * THIRD + 4_999_999 + 2 * 10**9
    assert (found["total"]["cents"], found["total"]["estimated"], found["total"]["unpriced"]) == (334, 1, 1)
    assert sum(line["cents"] for line in found["lines"]) == 334
    for subtotal in found["subtotals"]:
        [team] = subtotal["names"].values()
        of = [line for line in found["lines"] if line["names"]["team"] == team]
        for field in ("cents", "cost", "calls", "input_tokens", "output_tokens", "estimated", "unpriced"):
            assert sum(line[field] for line in of) == subtotal[field]


def test_the_text_says_what_the_lines_are_worth(october: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A bill without its month, its zone and what is missing in it is no bill."""
    shown = said(capsys, "2025-10", "--by", "team", "--by", "user")

    assert shown.startswith("What shop spent in 2025-10, by team and user\n")
    assert "From 2025-10-01 00:00 UTC to 2025-11-01 00:00 UTC: the month of UTC. It is over.\n" in shown
    assert "The store's own sum is the same, to the nano-dollar.\n" in shown
    assert "Of 6 calls: 1 settled on an estimate, as no usage was reported; 1 had no known price.\n" in shown
    rows = [" ".join(line.split()) for line in shown.splitlines() if "$" in line]
    assert [row.partition(" %")[0] for row in rows] == [
        "data ann $2.00 60",
        "data =cmd $0.33 10",
        "data together $2.33 70",
        "search ann $0.34 10",
        "search bob|x $0.33 10",
        "search zoë $0.33 10",
        "search together $1.00 30",
        "(no team) ann $0.01 < 1",
        "(no team) together $0.01 < 1",
        "total $3.34 100",
    ]


def test_a_month_is_that_of_the_zone_and_the_last_whole_one_unless_it_is_named(
    october: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The call of half past midnight in Berlin is November's there."""
    assert json.loads(said(capsys, "2025-10", "--zone", "Europe/Berlin", "--json"))["total"]["cents"] == 134
    assert json.loads(said(capsys, "2025-11", "--zone", "Europe/Berlin", "--json"))["total"]["cents"] == 200
    now = datetime.now(ZoneInfo("Pacific/Kiritimati"))
    last = f"{now.replace(day=1) - timedelta(days=1):%Y-%m}"
    found = json.loads(said(capsys, "--zone", "Pacific/Kiritimati", "--json"))
    assert (found["month"], found["complete"]) == (last, True)


def test_csv_is_the_lines_alone_and_opens_in_a_spreadsheet(
    october: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Its own sum of them is the total; no name is a formula; and letters are those that were written."""
    assert said(capsys, "2025-10", "--csv", "--output", "october.csv") == "Written to october.csv.\n"
    written = (tmp_path / "october.csv").read_bytes()
    rows = list(csv.DictReader(io.StringIO(written.decode("utf-8-sig"))))

    assert written.startswith(b"\xef\xbb\xbf")
    assert [row["user"] for row in rows] == ["ann", "'=cmd", "bob|x", "zoë"]
    assert sum(Decimal(row["cents"]) for row in rows) == Decimal("3.34")
    assert sum(Decimal(row["cost"]) for row in rows) * 10**9 == 4 * THIRD + 4_999_999 + 2 * 10**9


def test_no_name_breaks_the_markdown(october: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe in a user's name would move her amount into another column."""
    shown = said(capsys, "2025-10", "--by", "user", "--markdown")
    rows = [line for line in shown.splitlines() if line.startswith("|")]

    assert shown.startswith("# What shop spent in 2025-10, by user\n\n")
    assert "| bob\\|x | $0.33 |" in shown
    assert {line.replace("\\|", "").count("|") for line in rows} == {7}
    assert rows[-1].startswith("| **total** | **$3.34** |")


def test_what_the_store_says_otherwise_is_said(october: Path) -> None:
    """Of a sum that is not the store's own, of a month that is running, and of one whose entries are gone."""
    clock = StoppedClock(at("2025-10-20T12:00") / 1000)
    with closing(SQLiteStore(october, namespace="shop", clock=clock)) as store:
        reports = Reports(store, clock=clock)
        running = MonthReport("shop", reports.statement("2025-10"), store.now_ms())
        to_come = MonthReport("shop", reports.statement("2025-11"), store.now_ms())
        clock.set(at("2025-12-01T12:00") / 1000)
        reports.refresh()
        store.prune(at("2025-10-21T00:00"))
        pruned = MonthReport("shop", reports.statement("2025-10"), store.now_ms())

    assert running.sentences()[0].endswith("It is still running: this is what was spent until 2025-10-20 12:00 UTC.")
    assert to_come.sentences()[0].endswith("It has not begun.")
    assert "Some of its entries were pruned" in pruned.sentences()[1]
    assert pruned.found.total.calls == 6
    other = replace(running, found=replace(running.found, store_cost=running.found.total.cost + 10**9))
    assert other.sentences()[1].startswith("The store's own sum is $1.00 more: calls landed or were corrected")


def test_what_cannot_be_done_is_said(october: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two formats at once, no month, the same field twice, and a file that cannot be written."""
    for arguments, told in (
        (("--csv", "--json"), "one of them"),
        (("2025-13",), "a month is needed"),
        (("2025-10", "--by", "user", "--by", "user"), "each once"),
        (("2025-10", "--csv", "--output", "nowhere/x.csv"), "nowhere/x.csv: No such file"),
    ):
        assert exit_code("report", *arguments) == 2
        assert told in capsys.readouterr().err
