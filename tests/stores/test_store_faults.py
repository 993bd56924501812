"""
What may befall a SQLite file while processes spend from it: kills, stops, power cuts, and visitors.

Full disks, foreign files and forks are in `test_stores.py`; lost messages and clocks that jump are played in
`test_simulation.py`. The faults here are real ones, but for the power: that is cut in a replay of what a process
wrote, in which every write that was not synced may be dropped, or torn at a sector. A drive that says that it has
synced what it has not is not covered, here or by SQLite.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from budgetguard.errors import StoreError
from budgetguard.ledger import Account, Admitted, Entry, Hold, Refusal, Settled, new_id
from budgetguard.stores.sqlite.store import SQLiteStore
from tests.support.ledger import ACCOUNT, integrity


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    pipe = subprocess.PIPE
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)], stdin=pipe, stdout=pipe, text=True, bufsize=1
    )


# Kills and stops.

SPENDER = """
import sys
from budgetguard.ledger import Account, Entry, Hold, new_id
from budgetguard.stores.sqlite.store import SQLiteStore

store = SQLiteStore(sys.argv[1], reserve_s=5, settle_s=5)
account = Account("team/2027-01", limit=10**12)
while True:
    held = Hold(new_id(), (account,), 10, ttl_ms=int(sys.argv[2]))
    print("reserve", held.id, flush=True)
    store.reserve(held)
    store.settle(held, Entry(held.id, 7))
    print("settled", held.id, flush=True)
"""


def test_processes_that_are_killed_again_and_again_lose_nothing(path):
    """An acknowledged settle is there, books are whole, and what the dead held comes back by itself (P3, P4, P7)."""
    said: dict[str, set[str]] = {"reserve": set(), "settled": set()}
    chance = random.Random(1)
    for _ in range(4):
        workers = [start(SPENDER, path, 1000) for _ in range(4)]
        for worker in workers:
            assert worker.stdout.readline().startswith("reserve")
        time.sleep(chance.uniform(0.05, 0.3))
        for worker in workers:
            worker.kill()
        for worker in workers:
            with worker:
                for line in worker.stdout.read().splitlines(keepends=True):
                    if line.endswith("\n"):
                        word, hold_id = line.split()
                        said[word].add(hold_id)
    assert len(said["settled"]) > 50
    with closing(SQLiteStore(path)) as store:
        assert store.check() == []
        entries = {entry.hold_id: entry.cost for entry in store.entries()}
        assert said["settled"] <= set(entries)
        assert set(entries.values()) == {7}
        assert {hold.id for hold in store.holds()}.isdisjoint(entries)
        time.sleep(1.05)
        assert store.holds() == []
        whole = Hold(new_id(), (Account(ACCOUNT.key, limit=7 * len(entries) + 10),), 10)
        assert isinstance(store.reserve(whole), Admitted)
        store.release(whole.id)
        assert store.check() == []
    assert integrity(path) == "ok"


SLEEPER = """
import os, sys
from budgetguard.ledger import Account, Entry, Hold
from budgetguard.stores.sqlite.store import SQLiteStore

store = SQLiteStore(sys.argv[1])
held = Hold("a" * 32, (Account("team/2027-01", limit=100),), 80, ttl_ms=400)
print(type(store.reserve(held)).__name__, flush=True)
sys.stdin.readline()
print(store.settle(held, Entry(held.id, 80)).late, flush=True)
"""


def test_a_process_that_was_stopped_past_the_ttl_settles_late_and_in_full(path):
    """Its room was given to another meanwhile; what it spent was spent, so the next one is refused (P6, P7)."""
    account = Account("team/2027-01", limit=100)
    with closing(SQLiteStore(path)) as store, start(SLEEPER, path) as sleeper:
        assert sleeper.stdout.readline() == "Admitted\n"
        sleeper.send_signal(signal.SIGSTOP)
        other = Hold(new_id(), (account,), 60)
        assert isinstance(store.reserve(other), Refusal)
        time.sleep(0.45)
        assert isinstance(store.reserve(other), Admitted)
        assert store.settle(other, Entry(other.id, 60)) == Settled(60)
        sleeper.send_signal(signal.SIGCONT)
        sleeper.communicate("\n", timeout=20)
        assert store.balances([account.key])[0].settled == 140
        refusal = store.reserve(Hold(new_id(), (account,), 1))
        assert isinstance(refusal, Refusal)
        assert not refusal.busy
        assert [entry.flags for entry in store.entries()].count(frozenset({"late"})) == 1
        assert store.check() == []


# Visitors.

VISITOR = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM entries").fetchone()[0])
connection.close()
"""


def test_a_program_that_looks_into_the_file_does_not_take_the_log_away(path):
    """
    The last one to close a file removes its log; whoever is still there must not be overlooked.

    POSIX drops a process's locks on a file when it closes any handle of it. So a store that opened the file to look
    at its first bytes would lose what it writes after somebody else's visit.
    """
    with closing(SQLiteStore(path)) as store:
        ids = []

        def spend() -> None:
            held = Hold(new_id(), (ACCOUNT,), 10)
            store.reserve(held)
            store.settle(held, Entry(held.id, 7))
            ids.append(held.id)

        spend()
        with closing(SQLiteStore(path, namespace="another project of this process")) as second:
            second.put_terms("a", "b")
            subprocess.run([sys.executable, "-c", VISITOR, path], check=True, capture_output=True)
            spend()
        subprocess.run([sys.executable, "-c", VISITOR, path], check=True, capture_output=True)
        spend()
        seen = subprocess.run([sys.executable, "-c", VISITOR, path], check=True, capture_output=True, text=True)
        assert int(seen.stdout) == len(ids) == 3
        assert {entry.hold_id for entry in store.entries()} == set(ids)


# Files that go away.


@pytest.mark.parametrize("how", ["directory", "file", "replaced", "removed for good"])
def test_a_file_that_was_removed_or_replaced_takes_no_more_payments(tmp_path, how, caplog):
    """
    Ten payments of 10: nine are made, the file goes, and what comes after must be where others see it.

    The one who had it open says so, once, and then goes by what is there, as a process does that starts now.
    """
    home = tmp_path / "home"
    home.mkdir()
    path = home / "budgets.db"
    account = Account("team/2027-01", limit=100)

    def pay(store: SQLiteStore) -> bool:
        held = Hold(new_id(), (account,), 10)
        if not isinstance(store.reserve(held), Admitted):
            return False
        store.settle(held, Entry(held.id, 10))
        return True

    with closing(SQLiteStore(path)) as first:
        assert sum(pay(first) for _ in range(9)) == 9
        assert first.balances([account.key])[0].settled == 90
        late = Hold(new_id(), (account,), 10)
        first.reserve(late)
        if how == "replaced":
            with closing(SQLiteStore(tmp_path / "other.db")) as other:
                assert pay(other)
            for name in ("-wal", "-shm"):
                Path(f"{path}{name}").unlink()
            os.replace(tmp_path / "other.db", path)
        elif how == "file":
            for each in home.iterdir():
                each.unlink()
        else:
            shutil.rmtree(home)
            if how == "directory":
                home.mkdir()
        with pytest.raises(StoreError, match="removed or replaced"):
            first.settle(late, Entry(late.id, 10))
        assert caplog.text.count("removed or replaced") == 1
        if how == "removed for good":
            with pytest.raises(StoreError, match="No such file or directory"):
                pay(first)
            return
        before = 10 if how == "replaced" else 0
        assert first.balances([account.key])[0].settled == before
        first.settle(late, Entry(late.id, 10))  # as the journal repeats it
        with closing(SQLiteStore(path)) as second:
            assert second.balances([account.key])[0].settled == before + 10
            assert sum(pay(store) for _ in range(10) for store in (first, second)) == 9 - before // 10
            assert second.balances([account.key])[0].settled == 100


# Power cuts.

WRITER = """
import os, sys
from budgetguard.ledger import Account, Entry, Hold, new_id
from budgetguard.stores.sqlite import link
from budgetguard.stores.sqlite.store import SQLiteStore

link.LOG_PAGES = 300  # many checkpoints, too
store = SQLiteStore(sys.argv[1], durable=sys.argv[2] == "durable", reserve_s=30, settle_s=30)
account = Account("team/2027-01", limit=10**12)
for number in range(int(sys.argv[3])):
    held = Hold(new_id(), (account,), 10)
    store.reserve(held)
    store.settle(held, Entry(held.id, 7))
    os.write(1, held.id.encode())
os._exit(0)
"""

SECTOR = 512
CALL = re.compile(r"^(\w+)\((.*)\) += (-?\d+)")


@dataclass
class Disk:
    """One file: what is safe, and what was written since the last sync."""

    safe: bytearray = field(default_factory=bytearray)
    since: list[tuple[int, bytes | None]] = field(default_factory=list)
    unlinked: bool = False
    """Whether it was removed; that is safe once its directory is synced."""

    def write(self, offset: int, data: bytes | None) -> None:
        self.since.append((offset, data))

    def sync(self) -> None:
        for offset, data in self.since:
            put(self.safe, offset, data)
        self.since.clear()

    def after_a_cut(self, chance: random.Random) -> bytes:
        """What may be found: every write that was not synced is there, or is not, or is there in part."""
        found = bytearray(self.safe)
        for offset, data in self.since:
            fate = chance.random()
            if fate < 0.4:
                continue
            if data is not None and fate < 0.6:
                for place in range(0, len(data), SECTOR):
                    if chance.random() < 0.5:
                        put(found, offset + place, data[place : place + SECTOR])
                continue
            put(found, offset, data)
        return bytes(found)


def put(content: bytearray, offset: int, data: bytes | None) -> None:
    """Write at an offset; `None` cuts the file off there."""
    if data is None:
        del content[offset:]
        return
    content.extend(bytes(max(0, offset + len(data) - len(content))))
    content[offset : offset + len(data)] = data


def unhex(text: str) -> bytes:
    return bytes.fromhex(text.replace("\\x", ""))


def trace(path: Path, how: str, pairs: int) -> list[tuple[str, tuple[str, ...]]]:
    """Every write and sync of a process that spends, in order, and what it acknowledged."""
    log = path.with_suffix(".trace")
    calls = "trace=openat,close,pwrite64,write,fdatasync,fsync,ftruncate,unlink"
    command = ["strace", "-xx", "-s", "100000", "-o", log, "-e", calls, sys.executable, "-c", WRITER, path, how, pairs]
    subprocess.run([str(word) for word in command], check=True, capture_output=True, timeout=60)
    events = []
    names: dict[str, str] = {}
    for line in log.read_text().splitlines():
        match = CALL.match(line)
        if match is None or match[3].startswith("-"):
            continue
        call, arguments, answer = match.groups()
        given = arguments.split(", ")
        if call == "unlink":
            events.append((call, (os.path.basename(unhex(given[0].strip('"')).decode()),)))
        elif call == "openat":
            names[answer] = os.path.basename(unhex(given[1].strip('"')).decode(errors="replace"))
        elif call == "write" and given[0] == "1":
            events.append(("ack", (unhex(given[1].strip('"')).decode(),)))
        elif call == "fsync" and names.get(given[0]) == path.parent.name:
            events.append(("sync directory", ()))
        elif names.get(given[0], "").startswith(path.name):
            events.append((call, (names[given[0]], *given[1:])))
    return events


def cuts(events: list[tuple[str, tuple[str, ...]]], times: int, chance: random.Random) -> Iterator[tuple[dict, set]]:
    """What is left of the files after power cuts at random moments, and what had been acknowledged by then."""
    first = next(place for place, (call, _) in enumerate(events) if call == "ack")
    moments = set(chance.sample(range(first, len(events)), times))
    disks: dict[str, Disk] = {}
    acknowledged: set[str] = set()
    for moment, (call, given) in enumerate(events):
        if moment in moments:
            there = {name: disk for name, disk in disks.items() if not disk.unlinked or chance.random() < 0.5}
            yield {name: disk.after_a_cut(chance) for name, disk in there.items()}, set(acknowledged)
        if call == "ack":
            acknowledged.add(given[0])
            continue
        if call == "sync directory":
            disks = {name: disk for name, disk in disks.items() if not disk.unlinked}
            continue
        disk = disks.setdefault(given[0], Disk())
        if call == "pwrite64":
            disk.write(int(given[3]), unhex(given[1].strip('"')))
        elif call == "ftruncate":
            disk.write(int(given[1]), None)
        elif call in {"fdatasync", "fsync"}:
            disk.sync()
        elif call == "unlink":
            disk.unlinked = True


def losses(tmp_path: Path, how: str) -> tuple[int, int]:
    """After how many power cuts an acknowledged settlement was missing, and how many there were."""
    path = tmp_path / how / "budgets.db"
    path.parent.mkdir()
    events = trace(path, how, 300)
    assert sum(call == "ack" for call, _ in events) == 300
    assert sum(call == "fdatasync" and given[0] == path.name for call, given in events) > 3, "no checkpoint was cut"
    lost = done = 0
    for done, (files, acknowledged) in enumerate(cuts(events, 150, random.Random(3)), 1):
        after = tmp_path / how / str(done)
        after.mkdir()
        for name, content in files.items():
            if not name.endswith(("-shm", "-line", "-turn", "-ballast")):
                (after / name).write_bytes(content)
        with closing(SQLiteStore(after / "budgets.db")) as store:
            assert store.check() == []
            entries = {entry.hold_id for entry in store.entries()}
            lost += not acknowledged <= entries
            held = Hold(new_id(), (ACCOUNT,), 10)
            assert isinstance(store.reserve(held), Admitted)
        assert integrity(after / "budgets.db") == "ok"
        shutil.rmtree(after)
    return lost, done


needs_strace = pytest.mark.skipif(
    shutil.which("strace") is None and not os.environ.get("CI"), reason="strace shows what a process writes"
)


@needs_strace
def test_a_power_cut_loses_no_acknowledged_settlement(tmp_path):
    """One sync for each settlement is enough, and the file is whole after every cut (P4)."""
    assert losses(tmp_path, "durable") == (0, 150)


@needs_strace
def test_without_the_sync_power_cuts_do_lose_settlements(tmp_path):
    """So the test above can fail. `synchronous=normal` says as much; the file is whole all the same."""
    lost, _ = losses(tmp_path, "normal")
    assert lost > 15
