"""`top`: what a frame says, what it costs, and that the terminal is as it was when it ends."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from budgetguard import Budget
from budgetguard.budgets.steering.declared import declare
from budgetguard.budgets.users import Users
from budgetguard.cli import main
from budgetguard.cli.live.frame import RunningSum, TopFrames
from budgetguard.ledger import Account, Admitted, Entry, Hold, Query, Total, new_id
from budgetguard.reports.reports import Reports
from budgetguard.stores.sqlite.store import SQLiteStore
from budgetguard.testing import StoppedClock
from tests.support.watched import Screen, book, refuse, screen

RULES = [Budget("all", 2, "monthly"), Budget("free", 1, "daily", per=("user",))]


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SQLiteStore]:
    """A project with two rules, a user's own budget, calls of three users, one in flight, and a refusal."""
    monkeypatch.chdir(tmp_path)
    store = SQLiteStore(tmp_path / "budgetguard.db", namespace="shop", durable=False)
    declare(store, RULES)
    Users(store).put("eve", Budget("users", 10, "monthly", per=("user",)))
    now_ms = store.now_ms()
    for number, (user, cost) in enumerate([("ann", 900_000_000), ("bob", 100_000_000), ("eve", 300_000_000)]):
        accounts = [RULES[0].account({}, now_ms), RULES[1].account({"user": user}, now_ms)]
        keys = tuple(each.key for each in accounts if each is not None)
        model = ("gpt-4o", "claude-opus")[number % 2]
        book(store, f"call{number}", cost=cost, accounts=keys, tags={"user": user, "team": "red"}, model=model)
    refuse(store, times=2)
    assert isinstance(store.reserve(Hold(new_id(), (Account("other"),), 50_000_000)), Admitted)
    yield store
    store.close()


def top(*arguments: object) -> int:
    """Runs the command; its exit code."""
    with pytest.raises(SystemExit) as end:
        main(["top", *map(str, arguments)])
    return int(end.value.code or 0)


def test_a_frame_says_what_is_spent_held_refused_and_by_whom(
    busy: SQLiteStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same figures as the books, in whole nano-dollars."""
    assert top("--json") == 0
    frame = json.loads(capsys.readouterr().out)

    assert frame["project"] == "shop"
    assert frame["today"] == {"cost": 1_300_000_000, "calls": 3}
    assert frame["month"]["cost"] == 1_300_000_000
    assert frame["recent"]["cost_per_minute"] == 260_000_000
    assert frame["in_flight"] == {"calls": 1, "held": 50_000_000}
    assert frame["refused_today"] == 2
    fullest = [(each["budget"], each["for"], each["spent"], each["left"]) for each in frame["budgets"]]
    assert fullest[:3] == [
        ("free", "ann", 900_000_000, 100_000_000),
        ("all", "", 1_300_000_000, 700_000_000),
        ("free", "eve", 300_000_000, 700_000_000),
    ]
    assert [(each["user"], each["cost"]) for each in frame["groups"]] == [
        ("ann", 900_000_000),
        ("eve", 300_000_000),
        ("bob", 100_000_000),
    ]


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        (("--by", "model"), ["gpt-4o", "claude-opus"]),
        (("--by", "team"), ["red"]),
        (("--by", "user", "--sort", "name"), ["ann", "bob", "eve"]),
        (("--by", "user", "--sort", "calls"), ["ann", "bob", "eve"]),
    ],
)
def test_groups_are_by_any_field_in_any_order(
    busy: SQLiteStore, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], names: list[str]
) -> None:
    """Who it is depends on what one asks for."""
    top("--json", *arguments)
    frame = json.loads(capsys.readouterr().out)
    assert [each[frame["by"]] for each in frame["groups"]] == names


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [(("--sort", "size"), "--sort 'size'"), (("--every", "0"), "--every '0'"), (("--over", "long"), "--over 'long'")],
)
def test_an_option_that_cannot_be_is_an_error(
    busy: SQLiteStore, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], complaint: str
) -> None:
    """A live table that never moves would look like a quiet day."""
    assert top(*arguments) == 2
    assert complaint in capsys.readouterr().err


def test_without_a_terminal_there_is_one_frame(busy: SQLiteStore, capsys: pytest.CaptureFixture[str]) -> None:
    """A pipe, a log, a job that runs every hour."""
    assert top() == 0
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert "$1.30 today" in out
    assert re.search(r"free +ann +█+[^ ]* *░* +90 %", out), out
    assert re.search(r"the last 5 min by user", out)


def test_a_name_cannot_command_the_live_table(busy: SQLiteStore, capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever calls chooses names."""
    book(busy, "evil", tags={"user": "\x1b[2J\x07evil\nline"})
    top()
    out = capsys.readouterr().out
    assert "evil" in out
    assert not {"\x1b", "\x07"} & set(out)


def test_an_empty_project_has_a_frame_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """It is what one looks at first."""
    SQLiteStore(tmp_path / "new.db", namespace="default").put_terms("x", "y")
    assert top("--store", f"sqlite:///{tmp_path}/new.db") == 0
    out = capsys.readouterr().out
    assert "No budget runs." in out
    assert "No call in the last 5 min." in out


class AskedTotals(SQLiteStore):
    """A file that remembers over what times it was asked to add up."""

    def __init__(self, path: Path, clock: StoppedClock) -> None:
        super().__init__(path, clock=clock, durable=False)
        self.asked: list[Query] = []

    def totals(self, by: object, query: Query = Query()) -> list[Total]:  # type: ignore[override]  # noqa: B008
        """The question is kept."""
        self.asked.append(query)
        return super().totals((), query)


def test_a_running_sum_is_that_of_all_calls_and_reads_the_last_minutes(tmp_path: Path) -> None:
    """A frame must cost the same at midnight and in the evening."""
    clock, seconds = StoppedClock(), [0.0]
    store = AskedTotals(tmp_path / "sums.db", clock)
    day_ms = store.now_ms() - 3_600_000
    whole, wanted = RunningSum(store, 600, lambda: seconds[0]), 0
    for number in range(120):
        book(store, f"call{number}", (number % 3) * 15_000, cost=number)
        wanted += number
        assert whole.since(day_ms) == (wanted, number + 1)
        if number > 5:
            assert all(store.now_ms() - (each.since_ms or 0) < 240_000 for each in store.asked)
        store.asked.clear()
        clock.advance(20)
    book(store, "very late", 1_800_000, cost=7)
    assert whole.since(day_ms).cost == wanted
    seconds[0] += 600
    assert whole.since(day_ms).cost == wanted + 7, "it is counted again now and then"
    store.close()


def test_a_sum_of_days_that_are_over_is_asked_for_once(tmp_path: Path) -> None:
    """A month of a million calls takes a third of a second to add up."""
    clock = StoppedClock()
    store = AskedTotals(tmp_path / "month.db", clock)
    now_ms = store.now_ms()
    book(store, "old", 10 * 86_400_000)
    whole = RunningSum(store, 600, lambda: 0.0)
    asked = now_ms - 20 * 86_400_000, now_ms - 86_400_000
    assert [whole.since(*asked).calls for _ in range(3)] == [1, 1, 1]
    assert len(store.asked) == 1
    store.close()


def test_a_frame_follows_the_books(busy: SQLiteStore) -> None:
    """The next frame knows the call that came since."""
    frames = TopFrames(Reports(busy, []), "shop", 300_000)
    before = frames.frame("user")
    busy.load(entries=[Entry("more", 5, at_ms=busy.now_ms(), tags={"user": "zoe"})])
    after = frames.frame("user")
    assert after.today.cost == before.today.cost + 5
    assert ("zoe",) in [each.group for each in after.groups]


# -- in a real terminal ----------------------------------------------------------------------------------------------

ENTERED, LEFT = "\x1b[?1049h", "\x1b[?1049l"


@pytest.fixture
def shown(busy: SQLiteStore, tmp_path: Path) -> Iterator[Screen]:
    """`top` in a terminal, once its first frame is there."""
    with screen(["top", "--every", "0.3s"], tmp_path) as terminal:
        terminal.until(lambda text: "b by: user" in text)
        yield terminal


def test_q_ends_it_and_the_terminal_is_as_it_was(shown: Screen) -> None:
    """A shell in which nothing is echoed any more is what people remember of a program."""
    assert ENTERED in shown.text
    shown.press("q")
    assert shown.wait() == 0
    assert shown.until(lambda text: LEFT in text)
    assert "\x1b[?25h" in shown.text, "the cursor is back"
    assert shown.is_as_before()


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_signals_leave_the_terminal_as_it_was(shown: Screen, number: signal.Signals, code: int) -> None:
    """Ctrl-C, and what a supervisor sends."""
    os.kill(shown.process.pid, number)
    assert shown.wait() == code
    text = shown.until(lambda text: LEFT in text)
    assert "Traceback" not in text
    assert shown.is_as_before()


def test_ctrl_z_leaves_the_terminal_as_it_was_and_fg_has_the_table_again(shown: Screen) -> None:
    """Who stops it to type something sees what is typed; afterwards its keys are keys again."""
    os.kill(shown.process.pid, signal.SIGTSTP)
    assert "\x1b[?25h" in shown.until(lambda text: LEFT in text), "the cursor is back"
    os.waitid(os.P_PID, shown.process.pid, os.WSTOPPED | os.WNOWAIT)
    assert shown.is_as_before()
    shown.forget()
    os.kill(shown.process.pid, signal.SIGCONT)
    shown.until(lambda text: ENTERED in text and "b by: user" in text)
    shown.press("s")
    shown.until(lambda text: "s sort: calls" in text)
    shown.press("q")
    assert shown.wait() == 0
    assert shown.is_as_before()


def test_an_exception_leaves_the_terminal_as_it_was(busy: SQLiteStore, tmp_path: Path) -> None:
    """A fault of ours must not cost anybody their shell: one is planted in what draws."""
    planted = (
        "import budgetguard.cli.live.top as top; from budgetguard.cli import main; whole = top.drawn\n"
        "def fault(frame, view, *size): return 1 / 0 if view.order == 'calls' else whole(frame, view, *size)\n"
        "top.drawn = fault; main(['top'])"
    )
    with screen(["-c", planted], tmp_path, command=[sys.executable]) as terminal:
        terminal.until(lambda text: "b by: user" in text)
        terminal.press("s")
        assert terminal.wait() == 1
        assert LEFT in terminal.until(lambda text: "ZeroDivisionError" in text)
        assert terminal.is_as_before()


def test_keys_change_the_order_the_groups_and_pause(shown: Screen, busy: SQLiteStore) -> None:
    """As htop is read."""
    shown.press("s")
    shown.until(lambda text: "s sort: calls" in text)
    shown.press("b")
    shown.until(lambda text: "by model" in text and "claude-opus" in text)
    shown.press("\x1b[A")
    shown.press("p")
    shown.until(lambda text: "(paused)" in text)
    book(busy, "while paused", cost=5_000_000_000)
    shown.press("s")
    shown.until(lambda text: "s sort: tokens" in text)
    assert "$6.30 today" not in shown.text
    shown.press("p")
    shown.until(lambda text: "$6.30 today" in text)


def test_it_is_drawn_anew_when_the_window_changes(shown: Screen) -> None:
    """A narrow window drops columns, and no line is wider than it is."""
    shown.until(lambda text: "again" in text)
    shown.resize(60, 20)
    shown.forget()
    narrow = shown.until(lambda text: any(map(fits, frames_of(text))))
    lines = next(filter(fits, frames_of(narrow)))
    assert any("free" in line and "ann" in line and "90 %" in line and "$0.90" in line for line in lines), lines


def frames_of(text: str) -> list[list[str]]:
    """The frames that were drawn, without what colours them, but for the last, which may not be whole."""
    frames = text.split("\x1b[H")[1:-1]
    return [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", each).replace("\r", "").split("\n") for each in frames]


def fits(lines: list[str]) -> bool:
    """Whether a frame is as narrow and as low as the window, and has its last line."""
    whole = "".join(lines)
    return max(map(len, lines)) <= 60 and len(lines) <= 20 and "q quit" in whole and "again" not in whole


def test_a_store_that_is_away_is_said_and_the_last_frame_stays(
    shown: Screen, busy: SQLiteStore, tmp_path: Path
) -> None:
    """A table that is gone tells nothing; one that is old has to say so."""
    busy.close()
    with closing(sqlite3.connect(tmp_path / "budgetguard.db", isolation_level=None, timeout=60)) as another:
        another.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        another.execute("DROP TABLE entries")
        shown.forget()
        text = shown.until(lambda text: "the store cannot be read" in text)
    assert "$1.30 today" in text
    shown.press("q")
    assert shown.wait() == 0
