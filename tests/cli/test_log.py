"""`log`: calls and refusals in one list, and new ones as they come."""

from __future__ import annotations

import csv
import io
import json
import random
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from budgetguard.alerts.refusals import Refusals
from budgetguard.budgets.news import RefusedCall
from budgetguard.cli import main
from budgetguard.cli.live import newest as paging
from budgetguard.cli.live.following import SWEEP_S, SWEPT_MS, Follower
from budgetguard.cli.live.newest import LogQuery, newest
from budgetguard.errors import StoreError
from budgetguard.ledger import Account, Balance, Entry, Query, Refusal
from budgetguard.stores.sqlite.store import SQLiteStore
from budgetguard.testing import StoppedClock
from tests.support import ENVIRONMENT, ROOT
from tests.support.history import entry
from tests.support.watched import COMMAND, book, refuse, screen

LogRun = Callable[..., tuple[int, str, str]]


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SQLiteStore]:
    """The books of a project in a directory of its own, which is the one that commands run in."""
    monkeypatch.chdir(tmp_path)
    made = SQLiteStore(tmp_path / "budgetguard.db", namespace="shop", durable=False)
    yield made
    made.close()


@pytest.fixture
def log(shop: SQLiteStore, capsys: pytest.CaptureFixture[str]) -> LogRun:
    """Runs `log`; its exit code, what it printed, and what it complained of."""

    def run(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as end:
            main(["log", *map(str, arguments)])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def ids(out: str) -> list[str]:
    """The ids of lines of JSON; those of refusals are "refusal"."""
    lines = [json.loads(line) for line in out.splitlines()]
    return [line["id"] if line["what"] == "call" else "refusal" for line in lines]


def test_calls_and_refusals_are_one_list_by_time(shop: SQLiteStore, log: LogRun) -> None:
    """What led to a refusal stands before it."""
    book(shop, "first", 30_000)
    refuse(shop, 20_000, times=3)
    book(shop, "last", 10_000, flags=frozenset({"estimated"}))

    assert ids(log("--json")[1]) == ["first", "refusal", "last"]
    _, out, _ = log()
    first, refused, last = out.splitlines()
    assert first.split()[2:] == ["ann", "gpt-4o", "1,200", ">", "300", "$0.001", "team=search"]
    assert refused.split("gpt-4o")[1].strip() == "refused x3 by free/bob: $0.003 wanted, $0.001 left  team=search"
    assert "estimated" in last


def test_programs_get_whole_nano_dollars_and_spreadsheets_dollars(shop: SQLiteStore, log: LogRun) -> None:
    """What is rounded for people would not add up."""
    book(shop, "call", 20_000, cost=1_234_567)
    refuse(shop, 10_000, times=2)

    call, refusal = map(json.loads, log("--json")[1].splitlines())
    assert (call["cost"], call["input_tokens"], call["tags"]["team"]) == (1_234_567, 1_200, "search")
    assert (refusal["budget"], refusal["times"], refusal["wanted"], refusal["room"]) == ("free", 2, 3_000_000, 10**6)
    assert (refusal["limit"], refusal["spent"], refusal["busy"]) == (200_000_000, 199_000_000, False)
    paid, denied = csv.DictReader(io.StringIO(log("--csv")[1]))
    assert (paid["what"], paid["cost"], paid["times"]) == ("call", "0.001234567", "1")
    assert (denied["what"], denied["cost"], denied["wanted"], denied["subject"]) == ("refusal", "", "0.003", "bob")


def test_a_name_in_a_sheet_commands_no_terminal_and_is_whole_in_a_file(
    shop: SQLiteStore, log: LogRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who looks at a sheet before it is sent on is not to lose what is on the screen."""
    book(shop, "call", 1_000, tags={"user": "ann\x1b[2J"})
    assert "ann\x1b[2J" in log("--csv")[1]
    monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True)
    assert "ann\\x1b[2J" in log("--csv")[1]


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--user", "ann"), ["old", "dear"]),
        (("--tag", "team=chat"), ["other"]),
        (("--tag", "team=search", "--user", "bob"), ["refusal"]),
        (("--tag", "team="), ["nobody"]),
        (("--model", "gpt-*"), ["old", "refusal", "dear", "nobody"]),
        (("--model", "claude-opus"), ["other"]),
        (("--provider", "anthropic"), ["other"]),
        (("--min-cost", "0.5"), ["dear"]),
        (("--flag", "estimated"), ["dear"]),
        (("--flag", "estimated", "--flag", "cut"), []),
        (("--refused",), ["refusal"]),
        (("--calls",), ["old", "other", "dear", "nobody"]),
        (("--since", "50s"), ["refusal", "dear", "nobody"]),
        (("--until", "50s"), ["old", "other"]),
        (("--since", "1h", "--until", "90s"), ["old"]),
        (("-n", "2"), ["dear", "nobody"]),
        (("-n", "2", "--since", "1h", "--until", "30s"), ["other", "refusal"]),
        (("-n", "0"), []),
    ],
)
def test_each_filter_lets_pass_what_it_says(
    shop: SQLiteStore, log: LogRun, arguments: tuple[str, ...], found: list[str]
) -> None:
    """One that lets more pass hides what is looked for; one that lets less pass hides it better."""
    book(shop, "old", 100_000)
    book(shop, "other", 70_000, tags={"user": "eve", "team": "chat"}, model="claude-opus", provider="anthropic")
    refuse(shop, 40_000)
    book(shop, "dear", 20_000, cost=600_000_000, flags=frozenset({"estimated"}))
    book(shop, "nobody", 10_000, tags={})

    code, out, _ = log("--json", *arguments)
    assert (code, ids(out)) == (0, found)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--flag", "blue"), "--flag 'blue': use capped, cut, estimated"),
        (("--refused", "--calls"), "--refused shows no calls"),
        (("--follow", "--csv"), "leave --until and --csv out"),
        (("--min-cost", "much"), "--min-cost"),
        (("--since", "yesterday"), "'yesterday' is no time"),
    ],
)
def test_what_cannot_be_asked_is_an_error(
    shop: SQLiteStore, log: LogRun, arguments: tuple[str, ...], complaint: str
) -> None:
    """An empty list would look like an answer."""
    book(shop, "call")
    code, out, err = log(*arguments)
    assert (code, out) == (2, "")
    assert complaint in err


def test_a_beginning_without_a_number_shows_all_since_then(shop: SQLiteStore, log: LogRun) -> None:
    """Who names an hour means that hour, not its last twenty lines."""
    for number in range(30):
        book(shop, f"call{number:02d}", 60_000 - number)
    assert len(log("--json")[1].splitlines()) == 20
    assert ids(log("--json", "--since", "1h")[1]) == [f"call{number:02d}" for number in range(30)]


def test_nothing_is_said_on_stderr_and_is_no_error(shop: SQLiteStore, log: LogRun) -> None:
    """A script reads stdout."""
    book(shop, "call")
    assert log("--user", "nobody")[:2] == (0, "")
    assert "no line fits" in log("--user", "nobody")[2]


def test_a_name_cannot_command_the_terminal(shop: SQLiteStore, log: LogRun) -> None:
    """Whoever calls chooses names; they are printed on the screen of whoever looks."""
    evil = "\x1b]0;owned\x07\x1b[2J\nfake line"
    book(shop, "call", tags={"user": evil, evil: evil}, model=evil)
    refuse(shop, user=evil)
    out = log()[1]
    assert len(out.splitlines()) == 2
    assert not {"\x1b", "\x07"} & set(out)


@pytest.mark.parametrize("most", [3, 50])
def test_the_newest_are_found_whatever_the_times_are(
    shop: SQLiteStore, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """Bursts, gaps of months, many in one millisecond, a clock that is ahead: each has its own way to be missed."""
    monkeypatch.setattr(paging, "MOST", most)
    chosen, now_ms = random.Random(most), shop.now_ms()
    times = [now_ms - chosen.randrange(100) for _ in range(40)] + [now_ms - 90_000_000] * 30
    times += [now_ms - chosen.randrange(10**10) for _ in range(40)] + [
        now_ms + chosen.randrange(10**8) for _ in range(9)
    ]
    shop.load(entries=[entry(f"call{number:03d}", at_ms) for number, at_ms in enumerate(times)])

    for query in (LogQuery(), LogQuery(until_ms=now_ms - 50), LogQuery(since_ms=now_ms - 10**9)):
        all_of_them = list(shop.entries(query.asked(query.since_ms, query.until_ms)))
        for lines in (1, 7, 60, 1000):
            assert [each.id for each in newest(shop, query, lines)] == [each.hold_id for each in all_of_them[-lines:]]


class CountedRows(SQLiteStore):
    """A file that counts the entries that are read from it."""

    rows = 0

    def entries(self, query: Query = Query()) -> Iterator[Entry]:  # noqa: B008
        """Each of them is counted."""
        for each in super().entries(query):
            self.rows += 1
            yield each


def test_twenty_lines_of_a_long_history_read_a_small_part_of_it(tmp_path: Path) -> None:
    """Of a million calls it would take half a minute to read all."""
    store = CountedRows(tmp_path / "long.db", durable=False)
    now_ms = store.now_ms()
    store.load(entries=[entry(f"call{number:06d}", now_ms - 20 * number) for number in range(20_000)])
    assert [each.id for each in newest(store, LogQuery(), 3)] == ["call000002", "call000001", "call000000"]
    assert store.rows < 2 * paging.MOST + 100
    store.close()


# -- following -------------------------------------------------------------------------------------------------------


class Seconds:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def seconds() -> Seconds:
    """When it is time to sweep."""
    return Seconds()


def told(follower: Follower) -> list[str]:
    """The ids of what is new; refusals as "refusal" with how many they are."""
    return [f"refusal {each.times}" if hasattr(each, "times") else each.id for each in follower.poll()]


def test_what_lands_late_and_out_of_order_is_told_once(shop: SQLiteStore, seconds: Seconds) -> None:
    """A process that took its time first may write last; the line between two others was lost for ever."""
    book(shop, "before", 60_000)
    follower = Follower(shop, LogQuery(), seconds)
    follower.begin()
    assert told(follower) == []

    book(shop, "new")
    assert told(follower) == ["new"]
    book(shop, "a little late", 3_000)
    assert told(follower) == ["a little late"]
    book(shop, "late", 100_000)
    book(shop, "newer")
    assert told(follower) == ["newer"], "only a sweep finds what is so late"
    seconds.now_s += SWEEP_S
    assert told(follower) == ["late"]
    seconds.now_s += SWEEP_S
    assert told(follower) == []


def test_whatever_order_calls_land_in_each_is_told_once(tmp_path: Path, seconds: Seconds) -> None:
    """Hundreds of landings, up to minutes late, with a clock that goes on and at times back."""
    clock, chosen = StoppedClock(), random.Random(7)
    store = SQLiteStore(tmp_path / "late.db", clock=clock, durable=False)
    follower, found, landed = Follower(store, LogQuery(), seconds), list[str](), list[str]()
    follower.begin()
    for number in range(500):
        late_ms = chosen.choice((0, 0, 5_000, 30_000, SWEPT_MS - 30_000))
        book(store, f"call{number}", late_ms, cost=chosen.randrange(3))
        landed.append(f"call{number}")
        step_s = chosen.choice((0, 0.5, 3, -2))
        clock.advance(step_s)
        seconds.now_s += max(step_s, 0)
        if chosen.random() < 0.4:
            found += told(follower)
    seconds.now_s += SWEEP_S
    found += told(follower)
    assert sorted(found) == sorted(landed)
    store.close()


def test_refusals_that_are_counted_up_are_told_as_they_grow(shop: SQLiteStore, seconds: Seconds) -> None:
    """They are one record that changes: told once it would hide a storm, told whole each time it would grow one."""
    follower, account = Follower(shop, LogQuery(), seconds), Account("free//2027-01", 5)
    follower.begin()
    writer, refusal = Refusals(shop, time_s=lambda: 0.0), Refusal(account, Balance(account.key, 5), busy=False)
    for times in (2, 3):
        for _ in range(times):
            writer.add(RefusedCall(refusal, 1, {"user": "bob"}, "gpt-4o", "openai", shop.now_ms()))
        writer.write(final=True)
        assert told(follower) == [f"refusal {times}"]
        assert told(follower) == []


def test_a_charge_that_is_corrected_is_told_again(shop: SQLiteStore, seconds: Seconds) -> None:
    """The lines would add up to another sum than the books."""
    book(shop, "call", 40_000, cost=9_000_000, flags=frozenset({"expired"}))
    follower = Follower(shop, LogQuery(), seconds)
    follower.begin()
    book(shop, "call", 20_000, cost=2_000_000, flags=frozenset({"late"}))
    seconds.now_s += SWEEP_S
    assert [(each.id, each.cost) for each in follower.poll() if not hasattr(each, "times")] == [("call", 2_000_000)]


def test_a_filter_is_followed_too(shop: SQLiteStore, seconds: Seconds) -> None:
    """The sums that are compared have to be those of what passes it."""
    follower = Follower(shop, LogQuery(tags={"user": "eve"}, model="gpt-4*"), seconds)
    follower.begin()
    for number in range(6):
        book(
            shop,
            f"call{number}",
            60_000,
            tags={"user": ("ann", "eve")[number % 2]},
            model=("gpt-4o", "o3")[number // 4],
        )
    seconds.now_s += SWEEP_S
    assert told(follower) == ["call1", "call3"]


def test_a_store_that_was_away_is_followed_from_where_it_was_left(
    shop: SQLiteStore, seconds: Seconds, tmp_path: Path
) -> None:
    """What landed while it could not be read is what one would most like to know."""
    follower, path = Follower(shop, LogQuery(), seconds), tmp_path / "budgetguard.db"
    follower.begin()
    book(shop, "before")
    assert told(follower) == ["before"]
    shop.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as another:
        another.execute("PRAGMA locking_mode=EXCLUSIVE")
        another.execute("CREATE TABLE planted (x)")
        with pytest.raises(StoreError, match="keeps it locked"):
            follower.poll()
        another.execute("DROP TABLE planted")
    book(shop, "meanwhile")
    assert told(follower) == ["meanwhile"]


WRITER = """
import sys
from tests.support.watched import book
from budgetguard.stores.sqlite.store import SQLiteStore

store = SQLiteStore(sys.argv[1], namespace="shop", durable=False, reserve_s=60, settle_s=60)
for number in range(60):
    book(store, f"{sys.argv[2]}-{number}", (number * 7919) % 4000)
store.close()
"""


def test_following_shows_every_call_of_two_processes_once(shop: SQLiteStore, tmp_path: Path) -> None:
    """The promise, with real processes, whose calls land out of order; and Ctrl-C ends it without a word."""
    book(shop, "before", 30_000)
    refuse(shop, 20_000)
    following = subprocess.Popen(
        [*COMMAND, "log", "-f", "--json"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert following.stdout is not None
    assert following.stderr is not None
    seen = ids(following.stdout.readline() + following.stdout.readline())
    writers = [
        subprocess.Popen([sys.executable, "-c", WRITER, tmp_path / "budgetguard.db", name], cwd=ROOT, env=ENVIRONMENT)
        for name in "ab"
    ]
    assert [each.wait(120) for each in writers] == [0, 0]
    while len(seen) < 122:
        seen += ids(following.stdout.readline())
    following.send_signal(signal.SIGINT)
    rest, err = following.communicate(timeout=60)
    assert following.returncode == 130
    assert (rest, err.replace("budgetguard: project 'shop', the only one in sqlite:///budgetguard.db; ", "")) == (
        "",
        "--project names another\n",
    )
    assert sorted(seen) == sorted(["before", "refusal", *[f"{name}-{number}" for name in "ab" for number in range(60)]])


def test_a_reader_that_goes_away_is_no_error(shop: SQLiteStore, tmp_path: Path) -> None:
    """`log --json | head -1` is what one types first."""
    shop.load(entries=[entry(f"call{number}", shop.now_ms() - 10_000) for number in range(5_000)])
    shown = subprocess.Popen(
        [*COMMAND, "log", "--json", "--since", "1h"],
        cwd=tmp_path,
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert shown.stdout is not None
    assert shown.stderr is not None
    assert json.loads(shown.stdout.readline())["what"] == "call"
    shown.stdout.close()
    assert "Traceback" not in shown.stderr.read()
    shown.stderr.close()
    shown.wait(60)


def test_sixty_columns_have_a_line_for_each_call(shop: SQLiteStore, tmp_path: Path) -> None:
    """A narrow window shows who, what and how much; a line that is folded is no line."""
    book(shop, "call", tags={"user": "ann.with.a.long.name@example.com", "team": "x" * 80}, flags=frozenset({"late"}))
    refuse(shop)
    with screen(["log"], tmp_path, columns=60) as terminal:
        assert terminal.wait() == 0
        lines = terminal.until(lambda text: "refused" in text).splitlines()
    shown = [line for line in lines if not line.startswith("budgetguard:") and "project names" not in line]
    plain = [_plain(line).rstrip() for line in shown]
    assert all(len(line) <= 60 for line in plain), plain
    assert any("$0.001" in line and "late" in line and "gpt-4o" in line for line in plain), plain
    assert any("refused by free" in line for line in plain), plain


def _plain(text: str) -> str:
    """A text without what colours it."""
    import re

    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", text)
