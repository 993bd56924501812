"""Every store keeps the contract; what only a file can suffer stands below it."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path

import pytest

from budgetguard.errors import ConfigError, StoreError
from budgetguard.ledger import DEFAULT_TTL_MS, Account, Admitted, Balance, Entry, Hold, Record, Settled, Store, new_id
from budgetguard.stores import open_store
from budgetguard.stores.combiner import Gate
from budgetguard.stores.memory.rows import AccountRow
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.stores.sqlite.schema import VERSION
from budgetguard.stores.sqlite.store import SQLiteStore
from budgetguard.testing.clock import StoppedClock
from budgetguard.testing.contract import StoreContract, together
from tests.support.children import ends, fork
from tests.support.ledger import ACCOUNT, hold, integrity, spend


class TestMemoryStore(StoreContract):
    def make_store(self, clock: StoppedClock) -> Store:
        return MemoryStore(clock=clock)


class TestSQLiteStore(StoreContract):
    @pytest.fixture(autouse=True)
    def _file(self, tmp_path: Path) -> None:
        self.url = f"sqlite:///{tmp_path}/budgets.db"

    def make_store(self, clock: StoppedClock) -> Store:
        return open_store(self.url, clock=clock)

    same_store = make_store


# What only a file can suffer.


WORKER = """
import sys, time
from budgetguard.ledger import Account, Entry, Hold, new_id
from budgetguard.stores import open_store

store = open_store(sys.argv[1])
account = Account("team/2027-01", limit=10**12)
print("ready", flush=True)
sys.stdin.readline()
end = time.monotonic() + float(sys.argv[2])
while time.monotonic() < end:
    held = Hold(new_id(), (account,), 10)
    store.reserve(held)
    store.settle(held, Entry(held.id, 7))
    print(held.id, flush=True)
"""


def start_workers(url: str, count: int, seconds: float) -> list[subprocess.Popen[str]]:
    """Processes that reserve and settle in a closed loop, and print the id of each call once its settle returned."""
    arguments = [sys.executable, "-c", WORKER, url, str(seconds)]
    pipe = subprocess.PIPE
    workers = [subprocess.Popen(arguments, stdin=pipe, stdout=pipe, text=True) for _ in range(count)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("go\n")
        worker.stdin.flush()
    return workers


@pytest.fixture
def store(path: Path) -> Iterator[SQLiteStore]:
    with closing(SQLiteStore(path)) as store:
        yield store
        assert store.check() == []


def spend_until_it_fails(store: SQLiteStore) -> None:
    for _ in range(2000):
        spend(store)


def test_four_processes_share_a_file_fairly(store: SQLiteStore, path: Path) -> None:
    """Without the line in front, some of them would get no turn at all (P12)."""
    workers = start_workers(f"sqlite:///{path}", 4, 1.5)
    counts = [len(worker.communicate()[0].split()) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * 4
    assert max(counts) < 2 * min(counts)
    assert store.balances([ACCOUNT.key])[0].settled == 7 * sum(counts)


def test_what_a_killed_process_settled_is_there(path: Path) -> None:
    """An acknowledged settle is never missing, and what was held comes back after its ttl (P3, P4, P7)."""
    workers = start_workers(f"sqlite:///{path}", 4, 60)
    time.sleep(0.6)
    for worker in workers:
        worker.kill()
    acknowledged = {word for worker in workers for word in worker.communicate()[0].split() if len(word) == 32}
    clock = StoppedClock(time.time())
    with closing(SQLiteStore(path, clock=clock)) as store:
        assert len(acknowledged) > 20
        assert acknowledged <= {entry.hold_id for entry in store.entries()}
        assert store.check() == []
        clock.advance(DEFAULT_TTL_MS / 1000)
        assert store.holds() == []
        assert store.balances([ACCOUNT.key])[0].held == 0
        spend(store)
    assert integrity(path) == "ok"


def test_a_process_that_stops_inside_the_gate_does_not_hang_others(store: SQLiteStore, path: Path) -> None:
    """A reserve fails at its deadline, saying why, and works again when the other one goes on (P9)."""
    spend(store)
    gate = Gate(str(path))
    gate.enter()
    begin = time.monotonic()
    with pytest.raises(StoreError, match=r"busy for 0\.25 s"):
        store.reserve(hold())
    assert 0.2 < time.monotonic() - begin < 0.6
    gate.leave()
    spend(store)
    gate.drop()
    assert store.holds() == []


def test_a_lock_file_that_cannot_be_used_is_named_as_the_cause(store: SQLiteStore, path: Path) -> None:
    """At once, and not as a store that is busy."""
    Path(f"{path}-line").mkdir()
    begin = time.monotonic()
    with pytest.raises(StoreError, match=r"lock file cannot be used .*let this user write to its directory"):
        store.reserve(hold())
    assert time.monotonic() - begin < 0.2
    Path(f"{path}-line").rmdir()
    spend(store)


def test_a_program_that_locks_the_file_is_named_as_the_cause(store: SQLiteStore, path: Path) -> None:
    """Somebody looked into the file with another tool, and forgot a transaction."""
    spend(store)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreError, match="another program keeps it locked"):
            store.reserve(hold())
        other.execute("ROLLBACK")
    spend(store)


def test_a_plain_call_takes_few_statements(store: SQLiteStore) -> None:
    """What is left of its budget comes with what is read anyway; a settlement looks up each account that it names."""
    spend(store)
    said: list[str] = []

    def changes(work: Callable[[], object]) -> list[str]:
        said.clear()
        work()
        return [sql.split()[0] for sql in said if not sql.startswith("PRAGMA")]

    store._file.writer.connection.set_trace_callback(said.append)
    held = hold()
    assert changes(lambda: store.reserve(held)) == ["BEGIN", "SELECT", "INSERT", "INSERT", "COMMIT"]
    settle = ["BEGIN", "SELECT", "DELETE", "INSERT", "REPLACE", "INSERT", "SELECT", "COMMIT"]
    assert changes(lambda: store.settle(held, Entry(held.id, 7))) == settle


def test_threads_share_a_transaction(store: SQLiteStore) -> None:
    """Eight threads spend together what they could spend one by one, and every answer is its own."""
    ids = together(8, lambda _: [spend(store) for _ in range(25)])
    assert {entry.hold_id for entry in store.entries()} == set(ids)
    assert store.balances([ACCOUNT.key])[0] == Balance(ACCOUNT.key, 7 * 200)


def test_one_bad_operation_does_not_fail_the_others(store: SQLiteStore) -> None:
    """Those who share its transaction never hear of it."""

    def work(place: int) -> list[str]:
        if place == 0:
            broken = hold(tags={"user": 5})  # type: ignore[dict-item]
            with pytest.raises(TypeError):
                store.reserve(broken)
            return []
        return [spend(store) for _ in range(10)]

    assert len(together(6, work)) == 50
    assert len(list(store.entries())) == 50


def test_parent_and_child_use_the_store_after_a_fork(path: Path) -> None:
    """Also while other threads are in the middle of a transaction: nothing hangs, and no settle is lost."""
    with closing(SQLiteStore(path, reserve_s=10, settle_s=10)) as store:
        busy = threading.Event()
        counts = [0] * 2

        def loop(place: int) -> None:
            while not busy.is_set():
                spend(store)
                counts[place] += 1

        threads = [threading.Thread(target=loop, args=(place,)) for place in range(2)]
        for thread in threads:
            thread.start()
        children = []
        for _ in range(5):
            children.append(fork(lambda: [spend(store) for _ in range(10)]))
            spend(store)
        statuses = ends(*children)
        busy.set()
        for thread in threads:
            thread.join()
        assert statuses == [0] * 5
        assert len(list(store.entries())) == sum(counts) + 5 * 10 + 5
        assert store.check() == []
        store.close()
        assert integrity(path) == "ok"


def test_a_child_does_not_keep_its_dead_parents_place_in_the_gate(path: Path) -> None:
    """The lock goes with the process that held it, however many children it leaves, once they have begun to run."""
    store = SQLiteStore(path, reserve_s=10, settle_s=10)
    spend(store)
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        store._gate.enter()
        if os.fork() == 0:
            os.close(writing)
            signal.alarm(20)
            os.read(reading, 1)
        os._exit(0)
    os.waitpid(parent, 0)
    spend(store)
    store.close()
    os.close(writing)
    os.close(reading)


def test_settlements_land_on_a_full_disk(small_disk: Path) -> None:
    """What was spent is recorded when nothing more can be held, and holds work again when there is room (P4)."""
    with closing(SQLiteStore(small_disk / "budgets.db")) as store:
        held = [hold() for _ in range(20)]
        for each in held:
            assert isinstance(store.reserve(each), Admitted)
        filler = small_disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        with pytest.raises(StoreError, match="disk is full"):
            spend_until_it_fails(store)
        for each in held:
            assert isinstance(store.settle(each, Entry(each.id, 7)), Settled)
        with pytest.raises(StoreError, match="disk is full"):
            store.reserve(hold())
        filler.unlink()
        spend(store)
        assert {each.id for each in held} <= {entry.hold_id for entry in store.entries()}
        assert store.check() == []


def test_records_leave_the_room_on_a_full_disk_to_settlements(small_disk: Path) -> None:
    """A storm of refusals must not take what is kept back for money; it is written down again when there is room."""
    with closing(SQLiteStore(small_disk / "budgets.db")) as store:
        held = [hold() for _ in range(20)]
        for each in held:
            assert isinstance(store.reserve(each), Admitted)
        filler = small_disk / "filler"
        with suppress(OSError), filler.open("wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
        refusals = [Record("refusal", new_id(), 1, "x" * 9_000) for _ in range(100)]
        for each in held:
            for _ in range(3):
                with pytest.raises(StoreError, match="disk is full"):
                    store.note(refusals)
            assert isinstance(store.settle(each, Entry(each.id, 7)), Settled)
        filler.unlink()
        assert store.note(refusals) == [True] * 100
        assert store.check() == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", directory], capture_output=True)
    if mounted.returncode:
        pytest.skip("only root may mount a file system to fill")
    yield directory
    subprocess.run(["umount", "-l", directory], check=True)


def test_nothing_is_written_before_the_first_write(path: Path) -> None:
    """Opening and reading leave no trace: an import must not litter a working directory."""
    with closing(open_store(f"sqlite:///{path}")) as store:
        assert store.balances(["a"]) == [Balance("a")]
        assert store.terms("a") is None
        assert [list(store.accounts()), list(store.entries()), store.holds(), store.check(), store.totals([])] == [
            []
        ] * 5
        assert list(path.parent.iterdir()) == []
        store.put_terms("a", "x")
        assert path.exists()


def test_namespaces_do_not_see_each_other(store: SQLiteStore, path: Path) -> None:
    """Projects share a file, not their budgets."""
    spend(store)
    with closing(SQLiteStore(path, namespace="öther")) as other:
        assert [list(other.accounts()), list(other.entries())] == [[], []]
        spend(other, 3)
        assert other.balances([ACCOUNT.key])[0].settled == 3
        assert other.check() == []
    assert store.balances([ACCOUNT.key])[0].settled == 7


def test_a_file_that_is_no_store_is_left_alone(path: Path) -> None:
    """One error that says what to do, and not a byte changed."""
    path.write_bytes(b"user_cost: {}\n" * 100)
    with pytest.raises(ConfigError, match="is not a SQLite database: use another file"):
        SQLiteStore(path)
    assert path.read_bytes() == b"user_cost: {}\n" * 100
    assert [file.name for file in path.parent.iterdir()] == ["budgets.db"]


@pytest.mark.parametrize("sql", ["CREATE TABLE users (name)", "PRAGMA application_id=7", "PRAGMA user_version=3"])
def test_a_database_of_another_program_is_left_alone(path: Path, sql: str) -> None:
    """Its tables are not ours to add to."""
    with closing(sqlite3.connect(path, isolation_level=None)) as theirs:
        theirs.execute(sql)
    before = path.read_bytes()
    with closing(SQLiteStore(path)) as store:
        for use in (store.holds, lambda: store.reserve(hold()), lambda: store.put_terms("a", "b")):
            with pytest.raises(StoreError, match="database of another program: use another file"):
                use()
    assert path.read_bytes() == before


def test_whoever_reads_while_the_tables_are_made_sees_nothing_or_all(tmp_path: Path) -> None:
    """A look at a half-made file would take it for another program's."""
    for number in range(25):
        path, made, seen = tmp_path / f"{number}.db", threading.Event(), list[Balance]()
        with closing(SQLiteStore(path, durable=False)) as maker, closing(SQLiteStore(path)) as reader:

            def read(reader: SQLiteStore = reader, made: threading.Event = made, seen: list[Balance] = seen) -> None:
                while not made.is_set():
                    seen.extend(reader.balances(["a"]))

            with ThreadPoolExecutor(1) as pool:
                reading = pool.submit(read)
                maker.put_terms("a", "b")
                made.set()
                reading.result()
            assert set(seen) <= {Balance("a")}


def test_a_newer_schema_is_left_alone(store: SQLiteStore, path: Path) -> None:
    """An older version must not write what it does not understand."""
    spend(store)
    store.close()
    with closing(sqlite3.connect(path, isolation_level=None)) as newer:
        newer.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match=r"schema 99.*upgrade budgetguard"):
        store.reserve(hold())
    with closing(sqlite3.connect(path, isolation_level=None)) as newer:
        newer.execute(f"PRAGMA user_version={VERSION}")


def test_a_damaged_file_is_an_error_of_ours(path: Path) -> None:
    """The driver's own error says nothing of what to do."""
    with closing(SQLiteStore(path)) as store:
        spend(store)
    with path.open("r+b") as file:
        file.seek(100)
        file.write(b"\xff" * 8000)
    with closing(SQLiteStore(path)) as store, pytest.raises(StoreError, match="restore a copy"):
        store.reserve(hold())


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("sqlite:///{path}/nowhere/a.db", "does not exist; create it first"),
        ("sqlite:///{path}", "is a directory: name a file in it"),
        ("sqlite:///", "a SQLite file is sqlite:///budgets.db"),
        ("sqlite://host/a.db", "a SQLite file is sqlite:///budgets.db"),
        ("sqlite:///:memory:", "memory:// needs no file"),
        ("sqlite:///{path}/a.db?synchronous=off", "neither full nor normal"),
        ("sqlite:///{path}/a.db?mode=ro", "unknown option 'mode'"),
        ("memory:///a", "takes nothing behind it"),
        ("mongodb://ann:secret@host/a", "mongodb:// is no store"),
        ("https://ann:secret@host/?a=b", "a server is named by https://host"),
        ("https://ann:secret@host?reserve_s=0", "reserve_s=0 is no time in seconds"),
        ("redis://:secret@host?settle_s=nan", "settle_s=nan is no time in seconds"),
        ("postgresql://ann:secret@host/a?reserve_s=soon", "reserve_s=soon is no time in seconds"),
        ("sqlite:///{path}/a.db?settle_s=61", "settle_s=61 is no time in seconds, above 0 and up to 60"),
        ("secret", "a store is named by a URL"),
        ("", "use memory://, sqlite:///budgets.db, postgresql://host/db, redis://host, valkey://host or https://host"),
    ],
)
def test_a_url_that_cannot_be_used_says_what_can(tmp_path: Path, url: str, told: str) -> None:
    """And never shows a password."""
    with pytest.raises(ConfigError, match=told) as caught:
        open_store(url.format(path=tmp_path))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["http", "redis", "postgresql"])
@pytest.mark.parametrize("reserve_s", [0.05, 0.6])
def test_a_url_says_how_long_a_reserve_may_take(scheme: str, reserve_s: float) -> None:
    """A server that is far away needs more than the usual 0.25 s, and some calls can wait less."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}/0?reserve_s={reserve_s}"
        with closing(open_store(url)) as store:
            begin = time.monotonic()
            with pytest.raises(StoreError):
                store.reserve(hold())
            took_s = time.monotonic() - begin
    assert reserve_s <= took_s < reserve_s + (0.2 if reserve_s < 0.1 else 5)


def test_a_url_says_how_long_a_reserve_waits_for_a_file(path: Path) -> None:
    """Another program may be at it."""
    with closing(open_store(f"sqlite:///{path}?reserve_s=0.05")) as store, closing(sqlite3.connect(path)) as other:
        spend(store)
        other.execute("BEGIN EXCLUSIVE")
        begin = time.monotonic()
        with pytest.raises(StoreError):
            store.reserve(hold())
        assert 0.05 <= time.monotonic() - begin < 0.25
        other.rollback()


def test_a_relative_url_is_below_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the program was when it opened the store, wherever it goes later; %20 is a space."""
    monkeypatch.chdir(tmp_path)
    with closing(open_store("sqlite:///my%20budgets.db?synchronous=normal")) as store:
        monkeypatch.chdir("/")
        spend(store)
        assert (tmp_path / "my budgets.db").exists()


def test_a_child_forked_during_a_long_report_does_not_touch_the_file(
    store: SQLiteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With its parent's connection open in it, SQLite would believe that the child holds the parent's locks."""
    monkeypatch.setattr("budgetguard.stores.sqlite.store.FORK_S", 0.05)
    spend(store)
    with store._file.read(store._file.reporter):
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            status = 1
            try:
                store.reserve(hold())
            except StoreError as error:
                status = 0 if "start the process again" in str(error) else 2
            finally:
                os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    spend(store)


@pytest.mark.parametrize("operation", ["reserve", "settle", "release"])
def test_an_interrupted_operation_leaves_books_that_add_up(operation: str) -> None:
    """Ctrl-C may fall between the books of two accounts; what it broke is mended before anybody sees it."""

    class Interrupted(AccountRow):
        armed = False

        def __setattr__(self, name: str, value: int) -> None:
            if Interrupted.armed and name in {"held", "settled"}:
                Interrupted.armed = False
                raise KeyboardInterrupt
            super().__setattr__(name, value)

    store = MemoryStore()
    store._books.accounts["b"] = Interrupted("b", None, "dollars")
    placed, new = [Hold(new_id(), (Account("a", 100), Account("b", 100)), 10) for _ in range(2)]
    store.reserve(placed)
    work = {
        "reserve": lambda: store.reserve(new),
        "settle": lambda: store.settle(placed, Entry(placed.id, 7)),
        "release": lambda: store.release(placed.id),
    }[operation]
    Interrupted.armed = True
    with pytest.raises(KeyboardInterrupt):
        work()
    assert store.check() == []
    work()
    assert store.check() == []
    assert store.balances(["a"])[0][1:] == store.balances(["b"])[0][1:]
