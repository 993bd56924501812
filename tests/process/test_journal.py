"""What the journal promises: whatever a provider has answered is paid for, once, and nobody waits for it."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import budgetguard
from budgetguard import BudgetExceededError, BudgetManager, ConfigError, StoreError
from budgetguard.guards.settings import Settings
from budgetguard.ledger import Account, Entry, Hold, new_id
from budgetguard.prices.book import PriceBook
from budgetguard.process.journal import Journal
from budgetguard.process.journal_files import SUFFIX, Kept
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.stores.sqlite.store import SQLiteStore
from budgetguard.testing import FakeProvider
from tests.support.children import ends, fork
from tests.support.in_memory import MODEL

PRICES: Any = {MODEL: {"input": 0.15, "output": 0.6}}
SECRET = "the launch code is 0000"


class AwayStore(MemoryStore):
    """A store that can be taken away, and takes a while to say so; it keeps its journal where it is told."""

    blocking = True

    def __init__(self, journal: Path) -> None:
        super().__init__()
        self.journal = str(journal)
        self.away: set[str] = set()
        self.delay_s = 0.0

    def ask(self, name: str, *args: Any) -> Any:
        if name in self.away:
            time.sleep(self.delay_s)
            raise StoreError("the store is away")
        return getattr(MemoryStore, name)(self, *args)

    def reserve(self, hold: Hold) -> Any:
        return self.ask("reserve", hold)

    def settle(self, hold: Hold, entry: Entry) -> Any:
        return self.ask("settle", hold, entry)

    def release(self, hold_id: str) -> None:
        self.ask("release", hold_id)

    def go_away(self) -> None:
        self.away = {"reserve", "settle", "release"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "journal"


@pytest.fixture
def store(directory: Path) -> Iterator[AwayStore]:
    store = AwayStore(directory)
    yield store
    assert store.check() == []


@pytest.fixture(scope="module")
def provider() -> Iterator[FakeProvider]:
    with FakeProvider(tokens=20, prices={MODEL: (0.15, 0.60)}) as running:
        yield running


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, provider: FakeProvider) -> Iterator[Callable[[], Any]]:
    """A call of the SDK, which returns its answer."""
    said: Any = {"model": MODEL, "messages": [{"role": "user", "content": SECRET}], "max_tokens": 50}
    if request.param == "sync":
        with provider.client(max_retries=0) as client:
            yield lambda: client.chat.completions.create(**said)
        return

    async def create() -> Any:
        async with provider.async_client(max_retries=0) as client:
            return await client.chat.completions.create(**said)

    yield lambda: asyncio.run(create())


def manager_of(store: Any, limit: float | None = 1.0, **settings: Any) -> BudgetManager:
    made = BudgetManager("shop", store=store, prices=PriceBook(overrides=PRICES), settings=Settings(**settings))
    if limit is not None:
        made.create_budget(limit, "ann")
    budgetguard.patch(made)
    return made


def files(directory: Path) -> list[Path]:
    return sorted(directory.iterdir()) if directory.exists() else []


def kept(cost: int = 7, **fields: Any) -> Kept:
    held = Hold(new_id(), (Account("a", limit=100),), 10)
    return Kept(held, Entry(held.id, cost, **fields), 0)


def journal_of(store: AwayStore, name: str = "") -> Journal:
    """A journal that does nothing by itself."""

    def settle(item: Kept) -> None:
        store.settle(item.hold, item.entry)

    return Journal(settle, store.release, store.journal, name, background=False)


# A store that goes away.


def test_a_settlement_that_cannot_reach_its_store_lands_when_it_is_back(store, directory, ask):
    """The caller has the answer, and the books have the cost as soon as they can."""
    made = manager_of(store)
    store.away = {"settle"}
    with budgetguard.budget(user="ann"):
        assert ask().usage.completion_tokens == 20
    assert len(made.guard.journal) == 1
    assert [path.suffix for path in files(directory)] == [SUFFIX]
    assert not made.flush(0.05)

    store.away = set()
    assert made.flush(5)
    [entry] = store.entries()
    assert (entry.tags, entry.usage["output_tokens"], entry.flags) == ({"user": "ann"}, 20, frozenset())
    assert made.get_current_cost("ann") == entry.cost / 1e9
    assert store.holds() == []
    assert files(directory) == []


def test_it_lands_by_itself(store, ask):
    """Nobody has to call flush."""
    manager_of(store)
    store.away = {"settle"}
    with budgetguard.budget(user="ann"):
        ask()
    store.away = set()
    until = time.monotonic() + 5
    while not list(store.entries()):
        assert time.monotonic() < until
        time.sleep(0.01)


def test_a_fault_of_a_store_loses_no_settlement(store, ask, monkeypatch, caplog):
    """An error that no store should raise: what was spent is kept all the same, and lands when it is gone."""
    manager = manager_of(store)

    def fail(*_: Any) -> Any:
        raise ZeroDivisionError("a fault of the store")

    with monkeypatch.context() as faulty, budgetguard.budget(user="ann"):
        faulty.setattr(store, "settle", fail)
        faulty.setattr(manager.guard.journal, "_start", lambda: None)
        ask()
    assert "could not be settled, and waits" in caplog.text
    assert manager.get_current_cost("ann") == 0
    assert manager.flush()
    assert manager.get_current_cost("ann") > 0


def test_answers_do_not_wait_for_a_store_that_is_away(store, ask):
    """The first one finds out; those after it are kept at once."""
    made = manager_of(store)
    store.away, store.delay_s = {"settle"}, 1.5
    with budgetguard.budget(user="ann"):
        ask()
        begin = time.monotonic()
        for _ in range(3):
            ask()
        assert time.monotonic() - begin < 1.5
    assert len(made.guard.journal) == 4
    store.away = set()
    assert made.flush(5)
    assert len(list(store.entries())) == 4


def test_a_call_is_refused_before_it_is_sent_while_the_store_is_away(store, provider, ask):
    """By default a budget that cannot be asked says no; no hold is left behind when the store returns (P10)."""
    made = manager_of(store)
    store.go_away()
    sent = len(provider.requests)
    with budgetguard.budget(user="ann"), pytest.raises(StoreError, match="the store is away"):
        ask()
    assert len(provider.requests) == sent
    store.away = set()
    assert made.flush(5)
    assert list(store.entries()) == []
    with budgetguard.budget(user="ann"):
        ask()


def test_a_refused_call_does_not_wait_to_release(store, ask):
    """A reserve that failed is given back later: the caller hears of the failure at once."""
    made = manager_of(store)
    store.go_away()
    store.delay_s = 0.3
    begin = time.monotonic()
    with budgetguard.budget(user="ann"), pytest.raises(StoreError):
        ask()
    assert time.monotonic() - begin < 0.55
    store.away = set()
    assert made.flush(5)


def test_a_hold_that_was_placed_unheard_is_given_back(store, ask):
    """The store took the hold, and its answer was lost: the budget must not be blocked until the ttl."""
    made = manager_of(store)
    taken = []

    def lost(hold: Hold) -> Any:
        taken.append(MemoryStore.reserve(store, hold))
        raise StoreError("the connection broke")

    store.reserve = lost
    with budgetguard.budget(user="ann"), pytest.raises(StoreError):
        ask()
    assert len(taken) == 1
    assert made.flush(5)
    assert store.holds() == []


# Open, with an allowance.


def test_calls_pass_without_a_store_as_long_as_the_allowance_lasts(store, provider, ask):
    """What may be lost to an outage is a number of dollars that somebody has set."""
    made = manager_of(store, on_store_error="open", allowance=0.0001)  # a call of 50 tokens at most holds $0.00004
    store.go_away()
    bills = len(provider.ledger)
    passed = 0
    with budgetguard.budget(user="ann"):
        for _ in range(20):
            try:
                ask()
            except StoreError as refused:
                assert "allowance for calls without it, 0.0001, is used up" in str(refused)  # noqa: PT017
                break
            passed += 1
    billed = sum(bill.amount for bill in provider.wait().ledger[bills:])
    assert passed >= 3
    assert billed <= 100_000
    assert made.guard.spare.settled == billed

    store.away = set()
    assert made.flush(5)
    assert sum(entry.cost for entry in store.entries()) == billed == round(made.get_current_cost("ann") * 1e9)
    assert made.guard.spare.balance[1:] == (0, 0)
    with budgetguard.budget(user="ann"):
        ask()
    assert made.guard.spare.balance[1:] == (0, 0)


def test_a_budget_that_this_process_never_saw_is_charged_all_the_same(store, ask):
    """It started while the store was away, so it could not know that the user has a budget."""
    BudgetManager("shop", store=store).create_budget(1.0, "ann", "monthly")
    made = manager_of(store, None, on_store_error="open", allowance=1)
    store.go_away()
    with budgetguard.budget(user="ann"):
        ask()
    store.away = set()
    assert made.flush(5)
    [entry] = store.entries()
    assert made.get_current_cost("ann") == entry.cost / 1e9 > 0
    assert made.get_model_cost("ann") == {MODEL: entry.cost / 1e9}


def test_a_store_that_answers_is_obeyed_whatever_the_allowance(store, ask):
    """Open is for a store that is away, not for a budget that is used up."""
    manager_of(store, 0.00000001, on_store_error="open", allowance=1)
    with budgetguard.budget(user="ann"), pytest.raises(BudgetExceededError):
        ask()


@pytest.mark.parametrize(
    "settings",
    [{"on_store_error": "open"}, {"allowance": 1}, {"on_store_error": "maybe"}],
    ids=["no allowance", "not open", "no such choice"],
)
def test_open_needs_an_allowance(settings):
    """Half a setting would be a limit that is none."""
    with pytest.raises(ConfigError, match="on_store_error="):
        Settings(**settings)


# The files.


def test_what_a_dead_process_left_lands_later(store, directory):
    """A file that nobody locks is nobody's."""
    store.go_away()
    first = journal_of(store)
    items = [kept(cost) for cost in (1, 2, 4)]
    for item in items:
        first.keep(item)
    store.away = set()
    second = journal_of(store)
    assert second.replay()
    assert list(store.entries()) == [], "the first one lives"

    first.close()
    assert second.replay()
    assert {(entry.hold_id, entry.cost) for entry in store.entries()} == {(i.hold.id, i.entry.cost) for i in items}
    assert store.balances(["a"])[0].settled == 7
    assert files(directory) == []


def test_what_landed_before_a_crash_is_not_counted_again(store, directory):
    """The process died between the last settlement and the removal of its file."""
    first = journal_of(store)
    first.keep(kept())
    [path] = files(directory)
    text = path.read_bytes()
    assert first.replay()
    path.write_bytes(text)
    assert journal_of(store).replay()
    assert store.balances(["a"])[0].settled == 7


def test_everything_of_a_settlement_is_kept(store):
    """The entry that lands is the one that was due, with any text in it."""
    said = {
        "accounts": ("models/ann/gpt",),
        "tags": {"user": "Ünï \ud800\n"},
        "provider": "openai",
        "model": "gpt",
        "usage": {"input_tokens": 3},
        "flags": frozenset({"cut", "capped"}),
    }
    held = Hold(new_id(), (Account("day/2027", limit=5, end_ms=99), Account("b")), 10)
    first = journal_of(store)
    first.keep(Kept(held, Entry(held.id, 7, **said), 0))
    first.close()
    assert journal_of(store).replay()
    [entry] = store.entries()
    assert entry == Entry(held.id, 7, **said)._replace(
        accounts=("models/ann/gpt", "day/2027", "b"), at_ms=entry.at_ms, flags=frozenset({"cut", "capped", "late"})
    )


def test_no_prompt_and_no_answer_is_written(store, directory, ask, monkeypatch):
    """What stands in the file is what stands in the history."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-very-secret")
    made = manager_of(store)
    store.away = {"settle"}
    with budgetguard.budget(user="ann"):
        answer = ask().choices[0].message.content
    [path] = files(directory)
    text = path.read_text()
    for secret in (SECRET, "launch", answer, "sk-very-secret"):
        assert secret not in text
    head, line = map(json.loads, text.splitlines())
    assert head == {"budgetguard": 2, "store": None, "of": "default"}
    assert set(line) == {"id", "cost", "at_ms", "usage", "units", "kept"}
    assert set(line["kept"]) == {"hold", "entry"}
    assert set(line["kept"]["hold"]) == {"id", "accounts", "amount"}
    assert set(line["kept"]["entry"]) <= {"hold_id", "cost", "accounts", "tags", "provider", "model", "flags"}
    store.away = set()
    assert made.flush(5)


def left_behind(store: AwayStore, directory: Path, *costs: int) -> Path:
    journal = journal_of(store)
    for cost in costs:
        journal.keep(kept(cost))
    journal.close()
    [path] = files(directory)
    return path


@pytest.mark.parametrize("cut", [1, 2, 40])
def test_a_line_that_was_cut_off_does_not_stop_the_others(store, directory, caplog, cut):
    """The process died while it was writing: that is said, and all before it lands."""
    path = left_behind(store, directory, 1, 2)
    path.write_bytes(path.read_bytes()[:-cut])
    assert journal_of(store).replay()
    assert [entry.cost for entry in store.entries()] == [1]
    assert "ends in the middle of a line" in caplog.text
    assert files(directory) == []


@pytest.mark.parametrize("number", [1, 2])
def test_a_damaged_line_is_reported_and_the_file_is_not_thrown_away(store, directory, caplog, number):
    """Somebody may still read the amounts out of it. Without its first line nobody knows whose it is."""
    path = left_behind(store, directory, 1, 2)
    lines = path.read_bytes().split(b"\n")
    lines[number - 1] = b"\x00" * 20
    path.write_bytes(b"\n".join(lines))
    assert journal_of(store).replay()
    assert [entry.cost for entry in store.entries()] == ([] if number == 1 else [2])
    assert f"damaged in line {number}" in caplog.text
    assert [item.name for item in files(directory)] == [path.name + ".damaged"]
    caplog.clear()
    assert journal_of(store).replay()
    assert caplog.text == ""


def test_stores_that_share_a_directory_do_not_take_each_others_files(store, directory):
    """The money belongs on the books that it was held on."""
    mine = journal_of(store, "mine")
    mine.keep(kept())
    mine.close()
    assert journal_of(store, "yours").replay()
    assert list(store.entries()) == []
    assert journal_of(store, "mine").replay()
    assert len(list(store.entries())) == 1


def test_a_settlement_that_always_fails_does_not_hold_up_the_others(store):
    """Each failure lets another one go first."""
    journal = journal_of(store)
    bad, good = kept(), kept()

    def settle(item: Kept) -> None:
        if item.hold.id == bad.hold.id:
            raise StoreError("never")
        store.settle(item.hold, item.entry)

    journal._settle = settle
    journal.keep(bad)
    journal.keep(good)
    assert not journal.flush(0.3)
    assert [entry.hold_id for entry in store.entries()] == [good.hold.id]
    assert len(journal) == 1
    journal.close()


@pytest.mark.parametrize(("cost", "booked"), [(10**24, 9 * 10**15), (-5, 0)])
@pytest.mark.parametrize("left", [False, True], ids=["living", "left"])
def test_a_cost_that_no_store_can_book_is_booked_at_the_most_that_can_be(store, directory, cost, booked, left, caplog):
    """$10**15 of one absurd reply: it is said once, nothing waits for it, and a restart does not read it again."""
    journal = journal_of(store)
    bad, good = kept(cost), kept()
    journal.keep(bad)
    journal.keep(good)
    if left:
        journal.close()
        journal._waiting.clear()
        journal = journal_of(store)
    assert journal.flush(1)
    assert {entry.hold_id: entry.cost for entry in store.entries()} == {bad.hold.id: booked, good.hold.id: 7}
    assert files(directory) == []
    assert not journal.behind
    assert caplog.text.count(bad.hold.id) == 1
    assert journal_of(store).replay()
    assert store.balances(["a"])[0].settled == booked + 7


def test_a_journal_that_cannot_be_written_is_said_and_the_money_stays_in_memory(store, directory, caplog):
    """The answer is out: nothing may be raised now."""
    journal = journal_of(store)
    directory.write_text("in the way")
    item = kept(2_000_000_000)
    journal.keep(item)
    assert f"call {item.hold.id} cost $2.00, which waits for the store in memory" in caplog.text
    directory.unlink()
    assert journal.replay()
    assert [entry.cost for entry in store.entries()] == [2_000_000_000]


def test_a_full_disk_leaves_no_half_line(store, directory, monkeypatch, caplog):
    """What comes after it must be readable."""
    journal = journal_of(store)
    journal.keep(kept(1))
    write, calls = os.write, []

    def short(fd: int, data: bytes) -> int:
        calls.append(data)
        if len(calls) > 1:
            raise OSError(28, "No space left on device")
        return write(fd, data[:10])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", short)
        journal.keep(kept(2))
    assert "No space left" in caplog.text
    journal.keep(kept(4))
    journal.close()
    assert journal_of(store).replay()
    assert sorted(entry.cost for entry in store.entries()) == [1, 4]


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda path: path.write_text(""), "is no directory"),
        (lambda path: path.symlink_to("/proc/1/nowhere"), "the directory above it does not exist"),
    ],
    ids=["a file", "nowhere"],
)
def test_a_directory_that_cannot_be_used_is_an_error_at_the_start(tmp_path, make, told):
    """Not when the first call has been paid for."""
    make(tmp_path / "journal")
    place = tmp_path / "journal" if told == "is no directory" else tmp_path / "journal" / "deeper"
    with pytest.raises(ConfigError, match=told):
        BudgetManager("shop", store="memory://", settings=Settings(journal=place))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_of_somebody_else_is_an_error_at_the_start(tmp_path):
    """As above."""
    (tmp_path / "journal").mkdir(mode=0o500)
    with pytest.raises(ConfigError, match="change its permissions"):
        BudgetManager("shop", store="memory://", settings=Settings(journal=tmp_path / "journal"))


def test_nothing_is_written_while_the_store_answers(store, directory, ask):
    """The journal costs a call nothing."""
    manager_of(store)
    with budgetguard.budget(user="ann"):
        ask()
    assert not directory.exists()


def test_a_forked_child_leaves_its_parents_settlements_alone(store, directory):
    """Both would land the same ones, which is harmless; but the file is locked by the parent, and stays so."""
    journal = journal_of(store)
    journal.keep(kept())

    def replay() -> None:
        assert not journal.pending
        assert journal_of(store).replay()
        assert list(store.entries()) == []

    assert ends(fork(replay)) == [0]
    assert len(files(directory)) == 1
    assert journal.replay()
    assert len(list(store.entries())) == 1


# Processes that end.

WORKER = """
import sys, openai, budgetguard
from budgetguard.prices import PriceBook

manager = budgetguard.BudgetManager(
    "shop", store=sys.argv[1], prices=PriceBook(overrides={"gpt-4o-mini": {"input": 0.15, "output": 0.6}})
)
manager.create_budget(1.0, "ann")
budgetguard.patch(manager)
client = openai.OpenAI(base_url=sys.argv[2], api_key="-", max_retries=0)
with budgetguard.budget(user="ann"):
    stream = client.chat.completions.create(
        model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], stream=True,
        stream_options={"include_usage": True},
    )
    print("held", flush=True)
    sys.stdin.readline()
    for _ in stream:
        pass
    print("answered", len(manager.guard.journal), flush=True)
    sys.stdin.readline()
"""


@pytest.mark.parametrize("end", ["killed", "ended", "ended when the store was back"])
def test_a_restart_lands_what_waited(tmp_path, provider, end):
    """A program that looks into the file with another tool keeps the store from answering."""
    path = tmp_path / "budgets.db"
    directory = tmp_path / "budgets.db-unsettled"
    bills = len(provider.ledger)
    arguments = [sys.executable, "-c", WORKER, f"sqlite:///{path}", provider.base_url]
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as worker:
        assert worker.stdout.readline() == "held\n"
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            worker.stdin.write("\n")
            worker.stdin.flush()
            assert worker.stdout.readline() == "answered 1\n"
            assert len(files(directory)) == 1
            if end == "killed":
                worker.kill()
            elif end == "ended":
                worker.communicate("\n", timeout=20)
                assert worker.returncode == 0
            other.execute("ROLLBACK")
        if end == "ended when the store was back":
            worker.communicate("\n", timeout=20)
            assert files(directory) == []
    billed = sum(bill.amount for bill in provider.wait().ledger[bills:])
    assert billed > 0
    with closing(BudgetManager("shop", store=f"sqlite:///{path}")) as later:
        assert later.flush(5)
        assert later.get_current_cost("ann") == billed / 1e9
        assert len(list(later.store.entries())) == 1
        assert later.store.holds() == []
        assert later.store.check() == []
    assert files(directory) == []


def test_the_end_of_a_process_says_what_waits(store, caplog):
    """And where: somebody may want to start it again."""
    from budgetguard.process.journal import flush_all

    made = manager_of(store)
    made.guard.journal.keep(kept())
    store.go_away()
    made.guard.journal.keep(kept())
    begin = time.monotonic()
    with caplog.at_level(logging.WARNING):
        flush_all(0.2)
    assert time.monotonic() - begin < 1
    assert f"settlements wait for their store in {store.journal}" in caplog.text
    store.away = set()
    assert made.flush(5)


def test_a_sqlite_store_has_its_journal_beside_its_file(tmp_path):
    """A namespace each, so that projects which share a file do not settle for each other."""
    with closing(SQLiteStore(tmp_path / "a.db", namespace="shop")) as store:
        assert (store.journal, store.namespace) == (str(tmp_path / "a.db-unsettled"), "shop")
