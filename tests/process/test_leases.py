"""
A leased budget holds as exactly as any other, is used to its end, and asks the store now and then.

The calls here are real ones on a fake provider where a guard is tested, and holds of their own where the leases are.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import openai
import pytest

import budgetguard
from budgetguard import Budget, BudgetManager, ConfigError, PriceBook, StoreError
from budgetguard.errors import BudgetBusyError, BudgetExceededError
from budgetguard.guards.settings import Settings
from budgetguard.ledger import Account, Balance, Entry, Hold, Refusal, Stale, Store, new_id
from budgetguard.money import DOLLAR
from budgetguard.process.journal_files import SUFFIX
from budgetguard.process.slices import FIRST_CALLS, IDLE_S, SLICES
from budgetguard.stores import open_store
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.stores.sqlite.store import SQLiteStore
from budgetguard.testing import FakeProvider
from budgetguard.testing.clock import StoppedClock
from budgetguard.testing.contract import together
from tests.support import ENVIRONMENT, servers
from tests.support.endpoint import bill
from tests.support.leasing import FLEET, TTL_MS, Process

pytestmark = pytest.mark.provider(tokens=20, prices=bill)


class CountingStore(MemoryStore):
    """A store that counts how often it is asked, and can be taken away."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.asked: Counter[str] = Counter()
        self.away = False

    def _ask(self, name: str) -> None:
        self.asked[name] += 1
        if self.away:
            raise StoreError("the store is away")

    def reserve(self, hold: Hold) -> Any:
        self._ask("reserve")
        return super().reserve(hold)

    def settle(self, hold: Hold, entry: Entry) -> Any:
        self.asked["settle"] += 1
        return super().settle(hold, entry)

    def settle_many(self, settlements: Any) -> Any:
        self._ask("settle_many")
        answers = super().settle_many(settlements)
        self.asked["settle"] -= len(settlements)
        return answers

    def release(self, hold_id: str) -> None:
        self._ask("release")
        super().release(hold_id)


@pytest.fixture
def store() -> CountingStore:
    return CountingStore()


def taken(store: Store, account: Account = FLEET) -> tuple[int, int]:
    found = store.balances([account.key])[0]
    return found.settled, found.held


def test_a_leased_call_costs_a_twentieth_of_the_store(store):
    """Two calls of the store for each call of the provider is what a lease is there to save."""
    process = Process(store)
    for _ in range(2000):
        assert process.spend(100, 60)
    process.leases.close()
    assert taken(store) == (120_000, 0)
    assert len(list(store.entries())) == 2000
    assert store.asked.total() * 20 <= 2 * 2000


def test_a_leased_call_takes_eight_functions(store, tmp_path):
    """Of what a process holds: taking, naming and settling, with a line in a file. It is on the path of every call."""
    process = Process(store, tmp_path)
    process.leases._sender.thread = threading.current_thread()  # as if it were sending
    assert process.spend(100, 60)
    hold, called = Hold(new_id(), (), 100), []

    def note(frame: Any, event: str, _: object) -> None:
        if event == "call" and "/process/" in frame.f_code.co_filename:
            called.append(frame.f_code.co_name)

    sys.setprofile(note)
    process.leases.take(hold, (FLEET,))
    process.settle(hold._replace(leases=process.leases.ids(hold.id)), 60)
    sys.setprofile(None)
    assert called == ["take", "ids", "settle", "line", "line_of", "put", "append", "_end"]


def test_a_slice_is_held_like_any_other_money(store):
    """So no other process can spend it, with a lease or without."""
    process = Process(store)
    hold = process.take(100)
    assert isinstance(hold, Hold)
    assert taken(store) == (0, 100 * FIRST_CALLS)
    assert [item.tags["lease"].rpartition(":")[2] for item in store.holds()] == [str(os.getpid())]
    rest = Hold(new_id(), (FLEET,), FLEET.limit - 100 * FIRST_CALLS + 1)
    assert isinstance(store.reserve(rest), Refusal)
    assert not isinstance(store.reserve(rest._replace(id=new_id(), amount=rest.amount - 1)), Refusal)


def test_what_is_settled_is_no_longer_held(store):
    """The sum of both is what it was before a batch is sent, and after it."""
    process = Process(store)
    hold = process.take(100)
    process.settle(hold, 40)
    assert taken(store) == (0, 100 * FIRST_CALLS)
    process.leases.flush()
    assert taken(store) == (40, 100 * FIRST_CALLS - 40)
    assert store.check() == []
    process.leases.close()
    assert taken(store) == (40, 0)


def test_a_slice_is_a_small_part_of_what_is_unspent(store):
    """However fast a process is: others find room, too."""
    process = Process(store)
    for _ in range(500):
        assert process.spend(1000, 1000)
        process.leases.flush()
        settled, held = taken(store)
        assert held <= max((FLEET.limit - settled) // SLICES, 1000)


def test_the_limit_holds_and_the_budget_is_used_to_its_end(store):
    """Eight processes with eight threads each: what they spend together is the limit, to the last call."""
    processes = [Process(store) for _ in range(8)]

    def work(place: int) -> list[int]:
        process, count = processes[place % 8], 0
        for _ in range(2000):
            if process.spend(500, 300):
                count += 300
            elif isinstance(process.take(500), Refusal):
                process.leases.flush(everything=True)
        return [count]

    spent = sum(together(16, work))
    for process in processes:
        for hold_id in list(process.leases._taken):
            process.leases.give_back(hold_id)
        process.leases.close()
    settled, held = taken(store)
    assert settled == spent <= FLEET.limit
    assert held == 0
    assert spent > FLEET.limit * 95 // 100
    assert store.check() == []


def test_a_slice_that_nobody_uses_goes_back(store):
    """After a moment: a process that has nothing to do keeps nothing from the others."""
    clock = StoppedClock()
    process = Process(store, clock=clock)
    hold = process.take(100)
    clock.advance(IDLE_S + 0.1)
    process.leases.flush()
    assert taken(store)[1] > 0, "a slice went back under a call"
    process.settle(hold, 60)
    process.leases.flush()
    assert taken(store) == (60, 0)
    assert not process.leases.pending


def test_a_slice_grows_with_the_pace(store):
    """A few seconds' worth, and no more than the limit for slices."""
    clock = StoppedClock()
    process = Process(store, clock=clock)
    held = []
    for _ in range(100):
        process.spend(10, 10)
        clock.advance(0.01)
        held.append(taken(store)[1])
    process.leases.flush()
    assert store.asked["reserve"] == 2, "a second's worth, then five"


def test_the_last_of_a_budget_is_not_stranded_in_the_leases_of_the_one_who_asks(store):
    """A call that is larger than what is left of a slice gets it together with what the store has."""
    account = Account("small//all", limit=1000, lease="release")
    process = Process(store)
    assert process.spend(10, 10, account)
    assert taken(store, account)[1] > 0
    hold = process.take(990, account)
    assert isinstance(hold, Hold)
    refusal = process.take(1, account)
    assert isinstance(refusal, Refusal)
    assert (refusal.account, refusal.busy) == (account, True)
    process.settle(hold, 990, account)
    refusal = process.take(1, account)
    assert isinstance(refusal, Refusal)
    assert not refusal.busy


def test_a_call_without_a_cap_gets_its_share_of_the_budget_not_of_the_slice(store):
    """As `ledger.grant` has it: what it wants where there is plenty, a fiftieth of what is unspent where not."""
    process = Process(store)
    wish = process.take(1000, least=10, useful=50)
    assert isinstance(wish, Hold)
    assert wish.amount == 1000
    process.settle(wish, 1000)
    greedy = process.take(FLEET.limit, least=10, useful=50)
    assert isinstance(greedy, Hold)
    assert greedy.amount == (FLEET.limit - 1000) // FLEET.share or greedy.amount == FLEET.limit // FLEET.share


def test_a_call_without_a_cap_takes_what_is_left(store):
    """Down to the least that makes sense, also out of a slice."""
    account = Account("small//all", limit=1000, lease="release")
    process = Process(store)
    most = process.take(960, account)
    assert isinstance(most, Hold)
    scraps = process.take(500, account, least=10, useful=100)
    assert isinstance(scraps, Hold)
    assert scraps.amount == 40
    assert isinstance(process.take(500, account, least=10, useful=100), Refusal)


def test_an_unsent_call_gives_back_what_it_took(store):
    """In memory, without asking anybody."""
    process = Process(store)
    hold = process.take(100)
    asked = store.asked.copy()
    process.leases.give_back(hold.id)
    process.leases.give_back(hold.id)
    assert store.asked == asked
    process.leases.close()
    assert taken(store) == (0, 0)


def test_a_call_that_cost_more_than_was_held_is_booked_in_full(store):
    """Money wins, and the slice is not drawn below nothing."""
    process = Process(store)
    hold = process.take(100)
    process.settle(hold, 5000)
    process.leases.close()
    assert taken(store) == (5000, 0)
    assert store.check() == []


def test_a_period_that_is_over_is_told_by_the_store(store):
    """Its clock decides, as for any hold."""
    now = store.now_ms()
    over = Account("day/0", limit=1000, start_ms=now - 10_000, end_ms=now - 5_000, lease="release")
    assert isinstance(Process(store).take(10, over), Stale)


# Processes that die, and stores that go away.


def test_a_dead_process_is_booked_by_its_file(store, tmp_path):
    """What it settled lands, exactly; and what it had left of its slice is free at once."""
    dead = Process(store, tmp_path)
    for _ in range(5):
        assert dead.spend(100, 60)
    dead.take(100)
    dead.die()
    assert taken(store) == (0, 100 * FIRST_CALLS)
    heir = Process(store, tmp_path)
    assert heir.journal.replay()
    assert taken(store) == (300, 0)
    assert len(list(store.entries())) == 5
    assert list(tmp_path.iterdir()) == []
    assert store.check() == []


def test_a_dead_process_counts_as_spent_until_its_file_is_found(tmp_path):
    """Its slice expires into a charge; what truly was replaces it, whenever that is known."""
    clock = StoppedClock()
    store = CountingStore(clock=clock)
    dead = Process(store, tmp_path)
    for _ in range(5):
        assert dead.spend(100, 60)
    dead.leases.flush()
    assert dead.spend(100, 60)
    dead.die()
    clock.advance(TTL_MS / 1000)
    assert taken(store) == (100 * FIRST_CALLS, 0)
    assert Process(store, tmp_path).journal.replay()
    assert taken(store) == (360, 0)
    assert store.check() == []


def test_a_budget_that_charges_the_dead_keeps_their_slices(store, tmp_path):
    """`on_expire="charge"`: calls may have been under way, so the rest of the slice stays spent."""
    account = Account("fleet//all", limit=1_000_000, lease="charge")
    dead = Process(store, tmp_path)
    assert dead.spend(100, 60, account)
    dead.die()
    assert Process(store, tmp_path).journal.replay()
    assert taken(store, account) == (60, 100 * FIRST_CALLS - 60)


@pytest.mark.parametrize("ends", ["release", "charge"])
def test_a_process_that_dies_before_it_hears_of_its_slice_has_spent_none_of_it(store, tmp_path, ends):
    """The store has placed the hold, and nobody used it: it goes back with the file, and does not wait to expire."""

    class Died(BaseException):
        pass

    class Last(CountingStore):
        def reserve(self, hold):
            store.reserve(hold)
            dead.die()
            raise Died

    account = Account("fleet//all", limit=1_000_000, lease=ends)
    dead = Process(Last(), tmp_path)
    dead.journal.give_back = lambda _: None
    with pytest.raises(Died):
        dead.take(100, account)
    assert taken(store, account)[1] > 0
    assert Process(store, tmp_path).journal.replay()
    assert taken(store, account) == (0, 0)
    assert list(tmp_path.iterdir()) == []


def test_without_a_file_a_dead_process_stays_spent(store):
    """There is nobody who could say what it did."""
    clock = StoppedClock()
    store = CountingStore(clock=clock)
    dead = Process(store)
    assert dead.spend(100, 60)
    dead.die()
    clock.advance(TTL_MS / 1000)
    assert taken(store) == (100 * FIRST_CALLS, 0)


def test_what_was_settled_while_the_store_is_away_lands_when_it_is_back(store, tmp_path):
    """Calls go on while the slice lasts; a new one cannot be had; nothing is lost."""
    process = Process(store, tmp_path)
    assert process.spend(100, 60)
    store.away = True
    for _ in range(FIRST_CALLS - 1):
        assert process.spend(100, 100)
    with pytest.raises(StoreError, match="away"):
        process.spend(100, 60)
    with pytest.raises(StoreError):
        process.leases.flush()
    assert not process.leases.close(timeout_s=0)
    store.away = False
    assert process.leases.close()
    assert taken(store) == (60 + 100 * (FIRST_CALLS - 1), 0)
    assert store.check() == []


def test_a_slice_whose_answer_was_lost_is_given_back(store):
    """The store may have placed it: the journal releases what nobody has."""
    process = Process(store)

    def lost(hold: Hold) -> Any:
        CountingStore.reserve(store, hold)
        raise StoreError("the answer was lost")

    store.reserve = lost
    with pytest.raises(StoreError):
        process.spend(100, 60)
    assert taken(store)[1] > 0
    assert process.journal.replay()
    assert taken(store) == (0, 0)


def test_the_file_does_not_grow_without_end(store, tmp_path, monkeypatch):
    """What is on the books is taken out of it; what is not, and open slices, stay in it."""
    monkeypatch.setattr("budgetguard.process.outbox.FILE_BYTES", 2000)
    process = Process(store, tmp_path)
    for _ in range(50):
        process.spend(10, 5)
    process.leases.flush()
    process.spend(10, 5)
    [file] = tmp_path.glob(f"*{SUFFIX}")
    lines = [json.loads(line) for line in file.read_text().splitlines()[1:]]
    assert sum("cost" in line for line in lines) == 1
    assert {line["lease"] for line in lines if "lease" in line} == {item.id for item in store.holds()}
    process.die()
    assert Process(store, tmp_path).journal.replay()
    assert taken(store) == (5 * 51, 0)


def test_a_file_that_cannot_be_written_is_said_once(store, tmp_path, caplog):
    """Calls go on: should the process die, its slice counts as spent, which is never too little."""
    (tmp_path / "file").write_text("")
    process = Process(store)
    process.journal.directory = str(tmp_path / "file" / "below")
    process.leases._post.files = True
    for _ in range(3):
        assert process.spend(100, 60)
    assert caplog.text.count("its slices count as spent") == 1
    process.leases.close()
    assert taken(store) == (180, 0)


FULL_DISK = """
import os, resource, signal
from pathlib import Path
from tests.support.leasing import Process
from budgetguard.stores.sqlite.store import SQLiteStore

process = Process(SQLiteStore(Path("a.db")), Path.cwd() / "journal")
for _ in range(5):
    assert process.spend(1000, 1000)
process.leases.flush()
size = process.leases._post.file.size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 10, resource.RLIM_INFINITY))
for _ in range(3):
    assert process.spend(1000, 1000)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_process_that_dies_on_a_full_disk_counts_as_spent(tmp_path):
    """Its file does not tell of its last calls, so nobody gives its slice back by it."""
    command = [sys.executable, "-c", FULL_DISK]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert "its slices count as spent" in done.stderr
    with closing(SQLiteStore(tmp_path / "a.db")) as store:
        assert Process(store, tmp_path / "journal").journal.replay()
        assert taken(store) == (5000, 3000)


class PickyStore(CountingStore):
    """A store with a fault: it does not take one call's cost."""

    def settle_many(self, settlements: Any) -> Any:
        if any(entry.cost == 13 for _, entry in settlements):
            raise ZeroDivisionError("a fault of the store")
        return super().settle_many(settlements)


def test_a_call_that_a_store_cannot_take_keeps_its_slice(tmp_path, caplog):
    """The others are settled; the slice is not given back, here or by the next process."""
    store = PickyStore()
    process = Process(store, tmp_path)
    for cost in (10, 11, 13, 12):
        assert process.spend(100, cost)
    process.leases.close()
    assert taken(store) == (33, 100 * FIRST_CALLS - 33)
    assert caplog.text.count("its lease stays spent") == 1
    process.die()
    heir = Process(store, tmp_path)
    heir.journal._settle = lambda kept: store.settle_many([(kept.hold, kept.entry)])
    assert heir.journal.replay()
    assert taken(store) == (33, 100 * FIRST_CALLS - 33)
    assert [path.suffix for path in tmp_path.iterdir()] == [".damaged"]


def test_a_forked_child_has_slices_of_its_own(store, tmp_path):
    """The parent's are the parent's: used by both, they would be spent twice."""
    with closing(SQLiteStore(tmp_path / "a.db")) as shared:
        process = Process(shared, tmp_path / "journal")
        assert process.spend(100, 60)
        child = os.fork()
        if child == 0:
            signal.alarm(20)
            status = 1
            with suppress(BaseException):
                assert process.spend(100, 50)
                assert process.leases.close()
                status = 0
            os._exit(status)
        assert os.waitpid(child, 0)[1] == 0
        process.leases.close()
        assert taken(shared) == (110, 0)
        assert shared.check() == []


# Through a guard.

PRICES = {"gpt-4o-mini": {"input": 10, "output": 100, "max_output": 999}}
"""Dollars per million tokens."""


def manager_of(store: Any, *more: Budget, **options: Any) -> BudgetManager:
    budgets = [Budget("fleet", 1.00, "daily", lease=True), *more]
    manager = BudgetManager("shop", store=store, budgets=budgets, prices=PriceBook(overrides=PRICES), **options)
    budgetguard.patch(manager)
    return manager


def ask(provider: FakeProvider, **fields: Any) -> Any:
    given = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 20, **fields}
    return provider.client().chat.completions.create(**given)


def booked(manager: BudgetManager) -> int:
    assert manager.flush()
    assert manager.store.check() == []
    assert manager.store.holds() == []
    return sum(entry.cost for entry in manager.store.entries())


def test_calls_of_the_sdk_are_paid_from_a_lease(store, provider):
    """The history has each of them, and the budget what they cost."""
    manager = manager_of(store)
    for _ in range(30):
        ask(provider)
    assert store.asked["settle"] == 0
    total = booked(manager)
    [account] = manager.store.accounts()
    assert account == Balance(account.key, total)
    assert len(list(manager.store.entries())) == 30


def test_a_users_own_budget_is_held_in_the_store_beside_the_lease(store, provider):
    """What changes there holds from the next call on, as ever; each cost is on both accounts, once."""
    manager = manager_of(store, Budget("each", 0.50, "daily", per=("user",)))
    manager.create_budget(0.20, "ann")
    for _ in range(5):
        ask(provider, user="ann")
    total = booked(manager)
    assert {item.settled for item in manager.store.accounts()} == {total}
    assert len(list(manager.store.accounts())) == 4
    manager.create_budget(0.000001, "ann")
    with pytest.raises(BudgetExceededError):
        ask(provider, user="ann")
    assert booked(manager) == total


def test_a_refused_and_a_failed_call_leave_nothing_held(store, provider):
    """On the lease or in the store."""
    manager = manager_of(store)
    with pytest.raises(BudgetExceededError) as caught:
        ask(provider, max_tokens=20_000)
    assert not isinstance(caught.value, BudgetBusyError)
    assert booked(manager) == 0
    with pytest.raises(openai.BadRequestError):
        provider.client().post("/chat/completions", cast_to=object, body={"model": "gpt-4o-mini", "messages": []})
    assert booked(manager) == 0


def test_a_leased_budget_holds_for_a_crowd(store, provider):
    """Fifty calls at once, and again until there is no room, then one by one: one dollar stays one dollar."""
    manager = manager_of(store)
    outcomes: Counter[str] = Counter()

    async def crowd() -> None:
        async with provider.async_client() as client:

            async def one() -> None:
                with count(outcomes):
                    await client.chat.completions.create(
                        model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}]
                    )

            while not outcomes["refused"]:
                await asyncio.gather(*[one() for _ in range(50)])

    asyncio.run(crowd())
    assert outcomes["answered"] >= 50, "calls in flight locked each other out"
    while outcomes["refused"] < 60:
        with count(outcomes):
            ask(provider, max_tokens=openai.omit)
    total = booked(manager)
    assert DOLLAR * 95 // 100 < total <= DOLLAR
    assert provider.billed.nano == total


@contextmanager
def count(outcomes: Counter[str]) -> Iterator[None]:
    try:
        yield
        outcomes["answered"] += 1
    except BudgetExceededError:
        outcomes["refused"] += 1


def test_an_allowance_pays_where_no_slice_can_be_had(store, provider):
    """And is booked on the leased account, too, when the store is back."""
    manager = manager_of(store, settings=Settings(on_store_error="open", allowance=0.10))
    store.away = True
    ask(provider)
    store.away = False
    total = booked(manager)
    assert total > 0
    assert [item.settled for item in manager.store.accounts()] == [total]


def test_only_a_hard_limit_can_be_leased():
    """The others keep nobody waiting."""
    for options in ({"limit": None}, {"limit": 1, "enforce": "soft"}, {"limit": 1, "enforce": "observe"}):
        with pytest.raises(ConfigError, match="lease=True"):
            Budget("fleet", lease=True, **options)
    with pytest.raises(ConfigError, match="lease="):
        Budget("fleet", 1, lease="yes")


# Real processes.

WORKER = """
import sys, time
from budgetguard.errors import BudgetExceededError
from budgetguard.guards import Guard, Settings
from budgetguard.guards.shells import Shell
from budgetguard.ledger import Account, Entry, Hold, new_id
from budgetguard.stores import open_store
from budgetguard.budgets import Budget

store = open_store(sys.argv[1], namespace=sys.argv[2])
guard = Guard(store, budgets=[Budget("fleet", 0.001, "daily", lease=True)], settings=Settings(journal=sys.argv[3]))
account = guard.coverage.cover({}).accounts[0]
leases, shell, spent, refused = guard.leases, Shell(), 0, 0
most_refused = 40  # in a row, over two seconds: then it is used up, and nobody gives a part of it back
print("ready", flush=True)
sys.stdin.readline()
until = time.monotonic() + float(sys.argv[4])
while time.monotonic() < until and refused < most_refused:
    hold = Hold(new_id(), (), 500)
    taken = shell.run(leases.fill(hold, (account,)))
    if not isinstance(taken, int):
        refused += 1
        time.sleep(0.05)
        continue
    leases.settle(hold._replace(leases=leases.ids(hold.id)), Entry(hold.id, 300, (account.key,)))
    spent += 300
    refused = 0
    print(spent, flush=True)
    time.sleep(0.0002)
guard.close()
"""


def start(url: str, project: str, journal: Path, seconds: float) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-c", WORKER, url, project, str(journal), str(seconds)]
    worker = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert worker.stdout.readline() == "ready\n"
    return worker


def spent_by(worker: subprocess.Popen[str]) -> int:
    said = worker.communicate("\n" if worker.poll() is None else None, timeout=60)[0]
    return int((said.split() or ["0"])[-1])


@pytest.mark.parametrize("name", ["sqlite", "valkey", "postgres"])
def test_eight_processes_use_a_leased_budget_to_its_end(tmp_path, name):
    """Never above it, and 95 % of it at least, whoever held what when it came to its end."""
    url = f"sqlite:///{tmp_path}/a.db" if name == "sqlite" else servers.running(name)
    project = new_id()
    workers = [start(url, project, tmp_path / "journal", 40) for _ in range(8)]
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()
    spent = sum(map(spent_by, workers))
    limit = DOLLAR // 1000
    assert limit * 95 // 100 < spent <= limit
    with closing(open_store(url, namespace=project)) as store:
        [account] = store.accounts()
        assert account == Balance(account.key, spent)
        assert store.check() == []


def test_a_killed_process_is_booked_to_the_last_call(tmp_path, caplog):
    """kill -9 in the middle of it: what it said that it spent is on the books once another process has started."""
    url = f"sqlite:///{tmp_path}/a.db"
    worker = start(url, "shop", tmp_path / "journal", 60)
    worker.stdin.write("\n")
    worker.stdin.flush()
    time.sleep(0.5)
    worker.kill()
    spent = spent_by(worker)
    assert spent > 3000
    caplog.set_level(logging.ERROR)
    heir = start(url, "shop", tmp_path / "journal", 0)
    with closing(SQLiteStore(tmp_path / "a.db", namespace="shop")) as store:
        until_s = time.monotonic() + 20
        while any(account.held for account in store.accounts()) and time.monotonic() < until_s:
            time.sleep(0.05)
        spent_by(heir)
        [account] = store.accounts()
        assert account.held == 0
        assert spent <= account.settled <= spent + 300, "the last call may have been settled, and not said"
        assert store.check() == []


def test_threads_of_one_process_share_its_slices(store):
    """Each call counts once, whoever made it, while another thread sends."""
    process = Process(store)
    done = threading.Event()

    def flush() -> None:
        while not done.is_set():
            process.leases.flush()

    sender = threading.Thread(target=flush)
    sender.start()
    counts = together(8, lambda _: [process.spend(10, 7) for _ in range(500)])
    done.set()
    sender.join()
    process.leases.close()
    assert all(counts)
    assert taken(store) == (7 * 4000, 0)
    assert store.check() == []
