"""
A hold lasts as long as its call, in a process that lives; that of a process that died ends at its ttl.

The calls here outlast a ttl of half a second, which the keeper has to notice in time.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any

import openai
import pytest

import budgetguard
from budgetguard import Budget, BudgetManager
from budgetguard.errors import BudgetExceededError, StoreError
from budgetguard.guards.settings import Settings
from budgetguard.ledger import Account, Admitted, Hold, Refusal, Store, new_id
from budgetguard.process.keeper import LOOKS, NEVER_MS, Keeper
from budgetguard.process.state import PROCESS
from budgetguard.stores import open_store
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.stores.sqlite.store import SQLiteStore
from budgetguard.testing.clock import StoppedClock
from tests.support import ENVIRONMENT, in_memory, servers
from tests.support.hosting import Hosted
from tests.support.in_memory import HI, HTTP, MODEL, client_of

TTL_MS = 500
CAP = 16_000
"""Tokens at 600 nano-dollars: $0.0096, and a budget of $0.01 has room for one such call."""

ENDPOINTS = ["memory", "sqlite", *servers.NAMES, "http"]


def reply(body: Any, tokens: int = CAP) -> Any:
    return HTTP.Response(200, json=in_memory.reply(body["model"], tokens, asked=8))


def guarded(manager: BudgetManager, serve: Callable[[Any], Any]) -> openai.OpenAI:
    client: openai.OpenAI = client_of(lambda request: serve(json.loads(request.content)))
    return budgetguard.guard(client, manager)


def slow(body: Any) -> Any:
    time.sleep(1.5)
    return reply(body)


def ask(client: openai.OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=HI, max_completion_tokens=CAP, **more)


@pytest.fixture
def server() -> Iterator[Callable[[], Hosted]]:
    opened: list[Hosted] = []

    def make() -> Hosted:
        opened.append(Hosted("memory://"))
        return opened[-1]

    yield make
    for each in opened:
        each.stop()


@pytest.fixture(params=ENDPOINTS)
def store(request: pytest.FixtureRequest, tmp_path: Any, server: Callable[[], Hosted]) -> Any:
    if request.param == "memory":
        return MemoryStore()
    if request.param == "sqlite":
        return SQLiteStore(tmp_path / "a.db")
    where = server().url if request.param == "http" else servers.running(request.param)
    return open_store(f"{where}?reserve_s=10", namespace=new_id())  # a busy machine is no reason to refuse a call


def test_a_call_that_outlasts_its_ttl_keeps_its_room(store: Store) -> None:
    """
    Of four calls, one begins every 0.7 s: the first takes 1.5 s and all the room, the others are told so. Under a
    budget in slices and under one without, at the same time.
    """
    rules = [Budget("one", 0.01), Budget("sliced", 0.01, lease=True)]
    managers = [BudgetManager("t", store=store, budgets=[rule], settings=Settings(ttl_ms=TTL_MS)) for rule in rules]
    clients = [guarded(manager, slow) for manager in managers]
    said: list[list[str]] = [[] for _ in clients]

    def call(client: openai.OpenAI, said: list[str]) -> None:
        try:
            ask(client)
            said.append("answered")
        except BudgetExceededError:
            said.append("refused")

    threads = [threading.Thread(target=call, args=args) for _ in range(4) for args in zip(clients, said, strict=True)]
    for number, thread in enumerate(threads, 1):
        thread.start()
        if number % len(clients) == 0:
            time.sleep(0.7)
    for thread in threads:
        thread.join()
    assert all(manager.flush() for manager in managers)
    assert [sorted(each) for each in said] == [["answered", "refused", "refused", "refused"]] * 2
    assert [(entry.cost, "late" in entry.flags) for entry in store.entries()] == [(CAP * 600 + 8 * 150, False)] * 2
    assert store.holds() == []
    assert store.check() == []


def test_a_stream_that_nobody_reads_keeps_its_room(store: Store) -> None:
    """As long as its object is there."""
    manager = BudgetManager("t", store=store, budgets=[Budget("one", 0.01)], settings=Settings(ttl_ms=TTL_MS))
    event = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "gpt-4o-mini", "choices": []}

    class Body(HTTP.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            yield f"data: {json.dumps(event)}\n\n".encode()

    client = guarded(
        manager, lambda body: HTTP.Response(200, headers={"content-type": "text/event-stream"}, stream=Body())
    )
    stream = ask(client, stream=True)
    time.sleep(1.2)
    with pytest.raises(BudgetExceededError):
        ask(client)
    assert len(store.holds()) == 1
    stream.close()
    del stream
    gc.collect()
    PROCESS.reaper.drain()
    assert manager.flush()
    assert store.holds() == []
    assert ["late" in entry.flags for entry in store.entries()] == [False]


@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("minutes", [16, 3 * 24 * 60])
def test_a_clock_that_is_set_forward_does_not_end_the_hold_of_a_call(kind: str, minutes: int, tmp_path: Any) -> None:
    """A store that tells the time itself asks who lives before it gives a hold's room away."""
    clock = StoppedClock()
    made = MemoryStore(clock=clock) if kind == "memory" else SQLiteStore(tmp_path / "a.db", clock=clock)
    store: Store = made
    manager = BudgetManager("t", store=store, budgets=[Budget("one", 0.01)])
    answers: list[Any] = []

    def serve(body: Any) -> Any:
        if not answers:
            answers.append(None)
            clock.advance(60 * minutes)
            with pytest.raises(BudgetExceededError):
                ask(client)
            assert len(store.holds()) == 1
            clock.advance(60 * minutes)
        return reply(body)

    client = guarded(manager, serve)
    ask(client)
    assert [(entry.cost, "late" in entry.flags) for entry in store.entries()] == [(CAP * 600 + 8 * 150, False)]
    assert store.holds() == []
    # What is not the hold of a call that lives expires as ever.
    account = Account("other", limit=100)
    assert store.reserve(Hold(new_id(), (account,), 100, ttl_ms=1000)) == Admitted(100)
    clock.advance(1)
    assert store.reserve(Hold(new_id(), (account,), 100)) == Admitted(100)


CALLER = """
import sys, time
import budgetguard
from budgetguard import Budget, BudgetManager
from budgetguard.guards.settings import Settings
from budgetguard.stores.sqlite.store import SQLiteStore
from tests.support.in_memory import HI, MODEL, client_of

store, settings = SQLiteStore(sys.argv[1]), Settings(ttl_ms=500)
manager = BudgetManager("t", store=store, budgets=[Budget("one", 0.01)], settings=settings)

def serve(request):
    print("sent", flush=True)
    time.sleep(60)

client = budgetguard.guard(client_of(serve), manager)
client.chat.completions.create(model=MODEL, messages=HI, max_completion_tokens=16_000)
"""


def test_the_hold_of_a_process_that_was_killed_ends_at_its_ttl(tmp_path: Any) -> None:
    """While it lives it is kept, also for another process; then nobody renews it (P7)."""
    command = [sys.executable, "-c", CALLER, str(tmp_path / "a.db")]
    with (
        closing(SQLiteStore(tmp_path / "a.db")) as store,
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=ENVIRONMENT) as caller,
    ):
        assert caller.stdout is not None
        assert caller.stdout.readline() == "sent\n"
        key = store.holds()[0].accounts[0]
        whole = Hold(new_id(), (Account(key, limit=10_000_000),), 10_000_000)
        time.sleep(1.2)
        assert isinstance(store.reserve(whole), Refusal)
        caller.send_signal(signal.SIGKILL)
        caller.wait()
        time.sleep(0.55)
        assert store.reserve(whole) == Admitted(10_000_000)


# The keeper by itself.


class Counting(MemoryStore):
    """A store that counts how often it is asked to renew what."""

    def __init__(self) -> None:
        super().__init__()
        self.renewed: list[list[str]] = []

    def renew(self, holds: Sequence[Hold]) -> list[bool]:
        self.renewed.append([hold.id for hold in holds])
        return super().renew(holds)


def until(true: Callable[[], Any]) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + 5
    while not true():
        assert time.monotonic() < end, "it did not happen within 5 s"
        time.sleep(0.005)


def test_a_call_that_is_over_soon_is_never_renewed() -> None:
    """And the thread ends, once nothing is open."""
    store = Counting()
    manager = BudgetManager("t", store=store, budgets=[Budget("one", 10)], settings=Settings(ttl_ms=600))
    client = guarded(manager, lambda body: reply(body, 1))
    for _ in range(5):
        ask(client)
    assert store.renewed == []
    until(lambda: PROCESS.keeper.pace_ms == NEVER_MS)
    assert all(thread.name != "budgetguard-keeper" for thread in threading.enumerate()) or not PROCESS.open
    ask(client)
    assert PROCESS.keeper.pace_ms == 600


def test_what_is_open_is_renewed_from_the_second_look_on() -> None:
    """In one round trip a store; a shorter ttl makes the keeper look sooner."""
    first, second = Counting(), Counting()
    living = [(first, Hold("a", (), 1)), (second, Hold("b", (), 1)), (first, Hold("c", (), 1))]
    looks: list[int] = []

    def look() -> Any:
        looks.append(1)
        return living

    open_ = [True]
    keeper = Keeper(look, lambda: open_[0])
    keeper.watch(60_000)
    keeper.watch(60)
    until(lambda: len(second.renewed) >= 2)
    assert len(looks) > len(first.renewed)
    assert first.renewed[0] == ["a", "c"]
    assert second.renewed[0] == ["b"]
    open_[0] = False
    until(lambda: keeper.pace_ms == NEVER_MS)


def test_a_store_that_cannot_renew_is_named_once(caplog: pytest.LogCaptureFixture) -> None:
    """Calls go on; and once it can again, a later failure is told again."""

    class Away(Counting):
        away = True

        def renew(self, holds: Sequence[Hold]) -> list[bool]:
            if self.away:
                raise StoreError("it is away")
            return super().renew(holds)

    store, hold = Away(), Hold(new_id(), (), 1)
    keeper = Keeper(list, lambda: False)
    with caplog.at_level(logging.WARNING, "budgetguard"):
        assert not keeper.renew([(store, hold)])
        assert not keeper.renew([(store, hold)])
        assert caplog.text.count("it is away") == 1
        store.away = False
        assert keeper.renew([(store, hold)])
        store.away = True
        assert not keeper.renew([(store, hold)])
    assert caplog.text.count("it is away") == 2
    assert LOOKS == 3


def test_an_old_server_is_told_of_once_and_calls_go_on(
    server: Callable[[], Hosted], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client newer than its server asks for an endpoint that is not there."""
    from budgetguard.stores.http import store as http

    store = open_store(server().url, namespace=new_id())
    ask_ = http.HttpStore._ask
    monkeypatch.setattr(
        http.HttpStore,
        "_ask",
        lambda self, path, *rest: ask_(self, "renew_it" if path == "renew" else path, *rest),
    )
    manager = BudgetManager("t", store=store, budgets=[Budget("one", 0.01)], settings=Settings(ttl_ms=TTL_MS))
    with caplog.at_level(logging.WARNING, "budgetguard"):
        ask(guarded(manager, slow))
    assert caplog.text.count("upgrade the server") == 1
    assert [entry.flags for entry in store.entries()] == [frozenset({"late"})]


def test_a_forked_child_renews_nothing_of_its_parents() -> None:
    """The parent goes on keeping what is open there."""
    store = Counting()
    manager = BudgetManager("t", store=store, budgets=[Budget("one", 0.01)], settings=Settings(ttl_ms=TTL_MS))

    def serve(body: Any) -> Any:
        child = os.fork()
        if not child:
            os._exit(len(PROCESS.living()) + (PROCESS.keeper.pace_ms != NEVER_MS))
        assert os.waitpid(child, 0)[1] == 0
        until(lambda: store.renewed)
        return reply(body)

    ask(guarded(manager, serve))
    assert [entry.flags for entry in store.entries()] == [frozenset()]
