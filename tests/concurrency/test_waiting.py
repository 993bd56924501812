"""Calls wait for room in order of arrival, threads and tasks alike, and leave nothing behind."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import budgetguard
from budgetguard import BudgetBusyError, BudgetExceededError, BudgetManager
from budgetguard.concurrency import queue as waiting
from budgetguard.concurrency.queue import LINE, Line, Turn
from budgetguard.ledger import Account, Entry, Hold, new_id
from budgetguard.process import tally
from budgetguard.process.state import PROCESS
from budgetguard.stores import open_store
from tests.support.endpoint import INPUT_PRICE, LONGEST, MESSAGES, MODEL, OUTPUT_PRICE, USER, bill, guarded

DIME = 100_000_000
ANSWER = 8
COST = ANSWER * OUTPUT_PRICE * 1000 + 10 * INPUT_PRICE * 1000
"""What a call truly costs; the cap that it states is projected at a dime."""


pytestmark = pytest.mark.provider(tokens=ANSWER, prices=bill, latency_s=0.03)


@pytest.fixture
def manager(url: str) -> Iterator[BudgetManager]:
    """A user whose budget has room for one call of a dime at a time."""
    with guarded(url) as made:
        made.create_budget(0.15, USER)
        yield made
        PROCESS.reaper.drain()
        assert LINE.queues == {}
        assert made.store.holds() == []
        assert made.store.check() == []


def ask(client: Any, number: int = 0, **more: Any) -> Any:
    headers = {"x-number": str(number)}
    arguments = {"max_tokens": LONGEST, "user": USER, "extra_headers": headers, **more}
    return client.chat.completions.create(model=MODEL, messages=MESSAGES, **arguments)


def until(condition: Callable[[], object], seconds: float = 5.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come to that"
        time.sleep(0.001)


def in_line() -> int:
    return sum(map(len, list(LINE.queues.values())))


def once_in_line(act: Callable[[], None]) -> None:
    """Do something when a call has stood in line for a while."""
    until(in_line)
    time.sleep(0.1)
    act()


@contextmanager
def held(manager: BudgetManager, amount: int = DIME) -> Iterator[Callable[[], None]]:
    """A call of another process holds a dime of the user's budget until the function is called."""
    [account] = manager.guard.coverage.cover({"user": USER}).accounts
    hold = Hold(new_id(), (account,), amount)
    manager.store.reserve(hold)
    yield lambda: manager.store.release(hold.id)
    manager.store.release(hold.id)


@contextmanager
def loop_thread() -> Iterator[asyncio.AbstractEventLoop]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield loop
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


# -- in order of arrival -----------------------------------------------------------------------------------------------


def test_threads_and_tasks_go_in_order_of_arrival(provider, manager):
    """Whoever came first is served first: a busy program would otherwise starve its oldest requests."""
    with (
        held(manager) as release,
        provider.client() as client,
        loop_thread() as loop,
    ):
        async_client = provider.async_client()

        async def in_task(number: int) -> None:
            async with budgetguard.budget(wait=20):
                await ask(async_client, number)

        def in_thread(number: int) -> None:
            with budgetguard.budget(wait=20):
                ask(client, number)

        threads, tasks = [], []
        for number in range(10):
            if number % 2:
                tasks.append(asyncio.run_coroutine_threadsafe(in_task(number), loop))
            else:
                threads.append(threading.Thread(target=in_thread, args=(number,)))
                threads[-1].start()
            until(lambda number=number: in_line() == number + 1)
        assert provider.requests == []
        release()
        for thread in threads:
            thread.join()
        for task in tasks:
            task.result(timeout=10)
        asyncio.run_coroutine_threadsafe(async_client.close(), loop).result(timeout=5)

    assert [request.headers["x-number"] for request in provider.requests] == [str(number) for number in range(10)]


def test_one_who_comes_later_does_not_overtake_those_in_line():
    """What becomes free belongs to the first in line, also if a newcomer asks before it has woken up."""
    line, first = Line(), Turn(10)
    line.stand(first, "account")

    late = Turn(10)
    key = line.first_busy(["another", "account"])
    line.stand(late, key)

    assert key == "account"
    assert line.is_first(first)
    assert not line.is_first(late)


def test_one_that_moves_to_another_account_keeps_its_rank():
    """A call over two budgets must not go to the end of the line each time the other one refuses it."""
    line = Line()
    old, young = Turn(10), Turn(10)
    line.stand(old, "a")
    line.stand(young, "b")

    line.stand(old, "b")

    assert line.queues == {"b": [old, young]}


def test_the_next_one_is_called_when_one_leaves():
    """What was free for the first may do for the second as well; nobody else would tell it."""
    line = Line()
    first, second = Turn(10), Turn(10)
    line.stand(first, "a")
    line.stand(second, "a")
    called = []
    second.arm(lambda: called.append("second"))

    line.leave(first)

    assert called == ["second"]
    line.leave(second)
    assert line.queues == {}


def test_one_whose_thread_is_gone_does_not_stop_the_line():
    """A coroutine that nobody runs any more cannot leave; it stops counting when its time is up."""
    line = Line()
    gone, here = Turn(0.5), Turn(10)
    line.stand(gone, "a")
    line.stand(here, "a")
    assert not line.is_first(here)
    assert line.pause_s(here) < 1

    time.sleep(0.51)

    assert line.is_first(here)


# -- how long ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_wait_ends_with_the_call_that_was_in_the_way(provider, manager, monkeypatch, asynchronous):
    """Not at the next look: with the looks put off, the end of the call is what wakes the waiting one."""
    monkeypatch.setattr(waiting, "POLL_S", 60.0)
    began = time.monotonic()

    def one(client: Any) -> None:
        with budgetguard.budget(wait=30):
            ask(client)

    async def both() -> None:
        async with provider.async_client() as client, budgetguard.budget(wait=30):
            await asyncio.gather(ask(client), ask(client), ask(client))

    if asynchronous:
        asyncio.run(both())
    else:
        with provider.client() as client:
            threads = [threading.Thread(target=one, args=(client,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    assert len(provider.requests) == 3
    assert time.monotonic() - began < 20


def test_room_that_another_process_gives_back_is_found(provider, tmp_path):
    """Nobody here is told of it, so the first in line looks again and again."""
    url = f"sqlite:///{tmp_path}/budgets.db"
    with guarded(url) as manager, provider.client() as client:
        manager.create_budget(0.15, USER)
        with held(manager):
            [hold] = manager.store.holds()
            other = open_store(url, namespace="shapes")
            later = threading.Thread(target=once_in_line, args=(lambda: other.release(hold.id),))
            later.start()
            began = time.monotonic()
            with budgetguard.budget(wait=10):
                ask(client)
            later.join()
            other.close()

    assert len(provider.requests) == 1
    assert time.monotonic() - began < 8


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_wait_that_was_in_vain_is_refused_as_busy(provider, manager, asynchronous):
    """It may pass in a moment, says the error; the caller waited as long as it said it would."""

    async def in_task() -> None:
        async with provider.async_client() as client:
            await ask(client)

    def one() -> None:
        if asynchronous:
            asyncio.run(in_task())
        else:
            with provider.client() as client:
                ask(client)

    began = time.monotonic()
    with held(manager), budgetguard.budget(wait=0.15), pytest.raises(BudgetBusyError):
        one()

    assert 0.15 <= time.monotonic() - began < 2
    assert provider.requests == []


def test_a_spent_budget_is_not_waited_for(provider, manager):
    """Waiting could not help: the refusal comes at once, and does not say that it may pass."""
    with provider.client() as client, budgetguard.budget(wait=30, limit=0.05), pytest.raises(BudgetExceededError) as no:
        ask(client)

    assert type(no.value) is BudgetExceededError


def test_a_spent_budget_behind_a_busy_one_is_not_waited_for(provider, manager):
    """Room on the busy one would be of no use: the error names the one that stands in the way for good."""
    [account] = manager.guard.coverage.cover({"user": USER}).accounts
    spent = Hold(new_id(), (account,), 0)
    manager.store.settle(spent, Entry(spent.id, DIME))
    with budgetguard.budget(limit=0.12) as busy, provider.client() as client:
        tally.reserve((busy._tally,), Hold("of another call", (), DIME))
        with budgetguard.budget(wait=30), pytest.raises(BudgetExceededError) as no:
            ask(client)
        tally.settle((busy._tally,), "of another call", 0)

    assert type(no.value) is BudgetExceededError
    assert (no.value.budget, no.value.spent) == ("users", 0.10)


def test_one_that_waits_does_not_take_the_scraps(provider, manager):
    """Cut to a handful of tokens its answer would be useless: it waits for the room of a useful one."""
    with held(manager, 149_000_000) as release, provider.client() as client:
        later = threading.Thread(target=once_in_line, args=(release,))
        later.start()
        with budgetguard.budget(wait=10):
            ask(client, max_tokens=None)
        later.join()

    assert provider.requests[0].body["max_tokens"] >= 64


def test_one_that_does_not_wait_takes_what_is_left(provider, manager):
    """Down to the last token: it is for the caller to say that it would rather wait."""
    with held(manager, 149_000_000), provider.client() as client:
        ask(client, max_tokens=None)

    assert provider.requests[0].body["max_tokens"] < 10


# -- nothing is left behind --------------------------------------------------------------------------------------------


async def test_a_cancelled_waiter_leaves_the_line_to_the_next(provider, manager):
    """It holds nothing, stands nowhere, and the one behind it is not stuck."""
    async with provider.async_client() as client:
        with held(manager) as release:

            async def one(number: int) -> None:
                async with budgetguard.budget(wait=10):
                    await ask(client, number)

            tasks = []
            for number in range(3):
                tasks.append(asyncio.ensure_future(one(number)))
                while in_line() <= number:
                    await asyncio.sleep(0.001)
            tasks[0].cancel()
            tasks[1].cancel()
            await asyncio.wait(tasks[:2])
            assert in_line() == 1
            release()
            await tasks[2]

    assert [request.headers["x-number"] for request in provider.requests] == ["2"]


def test_an_interrupted_waiter_leaves_the_line(provider, manager, monkeypatch):
    """As Ctrl-C does to a thread that waits."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Turn, "wait", interrupted)
    with (
        held(manager),
        provider.client() as client,
        budgetguard.budget(wait=10),
        pytest.raises(KeyboardInterrupt),
    ):
        ask(client)

    assert in_line() == 0


def test_a_waiter_whose_loop_was_thrown_away_leaves_the_line(provider, manager):
    """A loop that is closed without cancelling its tasks, as some servers do when they reload."""
    loop = asyncio.new_event_loop()
    client = provider.async_client()

    async def one() -> None:
        async with budgetguard.budget(wait=10):
            await ask(client)

    with held(manager):
        coroutine = one()
        task = loop.create_task(coroutine)
        while not in_line():
            loop.run_until_complete(asyncio.sleep(0.001))
        loop.run_until_complete(client.close())
        task._log_destroy_pending = False  # what asyncio would say of it is not the point here
        coroutine.close()
        loop.close()

    assert in_line() == 0


def test_a_forked_child_does_not_wait_behind_its_parent():
    """The threads that stand in line are not in the child."""
    turn = Turn(10)
    LINE.stand(turn, "account")
    try:
        child = os.fork()
        if child == 0:
            os._exit(0 if LINE.queues == {} and LINE.first_busy(["account"]) is None else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        LINE.leave(turn)


def test_a_line_that_nobody_stands_in_costs_nothing(provider, manager, monkeypatch):
    """A call that need not wait takes no lock of the line, whether it may wait or not."""
    monkeypatch.setattr(LINE, "_lock", None)

    with provider.client() as client:
        ask(client)

    assert len(provider.requests) == 1


def test_a_call_to_a_turn_is_never_lost():
    """It may come before the waiter has gone to sleep: then it does not go to sleep."""
    turn = Turn(10)
    turn.call()
    began = time.monotonic()

    turn.wait(5)

    assert time.monotonic() - began < 1
    turn.wait(0.01)  # that call was for the wait before


def test_an_account_of_one_store_is_not_that_of_another():
    """Two managers in one process may have users of the same name."""
    line = Line()
    line.stand(Turn(10), (1, "users/ann/all"))

    assert line.first_busy([(2, "users/ann/all")]) is None
    assert line.first_busy([(1, Account("users/ann/all").key)]) is not None


@pytest.mark.parametrize("freed", [True, False])
def test_a_call_waits_under_trio_too(freed, provider, manager):
    """The SDK runs there, by anyio: a call waits for room, or says that it is busy."""
    trio = pytest.importorskip("trio")

    async def main() -> None:
        client = provider.async_client()
        with budgetguard.budget(wait=5 if freed else 0.2):
            if freed:
                await ask(client)
            else:
                with pytest.raises(BudgetBusyError):
                    await ask(client)
        await client.close()

    if freed:
        with held(manager):
            thread = threading.Thread(target=trio.run, args=(main,))
            thread.start()
            until(in_line)
        thread.join(timeout=10)
        assert not thread.is_alive()
        assert [entry.cost for entry in manager.store.entries()] == [provider.billed.nano]
    else:
        with held(manager):
            trio.run(main)
