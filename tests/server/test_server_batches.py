"""
Operations reach a store in batches: each gets its own answer, whatever happens to the others.

Those for a file are batches of its own combiner; those for a server are the batches of the line in front of it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from budgetguard.errors import StoreError
from budgetguard.ledger import Account, Admitted, Conflict, Ended, Entry, Hold, Settled, new_id
from budgetguard.server.api import batches
from budgetguard.server.api.batches import Batches, LedgerStep, Release, Reserve, Settle
from budgetguard.server.problems import Refused
from budgetguard.stores import combiner
from budgetguard.stores.combiner import Gate, Operation
from budgetguard.stores.sqlite.store import SQLiteStore
from tests.support.hosting import Hosted

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


async def behind_a_slow_one(line: Batches, store: Slow, *operations: LedgerStep) -> list[asyncio.Task[object]]:
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


# What asks a file, which makes the batches itself.


class Seen(NamedTuple):
    """A server before a file, and the transactions of that: where each ran, and of how many operations."""

    server: Hosted
    store: SQLiteStore
    gate: Gate
    ran: list[tuple[str, int]]


@pytest.fixture
def seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Seen]:
    monkeypatch.setattr(combiner, "PROMPT_S", 2.0)  # a busy machine is not a slow store
    path = tmp_path / "budgets.db"
    server = Hosted(f"sqlite:///{path}?reserve_s=5&settle_s=5")
    store = server.app.projects.open("shop").store
    assert isinstance(store, SQLiteStore)
    assert server.post("/v1/reserve", said(hold()))[0] == 200  # the file is there, and open
    ran: list[tuple[str, int]] = []
    run = store._combiner._run

    def watched(batch: list[Operation]) -> None:
        ran.append((threading.current_thread().name, len(batch)))
        run(batch)

    monkeypatch.setattr(store._combiner, "_run", watched)
    yield Seen(server, store, Gate(str(path)), ran)
    server.stop()


def said(held: Hold) -> dict[str, object]:
    return {"id": held.id, "accounts": [{"key": ACCOUNT.key, "limit": ACCOUNT.limit}], "amount": held.amount}


def settles(held: Hold, cost: int) -> dict[str, object]:
    return {"hold": said(held), "entry": {"hold_id": held.id, "cost": cost}}


def queued(store: SQLiteStore, count: int) -> None:
    """Wait until so many operations are in line."""
    while len(store._combiner._queue) < count:
        time.sleep(0.001)


def test_what_is_prompt_is_done_where_the_request_is_read(seen: Seen) -> None:
    """A thread would cost more than the store does; what waits for the disk has the one of the store."""
    held = hold()
    assert seen.server.post("/v1/reserve", said(held))[0] == 200
    assert seen.server.post("/v1/settle", settles(held, 7))[0] == 200
    assert seen.server.post("/v1/release", {"id": held.id})[0] == 200
    here = seen.server.served.thread.name
    assert seen.ran == [(here, 1), ("budgetguard-store", 1), (here, 1)]


def test_requests_that_wait_for_a_file_share_a_transaction(seen: Seen, threads: ThreadPoolExecutor) -> None:
    """Whatever they ask: one write to the disk for all; each has its own answer, a conflict included."""
    placed, other = [hold() for _ in range(3)], hold()
    seen.gate.enter()
    asked = [threads.submit(seen.server.post, "/v1/settle", settles(each, 7)) for each in placed]
    asked.append(threads.submit(seen.server.post, "/v1/reserve", said(other)))
    queued(seen.store, 4)
    assert seen.server.ask("GET", "/health")[0] == 200  # nobody else waits
    seen.gate.leave()
    answers = [each.result(10) for each in asked]
    assert [(status, body.get("settled"), body.get("admitted")) for status, body in answers] == [
        *[(200, 7, None)] * 3,
        (200, None, 10),
    ]
    assert seen.ran == [("budgetguard-store", 4)]
    assert seen.server.post("/v1/settle", settles(placed[0], 8))[1]["conflict"] == 7
    seen.gate.drop()


def test_a_file_that_stays_locked_costs_a_deadline(seen: Seen) -> None:
    """And nothing was held, so nothing is in the way of others."""
    seen.store._reserve_s = 0.2
    seen.gate.enter()
    status, body = seen.server.post("/v1/reserve", said(hold(77)))
    seen.gate.leave()
    assert (status, body["error"]["type"]) == (503, "store_error")
    assert seen.server.post("/v1/reserve", said(hold(5)))[0] == 200
    assert sorted(each.amount for each in seen.store.holds()) == [5, 10]
    seen.gate.drop()


def test_a_client_that_left_disturbs_nobody_in_the_line(seen: Seen, threads: ThreadPoolExecutor) -> None:
    """What it asked for may be done; its release ends it."""
    gone, other = hold(), hold()
    body = json.dumps(said(gone)).encode()
    seen.gate.enter()
    with socket.create_connection(("127.0.0.1", seen.server.port)) as raw:
        head = "POST /v1/reserve HTTP/1.1\r\nHost: localhost\r\nbudgetguard-project: shop\r\n"
        raw.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        queued(seen.store, 1)
    asked = threads.submit(seen.server.post, "/v1/reserve", said(other))
    queued(seen.store, 2)
    seen.gate.leave()
    assert asked.result(10)[1]["admitted"] == 10
    assert seen.server.post("/v1/release", {"id": gone.id})[0] == 200
    assert seen.server.post("/v1/reserve", said(gone))[1] == {"ended": True}
    assert seen.store.check() == []
    seen.gate.drop()


def test_the_line_of_a_file_is_bounded(seen: Seen, threads: ThreadPoolExecutor) -> None:
    """Who would wait beyond patience is told so at once."""
    seen.server.app.runner._most = 2
    seen.gate.enter()
    asked = [threads.submit(seen.server.post, "/v1/reserve", said(hold())) for _ in range(2)]
    queued(seen.store, 2)
    status, body = seen.server.post("/v1/reserve", said(hold()))
    seen.gate.leave()
    assert (status, body["error"]["code"]) == (503, "busy")
    assert [each.result(10)[0] for each in asked] == [200, 200]
    seen.gate.drop()
