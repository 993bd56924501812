"""`patch(threads=True)`: what is handed to a thread runs in the scope that it was handed over in."""

from __future__ import annotations

import asyncio
import concurrent.futures.process
import multiprocessing
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ProcessPoolExecutor, ThreadPoolExecutor
from contextvars import ContextVar
from typing import Any

import anyio.to_thread
import pytest

import budgetguard
from budgetguard.guards.scope import Scope, current

pytestmark = pytest.mark.provider(tokens=20, prices={"gpt-4o-mini": (0.15, 0.60)})

OTHER: ContextVar[str] = ContextVar("other")


@pytest.fixture
def patched() -> None:
    """`patch(threads=True)`; every test ends with `unpatch()`."""
    budgetguard.patch(threads=True)


def user() -> str | None:
    """Whose scope this is."""
    scope = current.get()
    return None if scope is None else scope.tags["user"]


def ask(client: Any) -> str | None:
    client.chat.completions.create(model="gpt-4o-mini", messages=[{"role": "user", "content": "hi"}], max_tokens=50)
    return user()


def in_thread(work: Callable[..., Any], *args: Any) -> Any:
    """What some work returns in a thread of its own."""
    found: list[Any] = []
    thread = threading.Thread(target=lambda: found.append(work(*args)))
    thread.start()
    thread.join()
    return found[0]


def in_subclass(work: Callable[..., Any], *args: Any) -> Any:
    """The same in a thread that has its own `run`."""

    class Own(threading.Thread):
        def run(self) -> None:
            self.found = work(*args)

    thread = Own()
    thread.start()
    thread.join()
    assert "run" not in vars(thread), "the thread would keep itself alive"
    return thread.found


def in_timer(work: Callable[..., Any], *args: Any) -> Any:
    """The same in a timer."""
    found: list[Any] = []
    timer = threading.Timer(0, lambda: found.append(work(*args)))
    timer.start()
    timer.join()
    return found[0]


def in_pool(work: Callable[..., Any], *args: Any) -> Any:
    """The same in a pool's thread."""
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(work, *args).result()


def in_map(work: Callable[..., Any], *args: Any) -> Any:
    """The same by `map`."""
    with ThreadPoolExecutor(1) as pool:
        return next(pool.map(work, *([each] for each in args)))


class Counting(ThreadPoolExecutor):
    """A pool that has its own `submit`."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(fn, *args, **kwargs)


def in_own_pool(work: Callable[..., Any], *args: Any) -> Any:
    """The same in a pool that has its own `submit`."""
    with Counting(1) as pool:
        return pool.submit(work, *args).result()


def in_executor(work: Callable[..., Any], *args: Any) -> Any:
    """The same from an event loop."""

    async def main() -> Any:
        return await asyncio.get_running_loop().run_in_executor(None, work, *args)

    return asyncio.run(main())


def in_asyncio(work: Callable[..., Any], *args: Any) -> Any:
    """The same by `asyncio.to_thread`, which carries the whole context."""
    return asyncio.run(asyncio.to_thread(work, *args))


def in_anyio(work: Callable[..., Any], *args: Any) -> Any:
    """The same by anyio, which does so, too."""

    async def main() -> Any:
        return await anyio.to_thread.run_sync(work, *args)

    return anyio.run(main)


WAYS = [in_thread, in_subclass, in_timer, in_pool, in_map, in_own_pool, in_executor, in_asyncio, in_anyio]


@pytest.mark.parametrize("way", WAYS)
def test_a_call_in_a_thread_counts_in_the_scope_around_it(way, patched, client):
    """`b.spent` said $0.00 of what a pool's threads had spent."""
    with budgetguard.budget(user="ann", limit=1) as b:
        assert way(ask, client) == "ann"
        assert b.spent > 0


@pytest.mark.parametrize("way", [in_thread, in_subclass, in_pool, in_executor])
def test_it_is_off_by_default_and_taken_out_by_unpatch(way):
    """A program that has its own way of carrying contexts is left alone."""
    budgetguard.patch()
    with budgetguard.budget(user="ann"):
        assert way(user) is None
        budgetguard.patch(threads=True)
        assert way(user) == "ann"
        budgetguard.patch()  # changes nothing of it
        assert way(user) == "ann"
        budgetguard.unpatch()
        assert way(user) is None
    assert not hasattr(threading.Thread.start, "__wrapped__")
    assert not hasattr(ThreadPoolExecutor.submit, "__wrapped__")
    with budgetguard.budget(user="ann"):  # which has its own hooks in place
        assert way(user) is None


def test_a_thread_of_a_pool_has_nobodys_scope_between_tasks(patched):
    """It outlives the scope in which it was started: the next caller's task would be ann's."""
    with ThreadPoolExecutor(1) as pool:
        with budgetguard.budget(user="ann"):
            assert pool.submit(user).result() == "ann"
        assert pool.submit(user).result() is None
        with budgetguard.budget(user="bob"):
            assert pool.submit(user).result() == "bob"


def test_outside_of_scopes_nothing_is_put_around_anything(patched):
    """Most threads of a program have nothing to do with budgets."""
    thread = threading.Thread(target=user)
    thread.start()
    assert "run" not in vars(thread)
    thread.join()
    with ThreadPoolExecutor(1) as pool:
        callers = pool.submit(lambda: sys._getframe(1).f_globals["__name__"]).result()
    assert callers == "concurrent.futures.thread"


def test_a_thread_that_outlives_its_scope_counts_on_it(patched, client):
    """Whoever started it is to know what it cost."""
    may, found = threading.Event(), list[Any]()

    def late() -> None:
        may.wait(20)
        found.append(ask(client))

    with budgetguard.budget(user="ann", limit=1) as b:
        thread = threading.Thread(target=late)
        thread.start()
    assert b.spent == 0
    may.set()
    thread.join()
    assert found == ["ann"]
    assert b.spent > 0


def test_the_threads_by_which_a_process_pool_is_managed_have_nobodys_scope(patched, monkeypatch):
    """They live as long as the pool: everybody's work would be that of whoever was the first."""
    seen: dict[str, Scope | None] = {}
    run = concurrent.futures.process._ExecutorManagerThread.run

    def noting(self: Any) -> None:
        seen["manager"] = current.get()
        run(self)

    monkeypatch.setattr(concurrent.futures.process._ExecutorManagerThread, "run", noting)
    with budgetguard.budget(user="ann"), ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        assert pool.submit(user).result() == "ann"
    assert seen == {"manager": None}


def test_only_the_scope_is_carried(patched):
    """The rest of a context is for those who own it to carry, or not."""
    OTHER.set("mine")
    with budgetguard.budget(user="ann"):
        assert in_thread(lambda: (user(), OTHER.get(None))) == ("ann", None)
