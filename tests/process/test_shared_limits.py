"""
Limits that a process shares with its children: never multiplied, never gone.

The children are real processes, forked here; the provider is a server in the parent. `test_start_methods.py` has those
that start as new interpreters.
"""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import shutil
import signal
import stat
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import openai
import pytest

import budgetguard
from budgetguard import BudgetExceededError, BudgetManager, ConfigError, Money, Settings, StoreError, carry_scope
from budgetguard.guards.guard import Guard
from budgetguard.guards.scope import current
from budgetguard.process.family.file import FAMILY
from budgetguard.process.state import PROCESS
from budgetguard.testing import FakeProvider
from tests.support.children import ends, fork
from tests.support.in_memory import HTTP

pytestmark = pytest.mark.provider(tokens=1000, prices={"gpt-4o-mini": (0.15, 0.60)})

FORK = multiprocessing.get_context("fork")
COST = Money(601_050)
"""Of one call of `ask`."""

HI = {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1000}

FITS = 5
LIMIT = 0.0035
"""Enough for so many."""


@pytest.fixture(autouse=True)
def _new_family(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each test begins without a file, and leaves that of the process alone."""
    monkeypatch.setattr(FAMILY, "_own", None)


def cost_of(calls: int) -> Money:
    return Money(601_050 * calls)


def client_of(url: str) -> openai.OpenAI:
    """One that reads no certificates, which takes a while."""
    return openai.OpenAI(base_url=url, api_key="-", max_retries=0, http_client=HTTP.Client(verify=False))


@pytest.fixture(scope="module")
def url(shared_provider: FakeProvider) -> str:
    """Of the provider, once all is imported that a call needs: children need not do it again."""
    with budgetguard.budget(limit=1):
        assert ask(shared_provider.base_url, 1) == 1
    return shared_provider.base_url


def ask(url: str, times: int = 3) -> int:
    """How many of so many calls were not refused."""
    answered = 0
    with client_of(url) as client:
        for _ in range(times):
            try:
                client.chat.completions.create(**HI)
            except BudgetExceededError:
                continue
            answered += 1
    return answered


def until(holds: Callable[[], object], seconds: float = 20) -> None:
    """Wait for something that another process brings about."""
    end_s = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def test_a_pool_in_a_scope_spends_its_limit_once(shared_provider, url):
    """Four workers that each have a copy of it would spend four times as much."""
    before = shared_provider.billed
    with budgetguard.budget(limit=LIMIT) as b, FORK.Pool(4) as pool:
        answered = pool.map(ask, [url] * 4, chunksize=1)
        assert sum(answered) == FITS
        assert b.spent == shared_provider.billed - before == cost_of(FITS)
        assert b.remaining == Money.dollars(LIMIT) - b.spent
        with pytest.raises(BudgetExceededError, match=r"scope: .*\$0.00049475 of \$0.0035 available"):
            refused(url)


def refused(url: str) -> None:
    with client_of(url) as client:
        client.chat.completions.create(**HI)


def test_max_budget_holds_for_this_process_and_its_pools_together(shared_provider, url):
    """What was spent before the fork counts in the children, and what they spend counts here."""
    budgetguard.patch()
    budgetguard.max_budget = LIMIT
    before = shared_provider.billed
    assert ask(url, 1) == 1
    with ProcessPoolExecutor(2, FORK) as pool:
        answered = list(pool.map(ask, [url] * 2))
    assert sum(answered) == FITS - 1
    assert ask(url, 1) == 0
    assert Money(PROCESS.spent) == shared_provider.billed - before == cost_of(FITS)


def test_the_children_of_children_count_on_the_same_limit(url):
    """A pool in a worker, a fork in a fork."""

    def work() -> None:
        assert ask(url, 1) == 1
        with budgetguard.budget(user="ann", limit=1) as inner:  # a limit of its own, around a child of its own
            assert ends(fork(lambda: expect(1, ask(url, 2)))) == [0]
            assert inner.spent == COST

    with budgetguard.budget(limit="0.0014") as b:
        assert ends(fork(work)) == [0]
        assert b.spent == cost_of(2)
        assert ask(url, 1) == 0


def expect(wanted: object, found: object) -> None:
    assert found == wanted


def test_carry_scope_takes_all_that_a_scope_says_into_a_pool(url):
    """The pool is older than the scope, and knows nothing of it."""
    with FORK.Pool(1) as pool:
        stated: dict[str, Any] = {"tags": {"team": "search"}, "wait": 2, "on_cut": "raise", "in_flight": 3}
        with budgetguard.budget(user="ann", limit=LIMIT, **stated) as b:
            assert pool.apply(carry_scope(who)) == ({"user": "ann", "team": "search"}, 2, 1)
            assert pool.apply(carry_scope(how)) == ("raise", [3])
            assert pool.apply(carry_scope(ask), (url, 1)) == 1
            assert b.spent == COST
        assert pool.apply(who) is None


def test_a_worker_that_takes_the_place_of_another_has_its_scope(url):
    """It is started by a thread of the pool, which has none: every second task would be free."""
    with budgetguard.budget(user="ann", limit=LIMIT), FORK.Pool(1, maxtasksperchild=1) as pool:
        found = [pool.apply(both) for _ in range(3)]
    assert len({pid for pid, _ in found}) == 3
    assert [scope for _, scope in found] == [({"user": "ann"}, 0, 1)] * 3


def both() -> tuple[int, tuple[dict[str, str], float, int] | None]:
    return os.getpid(), who()


def who() -> tuple[dict[str, str], float, int] | None:
    scope = current.get()
    return None if scope is None else (dict(scope.tags), scope.wait_s, len(scope.tallies))


def how() -> tuple[str | None, list[int | None]] | None:
    scope = current.get()
    return None if scope is None else (scope.on_cut, [tally.crowd.stated for tally in scope.tallies])


def test_a_manager_that_was_entered_is_not_lost_on_the_way_to_a_pool(shared_provider):
    """Its budgets would be gone without a word; so the call says what to write instead."""
    manager = BudgetManager("shop", store="memory://")
    expected = pytest.raises(ConfigError, match=r"enter it in the function that is sent there")
    with FORK.Pool(1) as pool, manager, budgetguard.budget(user="ann"), expected:
        pool.apply(carry_scope(ask), (shared_provider.base_url, 1))


def test_a_scope_without_a_limit_counts_what_children_spent(url):
    """`spent` is asked by people who bill for it."""
    with budgetguard.budget(user="ann") as b:
        assert ends(fork(lambda: expect(1, ask(url, 1)))) == [0]
        assert b.spent == COST
        assert b.remaining is None


def test_async_calls_count_on_a_shared_limit(url):
    """They may not wait for a file on their event loop."""

    async def calls() -> int:
        http = HTTP.AsyncClient(verify=False)
        async with openai.AsyncOpenAI(base_url=url, api_key="-", max_retries=0, http_client=http) as client:
            asked = [client.chat.completions.create(**HI) for _ in range(4)]
            done = await asyncio.gather(*asked, return_exceptions=True)
        return sum(not isinstance(each, BudgetExceededError) for each in done)

    with budgetguard.budget(limit=LIMIT, reraise=False) as b:
        assert ends(fork(lambda: expect(4, asyncio.run(calls())))) == [0]
        assert asyncio.run(calls()) == 1
        assert b.spent == cost_of(FITS)


def test_what_a_killed_child_held_is_given_back_at_its_ttl(provider):
    """Neither lost nor held for ever."""
    budgetguard.patch(Guard(settings=Settings(ttl_ms=1000)))
    over, plan = Event(), provider.plan

    def answer(_: Any) -> Any:
        over.wait(20)
        return plan

    provider.plan = answer
    with budgetguard.budget(limit=LIMIT) as b:
        child = fork(lambda: ask(provider.base_url, 1))
        until(lambda: b.remaining != Money.dollars(LIMIT))
        os.kill(child, signal.SIGKILL)
        assert ends(child) == [signal.SIGKILL]
        assert b.spent == 0
        until(lambda: b.remaining == Money.dollars(LIMIT))
    over.set()


def test_a_stream_that_is_open_at_the_fork_is_seen_by_the_child_and_ended_by_the_parent(shared_provider, url):
    """Its hold was in memory, where the child would not see it, nor its end."""
    before = shared_provider.billed
    with budgetguard.budget(limit="0.0014") as b, client_of(url) as client:
        stream = client.chat.completions.create(**HI, stream=True, stream_options={"include_usage": True})
        next(stream)
        assert ends(fork(lambda: expect(1, ask(url, 2)))) == [0]
        for _ in stream:
            pass
        assert b.spent == shared_provider.wait().billed - before > COST
        assert b.remaining == Money.dollars("0.0014") - b.spent


def test_a_child_of_a_process_that_cannot_make_the_file_refuses(url, monkeypatch, caplog):
    """A full disk is no reason to let everybody spend all; nor for the parent to stop."""
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")

    def work() -> None:
        with pytest.raises(StoreError, match=r"max_budget: its limit was made by the parent .* set budgetguard.max_"):
            ask(url, 1)
        budgetguard.max_budget = LIMIT
        assert ask(url, 1) == 1

    budgetguard.patch()
    budgetguard.max_budget = LIMIT
    with caplog.at_level(logging.WARNING):
        assert ends(fork(work)) == [0]
    assert "cannot be shared with its children" in caplog.text
    assert ask(url, 1) == 1
    assert Money(PROCESS.spent) == COST


def test_a_budget_that_was_made_before_a_fork_is_not_entered_behind_it(url):
    """Every worker would have a whole one."""
    b = budgetguard.budget(limit=LIMIT)

    def work() -> None:
        with b, pytest.raises(StoreError, match=r"enter a budget\(...\) that is made in this process"):
            ask(url, 1)

    assert ends(fork(work)) == [0]


def test_a_child_that_outlives_the_file_refuses_and_says_what_to_do(url):
    """It is removed with the process that made it."""
    budgetguard.patch()
    budgetguard.max_budget = LIMIT

    def work() -> None:
        share = PROCESS.tally.share  # type: ignore[union-attr]
        shutil.rmtree(Path(share.file.path).parent)  # type: ignore[union-attr]
        with pytest.raises(StoreError, match=r"max_budget: the file in which .* \(to None first, if it has one\)"):
            ask(url, 1)
        budgetguard.max_budget = None
        budgetguard.max_budget = LIMIT
        assert ask(url, 1) == 1

    assert ends(fork(work)) == [0]


def test_a_file_that_fails_after_the_answer_costs_nobody_the_answer(provider, caplog):
    """What was spent is counted in this process, at least."""
    with budgetguard.budget(limit=LIMIT) as b:
        assert ends(fork(lambda: None)) == [0]
        share: Any = b._tally.share
        provider.plan = removing(share.file.path, provider.plan)
        assert ask(provider.base_url, 1) == 1
        assert Money(b._tally.owed) == COST
        with pytest.raises(StoreError, match=r"budget\(\.\.\.\): the file in which"):
            ask(provider.base_url, 1)
    assert "is counted in this process alone" in caplog.text


@pytest.mark.parametrize("takes", [True, False])
def test_a_call_is_counted_once_where_the_file_cannot_be_read_after_it(provider, monkeypatch, takes):
    """Whoever is to be told of a limit looks at it after the settlement: that this fails is no cost, and no error."""
    with budgetguard.budget(limit=LIMIT, warn_at=0.01) as b:
        assert ends(fork(lambda: None)) == [0]
        share: Any = b._tally.share
        with monkeypatch.context() as planted:
            for name in ("balances",) if takes else ("settle", "balances"):
                planted.setattr(share.file.store, name, failing)
            assert ask(provider.base_url, 1) == 1
        assert b.spent == COST


def failing(*_: object) -> None:
    raise StoreError("the disk is gone for a moment")


def removing(path: str, plan: Any) -> Callable[[Any], Any]:
    def answer(_: Any) -> Any:
        shutil.rmtree(Path(path).parent)
        return plan

    return answer


def test_nobody_else_can_read_what_a_family_spends(url):
    """The directory for temporary files is everybody's."""
    with budgetguard.budget(limit=LIMIT) as b:
        assert ends(fork(lambda: None)) == [0]
        share: Any = b._tally.share
        assert stat.S_IMODE(Path(share.file.path).parent.stat().st_mode) == 0o700


def test_a_fork_where_nothing_is_limited_makes_no_file():
    """Every program forks; few of them have a limit then."""
    assert ends(fork(lambda: None)) == [0]
    assert FAMILY._own is None
