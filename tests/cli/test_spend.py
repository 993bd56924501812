"""`budgetguard spend`: by any time and field, sorted, cut to a top that adds up, as CSV and as bars."""

from __future__ import annotations

import csv
import io
import json
from contextlib import closing
from pathlib import Path

import pytest

from budgetguard.cli.common.waiting import waiting
from budgetguard.reports.reports import Reports
from budgetguard.stores.sqlite.store import SQLiteStore
from budgetguard.testing import StoppedClock
from tests.support.commands import exit_code
from tests.support.history import at, entry

DOLLAR = 10**9
CALLS = [
    ("2027-03-31T22:30", 4, "ann", "gpt-4o"),
    ("2027-04-01T08:00", 1, "ann", "o3"),
    ("2027-04-02T08:00", 8, "bob", "gpt-4o"),
    ("2027-04-09T08:00", 2, "=cmd", "gpt-4o"),
    ("2027-05-01T08:00", 16, "", "o3"),
]


@pytest.fixture
def spent_db(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project of five calls of four users in two months."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "spent.db"
    monkeypatch.setenv("BUDGETGUARD_STORE", f"sqlite:///{file}")
    store = SQLiteStore(file, clock=StoppedClock(at("2027-05-02T00:00") / 1000), namespace="default")
    store.load(
        entries=[
            entry(f"c{dollars}", at(moment), dollars * DOLLAR, tags={"user": user} if user else {}, model=model)
            for moment, dollars, user, model in CALLS
        ]
    )
    store.close()
    return file


def answer(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What it printed."""
    assert exit_code("spend", *arguments) == 0
    return capsys.readouterr().out


def lines(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[tuple[str, ...]]:
    """Names and dollars of each line, from the JSON."""
    said = json.loads(answer(capsys, *arguments, "--json"))
    counted = {"cost", "calls", "input_tokens", "output_tokens", "estimated", "cut", "others"}
    return [(*[each[name] for name in each if name not in counted], each["cost"] // DOLLAR) for each in said]


def test_times_stay_in_their_order_unless_a_sort_is_asked_for(
    spent_db: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A history is read from its beginning; the dearest month is asked for."""
    assert lines(capsys, "--by", "month") == [("2027-03", 4), ("2027-04", 11), ("2027-05", 16)]
    assert lines(capsys, "--by", "month", "--sort", "cost") == [("2027-05", 16), ("2027-04", 11), ("2027-03", 4)]
    assert lines(capsys, "--by", "week")[0] == ("2027-W13", 13)
    assert lines(capsys, "--by", "user", "--by", "month")[:3] == [
        ("", "2027-05", 16),
        ("bob", "2027-04", 8),
        ("ann", "2027-03", 4),
    ]
    assert [name for name, _ in lines(capsys, "--sort", "name")] == ["", "=cmd", "ann", "bob"]
    assert lines(capsys, "--sort", "calls")[0][0] == "ann"


def test_a_month_is_that_of_the_zone(spent_db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half past midnight of April in Berlin is March in UTC."""
    assert lines(capsys, "--by", "month", "--zone", "Europe/Berlin") == [("2027-04", 15), ("2027-05", 16)]


def test_what_is_beyond_the_top_is_one_line_and_all_adds_up(spent_db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A table of the first three that does not say what is left out reads as the whole."""
    assert lines(capsys, "--top", "2") == [("", 16), ("bob", 8), (None, 7)]
    assert lines(capsys, "--by", "month", "--by", "user", "--top", "1") == [
        ("2027-03", None, 4),
        ("2027-04", None, 11),
        ("2027-05", "", 16),
    ]
    assert lines(capsys, "--by", "month", "--top", "1") == [("2027-05", 16), (None, 15)]
    shown = answer(capsys, "--top", "2")
    assert [line.split()[:2] for line in shown.splitlines()[-3:-1]] == [["(others)", "$7.00"], ["total", "$31.00"]]
    assert json.loads(answer(capsys, "--top", "2", "--json"))[-1]["others"] == 2


def test_filters_narrow_it(spent_db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """One user, one provider, a moment that is not a whole hour."""
    assert lines(capsys, "--user", "ann", "--by", "model") == [("gpt-4o", 4), ("o3", 1)]
    assert lines(capsys, "--provider", "azure") == []
    assert lines(capsys, "--since", "2027-03-31T22:30:00.001", "--until", "2027-04-02T08:00", "--by", "day") == [
        ("2027-04-01", 1)
    ]


def test_csv_opens_in_a_spreadsheet(spent_db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Dollars with all digits, and no name is a formula."""
    rows = list(csv.reader(io.StringIO(answer(capsys, "--csv", "--sort", "name"))))

    assert rows[0] == ["user", "cost", "calls", "input", "output", "estimated", "cut"]
    assert [row[:3] for row in rows[1:]] == [
        ["", "16.00", "1"],
        ["'=cmd", "2.00", "1"],
        ["ann", "5.00", "2"],
        ["bob", "8.00", "1"],
    ]


def test_shares_and_bars_are_of_the_whole(spent_db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Half of all is half of all, whatever else is in the line."""
    shown = answer(capsys, "--chart", "--by", "month")
    [may] = [line for line in shown.splitlines() if "2027-05" in line]
    [march] = [line for line in shown.splitlines() if "2027-03" in line]

    assert may.split()[1:] == ["█" * 40, "$16.00", "52", "%"]
    assert march.split()[1:] == ["█" * 10, "$4.00", "13", "%"]


def test_it_says_so_where_entries_were_pruned(spent_db: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sum of what is left must not pass for the sum of all."""
    clock = StoppedClock(at("2027-05-02T00:00") / 1000)
    with closing(SQLiteStore(spent_db, clock=clock, namespace="default")) as store:
        Reports(store, clock=clock).refresh()
        store.prune(at("2027-04-05T00:00"))
    assert exit_code("spend") == 0
    told = capsys.readouterr().err
    assert "pruned, from 2027-03-31 to 2027-04-09" in told
    assert exit_code("spend", "--since", "2027-04-10") == 0
    assert capsys.readouterr().err == ""


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_a_terminal_is_told_of_what_takes_more_than_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that is silent for long is taken for one that hangs; nothing of it stays, and no file gets any."""
    for stream in (Screen(), io.StringIO()):
        monkeypatch.setattr("sys.stderr", stream)
        clock = StoppedClock(0)
        with waiting("adding up", monotonic=clock) as told:
            told(0.1)
            clock.set(1.5)
            told(0.25)
        assert stream.getvalue() == ("\radding up: 25 %\r               \r" if stream.isatty() else "")
