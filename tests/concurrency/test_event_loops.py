"""An event loop asks a store that blocks: without a thread for each question, and without being kept waiting."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from budgetguard.concurrency.loops import ask, can_ask
from budgetguard.errors import StoreError
from budgetguard.ledger import Account, Admitted, Entry, Hold, Settled, new_id
from budgetguard.stores import combiner
from budgetguard.stores.combiner import Gate, Operation, never
from budgetguard.stores.sqlite.store import SQLiteStore

ACCOUNT = Account("team", limit=10**12)

DEADLINE_S = 1.0


def hold(amount: int = 10) -> Hold:
    return Hold(new_id(), (ACCOUNT,), amount)


class Watched(SQLiteStore):
    """Tells in which threads its transactions ran, and may be made slow."""

    def __init__(self, path: Path, **options: Any) -> None:
        self.threads: list[str] = []
        self.takes_s = 0.0
        super().__init__(path, **options)

    def _run(self, batch: list[Operation]) -> None:
        self.threads.extend([threading.current_thread().name] * len(batch))
        time.sleep(self.takes_s)
        super()._run(batch)


@pytest.fixture(autouse=True)
def _a_busy_machine_is_not_a_slow_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(combiner, "PROMPT_S", 2.0)


@pytest.fixture
def store(path: Path) -> Iterator[Watched]:
    with closing(Watched(path, durable=False, reserve_s=DEADLINE_S)) as made:
        made.put_terms("a", "b")  # the file is there, and open
        made.threads.clear()
        yield made
        assert made.check() == []


def asks(method: Callable[..., Any], *args: object) -> Awaitable[Any]:
    """As the guard's shell asks on a loop."""
    run = partial(method, *args)
    assert can_ask(run)
    return ask(asyncio.get_running_loop(), run)


async def spend(store: SQLiteStore) -> str:
    held = hold()
    assert await asks(store.reserve, held) == Admitted(10)
    assert await asks(store.settle, held, Entry(held.id, 7)) == Settled(7)
    return held.id


HERE, HELPER = "MainThread", "budgetguard-store"


async def test_what_is_prompt_runs_where_it_stands(store: Watched) -> None:
    """Two hops between threads would cost more than the store does."""
    for _ in range(5):
        await spend(store)
    assert store.threads == [HERE] * 10


async def test_what_waits_for_the_disk_runs_elsewhere(path: Path) -> None:
    """A settlement that must survive a power cut; and the first use, which makes the file."""
    with closing(Watched(path)) as store:
        for _ in range(3):
            await spend(store)
        assert store.threads == [HELPER] * 2 + [HERE, HELPER] * 2


async def test_tasks_share_a_sync_to_the_disk(path: Path) -> None:
    """What is queued while one is under way goes together in the next."""
    with closing(Watched(path)) as store:
        await spend(store)
        batches = []
        run = store._combiner._run
        store._combiner._run = lambda batch: (batches.append(len(batch)), run(batch))[1]
        store.takes_s = 0.01
        ids = await asyncio.gather(*[spend(store) for _ in range(16)])
        assert max(batches) > 4
        assert {entry.hold_id for entry in store.entries()} >= set(ids)
        assert store.check() == []


async def test_a_store_that_became_slow_leaves_the_loop(store: Watched, monkeypatch: pytest.MonkeyPatch) -> None:
    """One operation shows it; the next ones go elsewhere, for many times as long as it took."""
    monkeypatch.setattr(combiner, "PROMPT_S", 0.05)
    monkeypatch.setattr(combiner, "REST", 1000)
    store.takes_s = 0.06
    for _ in range(2):
        await spend(store)
    assert store.threads == [HERE] + [HELPER] * 3
    store.takes_s = 0.0
    monkeypatch.setattr(combiner, "PROMPT_S", 2.0)
    store._combiner._rests_until_s = time.monotonic() + 0.05
    await asyncio.sleep(0.1)
    store.threads.clear()
    await spend(store)
    assert store.threads == [HERE] * 2


async def lags(work: Awaitable[object]) -> list[float]:
    """For how long a loop was kept from its other tasks, each time, in seconds."""
    found, working = [], asyncio.ensure_future(work)
    while not working.done():
        begin = time.perf_counter()
        await asyncio.sleep(0.001)
        found.append(time.perf_counter() - begin - 0.001)
    await working
    return sorted(found)


async def test_sixteen_tasks_do_not_keep_the_loop(store: Watched) -> None:
    """Each operation that runs there is one short transaction; others have their turn in between."""

    async def work() -> None:
        for _ in range(20):
            await spend(store)
            await asyncio.sleep(0)

    found = await lags(asyncio.wait_for(asyncio.gather(*[work() for _ in range(16)]), 60))
    assert len(list(store.entries())) == 320
    assert found[len(found) * 99 // 100] < 0.25


async def test_a_file_that_another_process_keeps_does_not_keep_the_loop(store: Watched, path: Path) -> None:
    """The reserve fails at its deadline as it does for a thread; meanwhile the loop has other things to do."""
    gate = Gate(str(path))
    gate.enter()
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    with pytest.raises(StoreError, match="busy for 1 s"):
        await asks(store.reserve, hold())
    ticking.cancel()
    assert ticks > 3
    gate.leave()
    gate.drop()
    await spend(store)
    assert store.holds() == []


async def test_a_program_that_locks_the_file_does_not_keep_the_loop(store: Watched, path: Path) -> None:
    """It does not use the gate, so only the file itself tells of it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        reserve = asyncio.ensure_future(asks(store.reserve, held := hold()))
        await asyncio.sleep(0.05)
        assert not reserve.done()
        other.execute("ROLLBACK")
        assert await reserve == Admitted(10)
    assert store.threads == [HERE, HELPER]
    store.release(held.id)


async def test_what_a_cancelled_task_asked_for_comes_to_its_end(path: Path) -> None:
    """A settlement that has begun is recorded; nobody hears of it, and nothing is logged as never retrieved."""
    with closing(Watched(path)) as store:
        await spend(store)
        held = hold()
        assert await asks(store.reserve, held) == Admitted(10)
        store.takes_s = 0.05
        settle = asyncio.ensure_future(asks(store.settle, held, Entry(held.id, 7)))
        await asyncio.sleep(0.01)
        settle.cancel()
        with pytest.raises(asyncio.CancelledError):
            await settle
        await asks(store.release, "another")
        assert store.balances(["team"])[0].settled == 14


async def test_a_refused_amount_is_an_error_here_and_now(store: Watched) -> None:
    """Nothing is queued for it."""
    with pytest.raises(StoreError, match="cannot be booked"):
        await asks(store.reserve, hold(-1))
    assert store.threads == []


async def test_a_call_that_the_collector_ends_meanwhile_is_not_the_question(
    store: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is answered as ever, and the question, too: they are about different things."""
    dropped = hold()
    store.reserve(dropped)
    store.threads.clear()
    held = hold()

    monkeypatch.setattr(store._combiner, "_is_prompt", never)
    original = store._combiner.submit
    seen: list[object] = []

    def submit(work: Any, args: Any, **options: Any) -> Any:
        if not seen:
            seen.append(args)
            store._combiner.submit = original
            store.release(dropped.id)
        return original(work, args, **options)

    store._combiner.submit = submit
    assert await asks(store.reserve, held) == Admitted(10)
    assert [each.id for each in store.holds()] == [held.id]
    assert store.threads == [HERE, HELPER]
    store.release(held.id)


def test_what_overrides_an_askable_method_is_not_askable(path: Path) -> None:
    """Whoever wrote it may wait in it."""

    class Slow(SQLiteStore):
        def reserve(self, hold: Hold) -> Any:
            time.sleep(1)
            return super().reserve(hold)

    store = Slow(path)
    assert not can_ask(partial(store.reserve, hold()))
    assert can_ask(partial(store.release, "a"))
    assert not can_ask(store.holds)
