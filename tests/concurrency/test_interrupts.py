"""
An exception that a signal's handler raises is the caller's, and the call that it strikes is paid for.

A time limit of `SIGALRM`, or a task queue's: it may come between any two instructions, also while an answered call is
being settled. It is an `Exception` as a store's own failure is, which nobody outside should hear of.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any

import openai
import pytest

import budgetguard
from budgetguard import Budget, BudgetManager, PriceBook
from budgetguard.concurrency import file_locks
from budgetguard.concurrency.interrupts import interruption
from budgetguard.concurrency.locks import any_held
from budgetguard.concurrency.reaper import Reaper
from budgetguard.errors import StoreError
from budgetguard.guards.charge import Charge
from budgetguard.ledger import Account, Hold
from budgetguard.process import tally
from budgetguard.process.journal import Journal
from budgetguard.process.leases import Leases
from budgetguard.process.state import PROCESS
from budgetguard.stores.combiner import Gate
from budgetguard.stores.sqlite.store import SQLiteStore
from budgetguard.testing import FakeProvider
from tests.support.in_memory import HI, HTTP, REPLY, client_of
from tests.support.sdk_shapes import each, run, wait

MODEL = "a-model"
PRICES = {MODEL: {"input": 1.0, "output": 2.0, "max_output": 100}}
BILL = 14 * 1_000 + 6 * 2_000
"""What the reply costs, in nano-dollars: it says 14 tokens of input and 6 of output."""


_CHUNK = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
_USAGE = {"prompt_tokens": 14, "completion_tokens": 6, "total_tokens": 20}
EVENTS = [
    *(
        b"data: " + json.dumps({**_CHUNK, **each}).encode() + b"\n\n"
        for each in (
            {"choices": [{"index": 0, "delta": {"content": "word "}, "finish_reason": None}]},
            {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
            {"choices": [], "usage": _USAGE},
        )
    ),
    b"data: [DONE]\n\n",
]
"""The same as a stream."""


class JobTimeout(Exception):
    """As a task queue has one of its own."""


class Alarm:
    """A handler of SIGALRM, as programs write them."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error
        self.raised = 0
        self.armed = True

    def __call__(self, signum: int, frame: Any) -> None:
        if self.armed:
            self.raised += 1
            self._raise()

    def _raise(self) -> None:
        raise self.error("time is up")


@pytest.fixture(params=[TimeoutError, JobTimeout, RuntimeError, StoreError], ids=lambda kind: kind.__name__)
def alarm(request: pytest.FixtureRequest) -> Iterator[Alarm]:
    made = Alarm(request.param)
    before = signal.signal(signal.SIGALRM, made)
    yield made
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(params=["memory", "sqlite", "leases"])
def manager(request: pytest.FixtureRequest, tmp_path) -> Iterator[BudgetManager]:
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/books.db"
    budgets = [Budget("one", 5, lease=request.param == "leases")]
    made = BudgetManager("alarms", store=url, prices=PriceBook(overrides=PRICES), budgets=budgets)
    budgetguard.max_budget = 5
    with made:
        yield made
    made.close()


class Wire:
    """A transport that answers, and counts what it is to be paid for."""

    def __init__(self, *, stream: bool = False) -> None:
        self.billed = 0
        self.stream = stream

    def __call__(self, _: Any) -> Any:
        self.billed += BILL
        if self.stream:
            return HTTP.Response(200, headers={"content-type": "text/event-stream"}, content=iter(EVENTS))
        return HTTP.Response(200, json={**REPLY, "model": MODEL})

    def client(self) -> openai.OpenAI:
        return client_of(self)

    def async_client(self) -> openai.AsyncOpenAI:
        return client_of(self, asynchronous=True)


def ask(client: Any, *, stream: bool = False) -> Any:
    answer = client.chat.completions.create(model=MODEL, messages=HI, stream=stream)
    return list(answer) if stream else answer


def booked(manager: BudgetManager) -> int:
    """What is on the books, of the store and of the process alike, when nothing is held any more."""
    PROCESS.reaper.drain()
    manager.flush()
    assert [hold for hold in manager.store.holds() if "lease" not in hold.tags] == []
    assert PROCESS.tally is not None
    assert PROCESS.tally.held == 0
    cost = sum(entry.cost for entry in manager.store.entries())
    assert PROCESS.tally.settled == cost
    return cost


def struck(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with the alarm going off as it begins, the first time."""
    times = []

    def begin(*args: Any, **kwargs: Any) -> Any:
        if not times:
            times.append(1)
            os.kill(os.getpid(), signal.SIGALRM)
        return function(*args, **kwargs)

    return begin


def strike(monkeypatch: pytest.MonkeyPatch, where: str, manager: BudgetManager) -> None:
    if where == "tally":
        monkeypatch.setattr(tally, "settle", struck(tally.settle))
    elif where == "store":
        owner = type(manager.store)
        monkeypatch.setattr(owner, "settle", struck(owner.settle))
        monkeypatch.setattr(Leases, "settle", struck(Leases.settle))
    else:

        def fail(*_: Any) -> Any:
            raise StoreError("is away")

        owner = type(manager.store)
        settle = owner.settle
        calls = iter([fail])  # once: then it is back
        monkeypatch.setattr(owner, "settle", lambda *args: next(calls, settle)(*args))
        monkeypatch.setattr(Journal, "keep", struck(Journal.keep))


@pytest.mark.parametrize("where", ["tally", "store", "journal"])
def test_an_alarm_while_a_call_is_settled_reaches_the_caller_and_the_call_is_paid(alarm, where, manager, monkeypatch):
    """It comes out as it is; another thread books the call."""
    if where == "journal" and manager.guard.leases is not None:
        manager.guard.leases = None  # a lease's own settlements are kept by no journal
    wire = Wire()
    with wire.client() as client:
        strike(monkeypatch, where, manager)
        with pytest.raises(alarm.error, match="time is up"):
            ask(client)

        assert booked(manager) == wire.billed == BILL
        ask(client)
        assert booked(manager) == wire.billed


@pytest.mark.parametrize("where", ["tally", "store"])
def test_an_alarm_while_a_task_settles_reaches_its_caller(alarm, where, monkeypatch):
    """The loop runs in the main thread, as the handler does."""
    manager = BudgetManager("alarms", store="memory://", prices=PriceBook(overrides=PRICES), budgets=[Budget("one", 5)])
    budgetguard.max_budget = 5
    wire = Wire()

    async def one() -> None:
        with pytest.raises(alarm.error, match="time is up"):
            await ask(wire.async_client())

    with manager:
        strike(monkeypatch, where, manager)
        asyncio.run(one())
    assert booked(manager) == wire.billed == BILL


@pytest.mark.parametrize("error", [TimeoutError("of a socket"), ZeroDivisionError(), StoreError("is away")], ids=repr)
def test_a_stores_own_failure_is_not_the_callers(error, manager, monkeypatch):
    """Whatever its type is: the answer was paid for, and is returned."""
    wire, owner, errors = Wire(), type(manager.store), iter([error])
    monkeypatch.setattr(owner, "settle", _failing(owner.settle, errors))
    with wire.client() as client:
        ask(client)

    assert booked(manager) == wire.billed == BILL


def _failing(function: Callable[..., Any], errors: Iterator[Exception]) -> Callable[..., Any]:
    def fail(*args: Any) -> Any:
        error = next(errors, None)
        if error is not None:
            raise error
        return function(*args)

    return fail


def test_an_alarm_that_the_caller_has_handled_is_not_raised_again():
    """A program that asks another model when the first took too long, over a store that fails."""
    before = signal.signal(signal.SIGALRM, Alarm(TimeoutError))
    found: list[Any] = []

    def store() -> None:
        raise StoreError("is away")

    try:
        os.kill(os.getpid(), signal.SIGALRM)
    except TimeoutError as error:
        found.append(interruption(error) is error)
        try:
            store()
        except StoreError as failed:
            found += [failed.__context__ is error, interruption(failed)]
    finally:
        signal.signal(signal.SIGALRM, before)
    assert found == [True, True, None]


def test_an_alarm_that_was_wrapped_on_its_way_is_found():
    """Drivers take a `TimeoutError` for one of their socket's."""
    before = signal.signal(signal.SIGALRM, Alarm(TimeoutError))

    def driver() -> None:
        try:
            os.kill(os.getpid(), signal.SIGALRM)
        except OSError:
            raise ConnectionError("cannot be reached") from None

    def store() -> None:
        try:
            driver()
        except OSError as error:
            raise StoreError("is away") from error

    with pytest.raises(StoreError) as caught:
        store()
    signal.signal(signal.SIGALRM, before)
    assert isinstance(interruption(caught.value), TimeoutError)


@pytest.mark.parametrize("alarm", [TimeoutError], indirect=True)
@pytest.mark.parametrize("where", ["interrupted", "close"])
@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_an_alarm_at_the_end_of_a_stream_reaches_its_reader_and_the_stream_is_paid(is_async, where, alarm, monkeypatch):
    """As what was heard of it is taken in, and as it is settled."""
    manager = BudgetManager("alarms", store="memory://", prices=PriceBook(overrides=PRICES), budgets=[Budget("one", 5)])
    budgetguard.max_budget = 5
    with manager, FakeProvider(tokens=6) as provider:
        made = provider.async_client() if is_async else provider.client()
        more = {"model": MODEL, "messages": HI, "stream": True, "stream_options": {"include_usage": True}}

        async def read() -> None:
            async for _ in each(await wait(made.chat.completions.create(**more))):
                pass

        monkeypatch.setattr(Charge, where, struck(getattr(Charge, where)))
        loop = asyncio.new_event_loop() if is_async else None
        with pytest.raises(alarm.error, match="time is up"):
            run(read(), loop)
        monkeypatch.undo()
        if loop is not None:
            loop.run_until_complete(made.close())
            loop.close()
        provider.wait()
        [paid] = provider.ledger
        assert booked(manager) == paid.input_tokens * 1_000 + paid.output_tokens * 2_000


@pytest.mark.parametrize("alarm", [TimeoutError], indirect=True)
@pytest.mark.parametrize("look", [PROCESS.sweep, PROCESS.living], ids=["for room", "to renew"])
def test_an_alarm_in_the_finalizer_of_a_stream_leaves_its_end_to_the_next_look(look, alarm, monkeypatch):
    """The collector runs it in the middle of anything, and its exception is nobody's."""
    manager = BudgetManager("alarms", store="memory://", prices=PriceBook(overrides=PRICES), budgets=[Budget("one", 5)])
    budgetguard.max_budget = 5
    wire = Wire(stream=True)
    with manager, wire.client() as client:
        unread = client.chat.completions.with_raw_response.create(model=MODEL, messages=HI, stream=True)
        monkeypatch.setattr(Reaper, "put", struck(Reaper.put))
        monkeypatch.setattr(sys, "unraisablehook", lambda _: None)  # pytest's keeps the frames, and the body with them
        del unread
        gc.collect()
        monkeypatch.undo()
        assert alarm.raised == 1
        PROCESS.reaper.drain()
        assert manager.store.holds()

        look()
    assert booked(manager) >= wire.billed
    assert not PROCESS.open


class Struck:
    """A lock, with the alarm going off as it is taken, the first time."""

    def __init__(self, lock: Any) -> None:
        self.lock = lock
        self.times = 0

    def acquire(self, *args: Any, **kwargs: Any) -> bool:
        taken: bool = self.lock.acquire(*args, **kwargs)
        self.times += 1
        if self.times == 1:
            os.kill(os.getpid(), signal.SIGALRM)
        return taken

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.lock.release()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.lock, name)


@pytest.mark.parametrize("alarm", [TimeoutError], indirect=True)
@pytest.mark.parametrize("manager", ["sqlite"], indirect=True)
@pytest.mark.parametrize("first", [True, False], ids=["as it is held", "as it is settled"])
def test_an_alarm_as_a_lock_is_taken_leaves_it_to_other_threads(first, alarm, manager):
    """The one who has it does not know yet: it would be nobody's to free, and the call's end waits for it elsewhere."""
    wire, store = Wire(), manager.store
    with wire.client() as client:
        ask(client)
        lead = store._combiner._lead = Struck(store._combiner._lead)
        lead.times = 0 if first else -1
        with pytest.raises(alarm.error, match="time is up"):
            ask(client)

        assert lead.times > 0
        assert not any_held()
        assert booked(manager) == wire.billed == (BILL if first else 2 * BILL)


@pytest.mark.parametrize("alarm", [TimeoutError], indirect=True)
@pytest.mark.parametrize("call", [2, 4], ids=["as it is entered", "as it is left"])
def test_an_alarm_in_the_gate_of_a_file_leaves_it_to_other_processes(call, alarm, tmp_path, monkeypatch):
    """Its lock is the process's, which would not wait for itself."""
    path = str(tmp_path / "books.db")
    store, other = SQLiteStore(path), Gate(path)
    store.reserve(Hold("a", (Account("one", 10),), 1))
    flock, calls = file_locks.flock, iter(range(1, 100))

    def strike(file: int, operation: int) -> None:
        flock(file, operation)
        if next(calls) == call:
            os.kill(os.getpid(), signal.SIGALRM)

    monkeypatch.setattr(file_locks, "flock", strike)
    with pytest.raises(alarm.error, match="time is up"):
        store.reserve(Hold("b", (Account("one", 10),), 1))
    monkeypatch.undo()

    assert other.try_enter()
    store.close()


@pytest.mark.parametrize("alarm", [TimeoutError], indirect=True)
def test_an_alarm_as_a_file_is_looked_at_does_not_make_it_gone(alarm, tmp_path, monkeypatch):
    """A `TimeoutError` is an `OSError`, as that of a file which is not there."""
    store = SQLiteStore(tmp_path / "books.db")
    held = Hold("a", (Account("one", 10),), 1)
    store.reserve(held)
    monkeypatch.setattr(os, "stat", struck(os.stat))
    with pytest.raises(alarm.error, match="time is up"):
        store.release("a")
    monkeypatch.undo()

    store.release("a")
    assert store.holds() == []
    store.close()


def _seconds(client: Any, stream: bool) -> float:
    began = time.perf_counter()
    ask(client, stream=stream)
    return time.perf_counter() - began


CALLS = int(os.environ.get("ALARMS", "300"))
SEED = int(os.environ.get("ALARM_SEED", "0")) or random.randrange(1, 10**6)


@pytest.mark.parametrize("kind", [TimeoutError, JobTimeout])
@pytest.mark.parametrize("url", ["memory", "sqlite"])
@pytest.mark.parametrize("stream", [False, True], ids=["plain", "stream"])
def test_alarms_at_any_instant_lose_nothing(stream, kind, url, tmp_path, record_property, monkeypatch):
    """At random moments of many calls; `ALARM_SEED` repeats a run as far as the machine lets it."""
    record_property("seed", SEED)
    chance = random.Random(SEED)
    store = "memory://" if url == "memory" else f"sqlite:///{tmp_path}/books.db"
    manager = BudgetManager("alarms", store=store, prices=PriceBook(overrides=PRICES), budgets=[Budget("one", 50)])
    budgetguard.max_budget = 50
    alarm, wire = Alarm(kind), Wire(stream=stream)
    before = signal.signal(signal.SIGALRM, alarm)
    # One that strikes a finalizer is only reported; pytest would keep its frames, and the stream with them.
    monkeypatch.setattr(sys, "unraisablehook", lambda _: None)
    try:
        with manager, wire.client() as client:
            typical_s = min(_seconds(client, stream) for _ in range(20))
            for _ in range(CALLS // 2):
                with suppress(kind, openai.APIConnectionError):
                    try:
                        alarm.armed = True
                        signal.setitimer(signal.ITIMER_REAL, max(1e-6, chance.random() * 1.2 * typical_s))
                        ask(client, stream=stream)
                    finally:
                        alarm.armed = False
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert alarm.raised > CALLS // 10
    PROCESS.sweep()  # a stream and its generator are a cycle
    assert booked(manager) >= wire.billed, f"seed {SEED}"
    manager.close()
