"""A SQLite file that the version before made: its schema, a few rows of it, and a program of it that still runs."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from budgetguard.errors import StoreError
from budgetguard.ledger import (
    KEEP_ENDED_MS,
    Account,
    Admitted,
    Balance,
    Carried,
    Conflict,
    Ended,
    Entry,
    Hold,
    OpenHold,
    Record,
    RecordQuery,
    Settled,
    Total,
    Wanted,
    key_in,
    new_id,
)
from budgetguard.stores.sqlite import schema
from budgetguard.stores.sqlite.store import SQLiteStore
from budgetguard.testing.clock import StoppedClock
from tests.support.children import ends, fork
from tests.support.ledger import integrity, spend

VERSION_1 = """
PRAGMA page_size=2048;
PRAGMA journal_mode=WAL;
CREATE TABLE namespaces (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE accounts (
    ns INTEGER NOT NULL, key TEXT NOT NULL, settled INTEGER NOT NULL DEFAULT 0, held INTEGER NOT NULL DEFAULT 0,
    pruned INTEGER NOT NULL DEFAULT 0, end_ms INTEGER, PRIMARY KEY (ns, key)
) WITHOUT ROWID;
CREATE TABLE holds (
    ns INTEGER NOT NULL, key NOT NULL, id NOT NULL, due_ms INTEGER, at_ms INTEGER, ended INTEGER, amount INTEGER,
    placed_ms INTEGER, charge INTEGER, accounts TEXT, tags TEXT, provider TEXT, model TEXT, PRIMARY KEY (ns, key, id)
) WITHOUT ROWID;
CREATE TABLE entries (
    ns INTEGER NOT NULL, at_ms INTEGER NOT NULL, id TEXT NOT NULL, cost INTEGER NOT NULL, flags TEXT NOT NULL,
    accounts TEXT NOT NULL, tags TEXT NOT NULL, provider TEXT NOT NULL, model TEXT NOT NULL, usage TEXT NOT NULL,
    PRIMARY KEY (ns, at_ms, id)
) WITHOUT ROWID;
CREATE TABLE terms (
    ns INTEGER NOT NULL, key TEXT NOT NULL, version INTEGER NOT NULL, body TEXT, PRIMARY KEY (ns, key)
) WITHOUT ROWID;
PRAGMA application_id=1650945124;
PRAGMA user_version=1;
"""

START_MS = 1_800_000_000_000
TEAM = Account("team", limit=1_000)
TTL_MS = 60_000
OPEN, CHARGED, SPENT, OVER, RELEASED = [f"{number:032x}" for number in range(5)]

ROWS = f"""
INSERT INTO namespaces VALUES (1, 'default');
INSERT INTO accounts VALUES (1, 'team', 170, 70, 20, NULL);
INSERT INTO terms VALUES (1, 'ann', 3, 'hers');
INSERT INTO holds VALUES
    (1, '{OPEN}', '', {START_MS + TTL_MS}, NULL, 0, 40, {START_MS}, 0, '["team"]', '{{"user":"ann"}}', 'openai', 'm'),
    (1, x'{START_MS + TTL_MS:016x}', '{OPEN}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (1, '{CHARGED}', '', {START_MS + 1_000}, NULL, 0, 30, {START_MS}, 1, '["team"]', '{{}}', '', ''),
    (1, x'{START_MS + 1_000:016x}', '{CHARGED}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (1, '{SPENT}', '', NULL, {START_MS - 9}, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (1, '{OVER}', '', NULL, {START_MS - 5}, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (1, '{RELEASED}', '', {START_MS + KEEP_ENDED_MS}, NULL, 1, NULL, NULL, NULL, NULL, NULL, NULL, NULL),
    (1, x'{START_MS + KEEP_ENDED_MS:016x}', '{RELEASED}', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
INSERT INTO entries VALUES
    (1, {START_MS - 9}, '{SPENT}', 100, ' capped ', '["team"]', '{{"user":"ann"}}', 'openai', 'm',
     '{{"input_tokens":7}}'),
    (1, {START_MS - 5}, '{OVER}', 50, ' expired ', '["team"]', '{{}}', '', '', '{{}}');
"""
"""Held: 40 by a call under way, 30 by one that is charged in a second. Settled: 100, 50 as charged, and 20 pruned."""

ENTRIES = [
    Entry(
        SPENT, 100, ("team",), START_MS - 9, {"user": "ann"}, "openai", "m", {"input_tokens": 7}, frozenset({"capped"})
    ),
    Entry(OVER, 50, ("team",), START_MS - 5, flags=frozenset({"expired"})),
]


def make_old(path: Path, rows: str = ROWS) -> None:
    """A file as the version before made it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(VERSION_1 + rows)


@pytest.fixture
def old(path: Path) -> Path:
    make_old(path)
    return path


@pytest.fixture
def clock() -> StoppedClock:
    return StoppedClock(START_MS / 1000)


@pytest.fixture
def store(old: Path, clock: StoppedClock) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(old, clock=clock)) as store:
        yield store
        assert store.check() == []
    assert integrity(old) == "ok"


def version(path: Path) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])


def columns(path: Path) -> dict[str, list[Any]]:
    with closing(sqlite3.connect(path)) as connection:
        tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: connection.execute(f"PRAGMA table_info({name})").fetchall() for name in sorted(tables)}


def test_reading_an_old_file_shows_all_of_it_and_changes_nothing(
    old: Path, store: SQLiteStore, clock: StoppedClock
) -> None:
    """A report of the new version, or a look at a backup, must not turn programs of the old one away."""
    before = old.read_bytes()
    assert store.balances(["team", "calls#requests"]) == [Balance("team", 170, 70), Balance("calls#requests")]
    assert list(store.accounts()) == [Balance("team", 170, 70)]
    assert list(store.carried()) == [Carried("team", None, 20)]
    assert list(store.entries()) == ENTRIES
    assert store.totals(["user"]) == [Total(("",), 50, 1, 0, 0, 0), Total(("ann",), 100, 1, 7, 0, 0)]
    tags = {"user": "ann"}
    assert store.holds() == [
        OpenHold(OPEN, 40, ("team",), START_MS, START_MS + TTL_MS, tags, "openai", "m"),
        OpenHold(CHARGED, 30, ("team",), START_MS, START_MS + 1_000),
    ]
    clock.advance(1)
    assert store.balances(["team"]) == [Balance("team", 200, 40)]
    assert store.check() == []
    store.close()
    assert old.read_bytes() == before
    assert version(old) == 1


def test_the_first_write_brings_a_file_up_to_date(old: Path, store: SQLiteStore, tmp_path: Path) -> None:
    """It is then as one that was made today."""
    store.put_terms("bob", "his")
    with closing(SQLiteStore(tmp_path / "new.db")) as new:
        new.put_terms("bob", "his")
    assert version(old) == version(tmp_path / "new.db") == schema.VERSION
    assert columns(old) == columns(tmp_path / "new.db")
    assert store.balances(["team"]) == [Balance("team", 170, 70)]
    assert list(store.entries()) == ENTRIES
    assert [hold.units for hold in store.holds()] == [{}, {}]


def test_what_an_old_version_left_open_ends_by_the_same_rules(store: SQLiteStore, clock: StoppedClock) -> None:
    """A call under way, one that is charged when it expires, one that was charged, one settled, one released."""
    held = [Hold(each, (TEAM,), 40, on_expire="charge") for each in (OPEN, CHARGED, SPENT, OVER, RELEASED)]
    assert store.reserve(held[0]) == Admitted(40)
    assert [store.reserve(each) for each in held[2:]] == [Ended()] * 3
    assert store.settle(held[2], Entry(SPENT, 100)) == Settled(100)
    assert store.settle(held[2], Entry(SPENT, 100, units={"tokens": 7})) == Conflict(100)
    clock.advance(1)
    answer = store.settle(held[0], Entry(OPEN, 25, units={"tokens": 300}))
    assert answer == Settled(25)
    assert isinstance(answer, Settled)
    assert answer.balances == (Balance("team", 195, 30),)  # 170 + 25; nobody has reaped the other one yet
    assert store.settle(held[3], Entry(OVER, 60)) == Settled(60, late=True)
    spend(store, 1)
    assert store.balances(["team"]) == [Balance("team", 235, 0)]  # 195 + 30 charged + 60 - 50
    assert store.renew([held[1]]) == [True]
    assert store.balances(["team"]) == [Balance("team", 205, 30)]
    store.release(CHARGED)
    assert store.balances(["team"]) == [Balance("team", 205, 0)]
    assert store.prune(START_MS + 2_000) == 4
    assert next(iter(store.carried())) == Carried("team", None, 205)


def test_old_books_take_new_units(store: SQLiteStore) -> None:
    """A budget of tokens and requests beside the one that was there."""
    tokens, requests = Account(key_in("tokens", "day"), 1_000), Account(key_in("requests", "minute"), 3)
    held = Hold(new_id(), (TEAM, tokens, requests), 10, units={"tokens": Wanted(700)})
    assert store.reserve(held) == Admitted(10, {"tokens": 700, "requests": 1})
    assert store.settle(held, Entry(held.id, 7, units={"tokens": 520})) == Settled(7)
    assert [each[1:] for each in store.balances(["team", tokens.key, requests.key])] == [(177, 70), (520, 0), (1, 0)]


def test_an_upgrade_writes_no_row(path: Path) -> None:
    """A file of a million entries must not keep its first call waiting: what is written is a few pages."""
    make_old(
        path,
        f"""INSERT INTO namespaces VALUES (1, 'default'); INSERT INTO accounts VALUES (1, 'team', 60000, 0, 0, NULL);
        INSERT INTO entries
        WITH RECURSIVE number(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM number WHERE n < 20000)
        SELECT 1, {START_MS} + n, printf('%032x', n), 3, '', '["team"]', '{{}}', 'openai', 'm', '{{}}' FROM number;
        INSERT INTO holds (ns, key, id, ended, at_ms) SELECT ns, id, '', 1, at_ms FROM entries;
        PRAGMA wal_checkpoint(TRUNCATE);""",
    )
    assert path.stat().st_size > 2_000_000
    with closing(SQLiteStore(path)) as store:
        store.put_terms("bob", "his")
        assert Path(f"{path}-wal").stat().st_size < 60_000
        assert version(path) == schema.VERSION
        assert store.totals([]) == [Total((), 60_000, 20_000, 0, 0, 0)]
        assert store.check() == []


def test_an_upgrade_that_fails_has_done_nothing(old: Path, store: SQLiteStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """All or none, whatever ends it; the next one tries again."""
    with monkeypatch.context() as broken:
        broken.setattr(schema, "UPGRADES", {2: (*schema.UPGRADES[2], "ALTER TABLE nowhere ADD COLUMN a")})
        for _ in range(2):
            with pytest.raises(StoreError, match="nowhere"):
                store.put_terms("bob", "his")
    assert version(old) == 1
    assert store.balances(["team"]) == [Balance("team", 170, 70)]
    store.put_terms("bob", "his")
    assert version(old) == schema.VERSION


def test_a_process_that_is_killed_while_it_upgrades_leaves_the_old_file(old: Path, store: SQLiteStore) -> None:
    """What it had done is undone by whoever opens the file next."""

    statements = schema.UPGRADES[2][:4]

    def killed() -> Iterator[str]:
        yield from statements
        os.kill(os.getpid(), signal.SIGKILL)

    def upgrade() -> None:
        schema.UPGRADES[2] = killed()  # type: ignore[assignment]
        SQLiteStore(old).put_terms("bob", "his")

    assert ends(fork(upgrade)) == [signal.SIGKILL]
    assert version(old) == 1
    assert list(store.entries()) == ENTRIES
    store.put_terms("bob", "his")
    assert version(old) == schema.VERSION
    assert list(store.entries()) == ENTRIES


def test_who_reads_while_another_process_upgrades_goes_on(old: Path, store: SQLiteStore) -> None:
    """It sees the old file, and then the new one, without an error in between."""
    assert store.balances(["team"]) == [Balance("team", 170, 70)]
    reading = store.entries()
    assert next(reading) == ENTRIES[0]
    with closing(SQLiteStore(old)) as other:
        other.put_terms("bob", "his")
    assert list(reading) == ENTRIES[1:]
    assert store.balances(["team"]) == [Balance("team", 170, 70)]
    assert list(store.entries()) == ENTRIES
    assert len(store.holds()) == 2


SPENDER = """
import sys
from budgetguard.stores.sqlite.store import SQLiteStore
from tests.support.ledger import spend

store = SQLiteStore(sys.argv[1], reserve_s=20, settle_s=20)
assert store.balances(["team"])[0].settled == 170
print("ready", flush=True)
sys.stdin.readline()
for _ in range(5):
    spend(store)
print(len(store.check()))
"""


def test_processes_that_upgrade_at_the_same_time_do_not_break_each_other(old: Path, store: SQLiteStore) -> None:
    """All have seen the old file, and all begin to write at one moment."""
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", SPENDER, str(old)]
    processes = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    assert [process.communicate(timeout=60)[0] for process in processes] == ["0\n"] * 4
    assert version(old) == schema.VERSION
    assert len(list(store.entries())) == len(ENTRIES) + 4 * 5


OLD_STATEMENTS = [
    "SELECT due_ms, amount, CASE WHEN accounts <> '[]' THEN accounts END FROM holds WHERE ns = 1 AND key = 'x'",
    "SELECT due_ms, at_ms, ended, amount, charge, accounts, tags, provider, model FROM holds WHERE ns = 1",
    "SELECT cost, flags, accounts FROM entries WHERE ns = 1",
    "INSERT INTO holds (ns, key, id, due_ms, ended, amount) VALUES (1, 'x', '', 1, 0, 5)",
    "INSERT INTO entries (ns, id, at_ms, cost, flags, accounts, tags, provider, model, usage) "
    "VALUES (1, 'x', 1, 5, '', '[]', '{}', '', '', '{}')",
    "UPDATE holds SET amount = amount - 1, charge = charge AND amount > 1 WHERE ns = 1",
    "UPDATE entries SET cost = cost - 1 WHERE ns = 1",
    "SELECT id, at_ms, cost, accounts FROM entries WHERE ns = 1 AND at_ms < 9 ORDER BY at_ms, id LIMIT 2000",
    "SELECT hold.accounts, hold.amount, hold.charge FROM holds AS hold WHERE ns = 1",
    "SELECT accounts, sum(cost) FROM entries WHERE ns = 1 GROUP BY accounts",
    "SELECT id, cost, accounts, at_ms, tags, provider, model, usage, flags FROM entries WHERE ns = 1",
]
"""Of the version before: all that read or write an amount of a hold or an entry."""


@pytest.mark.parametrize("statement", OLD_STATEMENTS)
def test_an_old_program_that_has_the_file_open_books_nothing_more(
    old: Path, store: SQLiteStore, statement: str
) -> None:
    """It knows of no tokens, and would expire, draw or prune them as dollars: so what it does next fails."""
    with closing(sqlite3.connect(old, isolation_level=None)) as program:
        program.execute("BEGIN")
        program.execute(statement).fetchall()
        program.execute("ROLLBACK")
        store.put_terms("bob", "his")
        with pytest.raises(sqlite3.OperationalError, match=r"no (such )?column"):
            program.execute(statement)


# Version 2, which kept nothing beside the books.


@pytest.fixture
def version_2(old: Path) -> Path:
    """A file as version 2 left it."""
    with closing(sqlite3.connect(old, isolation_level=None)) as connection:
        for statement in schema.UPGRADES[2]:
            connection.execute(statement)
        connection.execute("PRAGMA user_version=2")
    return old


def test_a_file_of_version_2_has_no_records_and_is_not_changed_by_looking(version_2: Path, clock: StoppedClock) -> None:
    """Whoever reads alerts there reads none, and programs of that version go on."""
    before = version_2.read_bytes()
    with closing(SQLiteStore(version_2, clock=clock)) as store:
        assert list(store.noted(RecordQuery("alert"))) == []
        assert list(store.noted(RecordQuery("alert", "a", "b", 5, newest=True))) == []
        assert list(store.entries()) == ENTRIES
        assert store.balances(["team"]) == [Balance("team", 170, 70)]
    assert version_2.read_bytes() == before
    assert version(version_2) == 2


def test_the_first_record_brings_a_file_of_version_2_up_to_date(
    version_2: Path, clock: StoppedClock, tmp_path: Path
) -> None:
    """It is then as one that was made today; the books are as they were."""
    record = Record("alert", "users/ann@80", 5, "{}")
    with closing(SQLiteStore(version_2, clock=clock)) as store, closing(SQLiteStore(tmp_path / "new.db")) as new:
        for each in (store, new):
            assert [each.note([record]), each.note([record])] == [[True], [False]]
        assert list(store.noted(RecordQuery("alert"))) == [record]
        assert list(store.entries()) == ENTRIES
        assert store.check() == []
        assert store.prune(6) == 0
        assert list(store.noted(RecordQuery("alert"))) == []
    assert version(version_2) == schema.VERSION
    assert columns(version_2) == columns(tmp_path / "new.db")
    assert [indexes(path) for path in (version_2, tmp_path / "new.db")] == [["records_over"]] * 2
    assert integrity(version_2) == "ok"


def indexes(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("SELECT name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        return [name for (name,) in rows]


def test_a_program_of_version_2_that_has_the_file_open_goes_on(version_2: Path, clock: StoppedClock) -> None:
    """Nothing is booked otherwise than it knows; when it opens the file again, it is told that it is too old."""
    statements = (
        "UPDATE accounts SET settled = settled + 5 WHERE ns = 1 AND key = 'team'",
        f"INSERT INTO holds (ns, key, id, ended, at_ms) VALUES (1, 'x', '', 1, {START_MS})",
        "INSERT INTO entries (ns, id, at_ms, dollars, tokens, requests, flags, accounts, tags, provider, model, usage) "
        f"VALUES (1, 'x', {START_MS}, 5, 0, 1, '', '[\"team\"]', '{{}}', '', '', '{{}}')",
    )
    with (
        closing(sqlite3.connect(version_2, isolation_level=None)) as program,
        closing(SQLiteStore(version_2, clock=clock)) as store,
    ):
        program.execute("SELECT settled FROM accounts").fetchall()
        store.note([Record("alert", "a", 5, "{}")])
        for statement in statements:
            program.execute(statement)
        assert store.balances(["team"]) == [Balance("team", 175, 70)]
        assert store.check() == []


def test_a_program_that_is_older_than_a_file_says_so(version_2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It does not know what else may be in there."""
    with closing(SQLiteStore(version_2)) as store:
        store.note([Record("alert", "a", 5, "{}")])
    monkeypatch.setattr(schema, "VERSION", 2)
    with closing(SQLiteStore(version_2)) as store, pytest.raises(StoreError, match="newer version of budgetguard"):
        store.put_terms("bob", "his")
