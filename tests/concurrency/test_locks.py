"""
No lock of ours can make a thread wait for itself.

The garbage collector runs wherever memory is asked for: also in a thread that holds one of our locks. What it finds
there may be a stream that somebody dropped, whose call then ends in the middle of what the lock protects.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import budgetguard
from budgetguard import Budget, BudgetManager
from budgetguard.concurrency.locks import all_made, any_held, mutex
from budgetguard.concurrency.queue import LINE
from budgetguard.ledger import Hold
from budgetguard.process import tally
from budgetguard.process.leases import Leases
from budgetguard.process.state import PROCESS
from budgetguard.sdks.watches import Watch
from budgetguard.testing import FakeProvider
from tests.support.in_memory import HI, MODEL

HELD = 1000 * 600
"""What 1,000 tokens of output cost, in nano-dollars: the least that a stream holds here."""


pytestmark = pytest.mark.provider(tokens=20)


@pytest.fixture
def no_collector() -> Iterator[None]:
    """The collector runs where a test has it run."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.fixture
def manager(tmp_path) -> Iterator[BudgetManager]:
    """Everything that a call may take a lock of: a file, leases, a plain budget, the process's limit, a scope's."""
    budgets = [Budget("all", 50, "monthly", lease=True), Budget("each", 5, per=("user",))]
    made = BudgetManager("locks", store=f"sqlite:///{tmp_path}/books.db", budgets=budgets)
    budgetguard.max_budget = 50
    with made, budgetguard.budget(user="ann", limit=10, wait=1):
        yield made
    made.close()


def ask(client: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=HI, stream=True, max_tokens=1000)


def drop_one(provider: FakeProvider) -> None:
    """A stream of which one chunk was read, and that is garbage now."""
    with provider.client() as client:
        next(ask(client))


def drop_one_of_a_lost_loop(provider: FakeProvider) -> None:
    """The same, async, of an event loop that is gone: nothing closes its generators in order."""
    loop = asyncio.new_event_loop()
    client = provider.async_client()

    async def begin() -> None:
        await anext((await ask(client)).__aiter__())

    loop.run_until_complete(begin())
    loop.run_until_complete(client.close())
    loop.close()


@pytest.fixture
def enders(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the threads that ended a stream's call."""
    names: list[str] = []
    end = Watch.end

    def noted(self: Watch) -> None:
        names.append(threading.current_thread().name)
        end(self)

    monkeypatch.setattr(Watch, "end", noted)
    return names


def in_time(work: Callable[[], object]) -> bool:
    """Whether some work comes to its end in a thread of its own."""
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(timeout=5)
    return not thread.is_alive()


def booked(manager: BudgetManager) -> list[int]:
    """What the calls cost that are on the books, once nothing is held any more."""
    PROCESS.reaper.drain()
    manager.flush()
    assert PROCESS.tally is not None
    assert PROCESS.tally.held == 0
    assert [hold for hold in manager.store.holds() if "lease" not in hold.tags] == []
    return [entry.cost for entry in manager.store.entries()]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::RuntimeWarning")
@pytest.mark.parametrize("drop", [drop_one, drop_one_of_a_lost_loop])
def test_a_stream_collected_while_any_lock_is_held_is_settled_elsewhere(drop, provider, manager, no_collector, enders):
    """Whichever lock it is: this walks through all that there are."""
    drop(provider)  # so that all is there that a call makes
    gc.collect()
    locks = dict(all_made())  # the latest of each name: what other tests left behind has many more
    assert {"tallies", "line", "leases", "leases flush", "journal", "gate lead", "sqlite writer"} <= locks.keys()

    for number, (name, lock) in enumerate(locks.items()):
        drop(provider)

        def collect(lock: Any = lock) -> None:
            with lock:
                gc.collect()

        assert in_time(collect), name
        costs = booked(manager)
        assert len(costs) == number + 2, name
        assert min(costs) >= HELD, name
        assert set(enders) == {"budgetguard-reaper"}, name


def test_a_stream_collected_inside_of_any_method_that_locks_stops_nobody(provider, manager, no_collector, monkeypatch):
    """As it was found: in the thread that sends what leases owe, inside of its flush."""
    over = threading.Event()
    part = Leases._part_with_idle

    def collecting(self: Leases, spare: str | None, everything: bool) -> None:
        gc.collect()
        part(self, spare, everything)
        over.set()

    drop_one(provider)
    monkeypatch.setattr(Leases, "_part_with_idle", collecting)

    assert over.wait(5)
    monkeypatch.undo()
    [cost] = booked(manager)
    assert cost >= HELD


def test_a_stream_that_a_finalizer_closes_while_a_lock_is_held_is_settled_elsewhere(
    provider, manager, no_collector, enders
):
    """A `__del__` of the caller's, that does what it should: it closes the stream."""

    class Owner:
        def __init__(self, stream: Any) -> None:
            self.stream = stream
            self.me = self

        def __del__(self) -> None:
            self.stream.close()

    with provider.client() as client:
        stream = ask(client)
        next(stream)
        Owner(stream)

        def collect() -> None:
            with lock_of("tallies"):
                gc.collect()

        assert in_time(collect)
        [cost] = booked(manager)
    assert cost >= HELD
    assert enders == ["budgetguard-reaper"]


def lock_of(name: str) -> Any:
    return next(lock for each, lock in all_made() if each == name)


def test_a_stream_collected_inside_of_a_log_handler_waits_for_nothing(provider, manager, no_collector):
    """Another thread may be logging, in one of our locks, and wait for this handler."""
    lock, handler = lock_of("tallies"), logging.StreamHandler()
    assert handler.lock is not None
    here, there = threading.Event(), threading.Event()

    def log() -> None:
        with lock:
            here.set()
            there.wait(5)
            with handler.lock:
                pass

    def collect() -> None:
        with handler.lock:
            here.wait(5)
            there.set()
            gc.collect()

    drop_one(provider)
    other = threading.Thread(target=log, daemon=True)
    other.start()

    assert in_time(collect)
    other.join(timeout=5)
    assert not other.is_alive()
    assert len(booked(manager)) == 1


def test_a_coroutine_closed_while_the_lines_lock_is_held_leaves_the_line(provider):
    """A call that waits for room, in a loop that was thrown away."""
    budgetguard.max_budget = 0.001
    limit = PROCESS.tally
    assert limit is not None
    with budgetguard.budget(limit=1, wait=10):
        loop = asyncio.new_event_loop()
        client = provider.async_client()
        tally.reserve((limit,), Hold("other", (), 900_000))
        coroutine = ask(client)
        task = loop.create_task(coroutine)
        while not LINE.queues:
            loop.run_until_complete(asyncio.sleep(0.001))
        loop.run_until_complete(client.close())
        task._log_destroy_pending = False
        loop.close()

        def close() -> None:
            with lock_of("line"):
                coroutine.close()
                assert LINE.queues

        assert in_time(close)
        tally.settle((limit,), "other", 0)
    PROCESS.reaper.drain()
    assert not LINE.queues


def test_a_forked_child_finds_every_lock_free():
    """The threads that held them are not there."""
    held, over = threading.Event(), threading.Event()
    lock = mutex("of a test")

    def hold() -> None:
        with lock:
            held.set()
            over.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(5)
    child = os.fork()
    if child == 0:
        os._exit(0 if lock.acquire(timeout=1) else 1)
    over.set()
    thread.join()
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_lock_is_known_while_it_exists_and_who_holds_it():
    """What nobody has any more needs no walk."""
    lock = mutex("of a test")
    assert "of a test" in [name for name, _ in all_made()]
    assert not any_held()
    with lock:
        assert any_held()
        elsewhere: list[bool] = []
        thread = threading.Thread(target=lambda: elsewhere.append(any_held()))
        thread.start()
        thread.join()
        assert elsewhere == [False]
    del lock
    gc.collect()
    assert "of a test" not in [name for name, _ in all_made()]
