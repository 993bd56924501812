"""Operations reach a store in batches: each gets its own answer, whatever happens to the others."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from budgetguard.errors import StoreError
from budgetguard.ledger import Account, Admitted, Conflict, Ended, Entry, Hold, Settled, new_id
from budgetguard.server.api.batches import Batches, Release, Reserve, Settle
from budgetguard.server.api.endpoint import batches
from budgetguard.server.problems import Refused
from budgetguard.stores.sqlite.store import SQLiteStore

ACCOUNT = Account("team", limit=10**9)


class Slow(SQLiteStore):
    """Waits in its first operation until a test lets it go on, and counts steps that settle."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.go = threading.Event()
        self.begun = threading.Event()
        self.steps: list[int] = []

    def release(self, hold_id: str) -> None:
        if hold_id == "slow":
            self.begun.set()
            assert self.go.wait(10)
        super().release(hold_id)

    def settle(self, hold: Hold, entry: Entry) -> Settled | Conflict:
        self.steps.append(1)
        return super().settle(hold, entry)

    def settle_many(self, settlements: Sequence[tuple[Hold, Entry]]) -> list[Settled | Conflict]:
        self.steps.append(len(settlements))
        return super().settle_many(settlements)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Slow]:
    made = Slow(tmp_path / "budgets.db")
    yield made
    made.go.set()
    made.close()


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


def hold(amount: int = 10, **fields: object) -> Hold:
    return Hold(new_id(), (ACCOUNT,), amount, **fields)  # type: ignore[arg-type]


async def behind_a_slow_one(line: Batches, store: Slow, *operations: batches.Operation) -> list[asyncio.Task[object]]:
    """Tasks for these operations, all of which wait while another is under way."""
    first = asyncio.create_task(line.do(Release("slow")))
    while not store.begun.is_set():
        await asyncio.sleep(0.001)
    tasks = [asyncio.create_task(line.do(operation)) for operation in operations]
    await asyncio.sleep(0.01)
    assert len(line) == len(operations)
    return [first, *tasks]


async def test_settlements_that_wait_are_one_step(store: Slow, threads: ThreadPoolExecutor) -> None:
    """One write to the disk for all of them; each has its own answer, a conflict and a late one included."""
    line = Batches(store, threads, 1)
    placed = [hold() for _ in range(5)]
    for each in placed:
        assert await line.do(Reserve(each)) == Admitted(10)
    never = hold()
    said = [Settle(each, Entry(each.id, 7)) for each in placed]
    again = Settle(placed[0], Entry(placed[0].id, 8))
    tasks = await behind_a_slow_one(line, store, *said, again, Settle(never, Entry(never.id, 1)), Reserve(hold()))
    store.go.set()
    answers = await asyncio.gather(*tasks)
    assert answers == [None, *[Settled(7)] * 5, Conflict(7), Settled(1, late=True), Admitted(10)]
    assert store.steps == [7]


async def test_one_bad_settlement_does_not_fail_the_others(store: Slow, threads: ThreadPoolExecutor) -> None:
    """They are done one by one then."""
    line = Batches(store, threads, 1)
    good, bad = hold(), hold()
    broken = Settle(bad, Entry(bad.id, -1))
    tasks = await behind_a_slow_one(line, store, Settle(good, Entry(good.id, 3)), broken)
    store.go.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert answers[1] == Settled(3, late=True)
    assert isinstance(answers[2], StoreError)
    assert [entry.hold_id for entry in store.entries()] == [good.id]


async def test_a_reserve_whose_caller_gave_up_holds_nothing(store: Slow, threads: ThreadPoolExecutor) -> None:
    """It would be in the way of others until it expires; a settlement is done however late."""
    line = Batches(store, threads, 1, reserve_s=0.05)
    late, spent = hold(), hold()
    tasks = await behind_a_slow_one(line, store, Reserve(late), Settle(spent, Entry(spent.id, 3)))
    await asyncio.sleep(0.1)
    store.go.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[1], Refused)
    assert (answers[1].status, answers[1].code) == (503, "busy")
    assert answers[2] == Settled(3, late=True)
    assert store.holds() == []


@pytest.mark.parametrize("change_s", [0.05, 60])
async def test_settlements_that_waited_long_are_not_tried_one_by_one(
    store: Slow, threads: ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch, change_s: float
) -> None:
    """Each would wait again for a store that is stuck, and the line with it; their clients repeat them anyway."""
    monkeypatch.setattr(batches, "CHANGE_S", change_s)
    monkeypatch.setattr(store, "settle_many", lambda _: (_ for _ in ()).throw(StoreError("it is stuck")))
    line = Batches(store, threads, 1)
    placed = [hold() for _ in range(3)]
    tasks = await behind_a_slow_one(line, store, *[Settle(each, Entry(each.id, 3)) for each in placed])
    await asyncio.sleep(0.1)
    store.go.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    if change_s < 1:
        assert [str(answer) for answer in answers[1:]] == ["it is stuck"] * 3
        assert store.steps == []
    else:
        assert answers[1:] == [Settled(3, late=True)] * 3


async def test_a_cancelled_request_leaves_the_line_in_order(store: Slow, threads: ThreadPoolExecutor) -> None:
    """What it asked for may be done; its release ends it."""
    line = Batches(store, threads, 1)
    gone, other = hold(), hold()
    tasks = await behind_a_slow_one(line, store, Reserve(gone), Reserve(other))
    tasks[1].cancel()
    store.go.set()
    assert await tasks[2] == Admitted(10)
    await line.do(Release(gone.id))
    assert await line.do(Reserve(gone)) == Ended()
    assert [each.id for each in store.holds()] == [other.id]


async def test_a_line_ends_its_threads_and_starts_new_ones(store: Slow, threads: ThreadPoolExecutor) -> None:
    """Whenever something arrives, also in the moment in which a thread found nothing more to do."""
    store.go.set()
    line = Batches(store, threads, 2)

    async def spend() -> None:
        for _ in range(60):
            held = hold()
            assert await line.do(Reserve(held)) == Admitted(10)
            assert await line.do(Settle(held, Entry(held.id, 7))) == Settled(7)

    await asyncio.wait_for(asyncio.gather(*[spend() for _ in range(8)]), 60)
    await asyncio.sleep(0.05)
    assert (len(line), line._running) == (0, 0)
    assert store.balances(["team"])[0].settled == 7 * 480
