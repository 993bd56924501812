"""
Random calls, in random shapes, that fail in random ways: the books agree with the endpoint's own ledger.

Real sockets, the real SDK. Whatever happened, nothing is held at the end and every account adds up; a hard budget
is not passed by what the endpoint billed; and where each answer was heard to its end, the books are the bill to the
nano-dollar.
"""

from __future__ import annotations

import asyncio
import gc
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import openai
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import budgetguard
from budgetguard import BudgetManager
from budgetguard.guards.settings import Settings
from budgetguard.process.state import PROCESS
from budgetguard.testing import FakeProvider, Plan
from tests.support.endpoint import MESSAGES, MODEL, USER, bill, price_book

FAULTS: list[dict[str, Any]] = [
    {},
    {},
    {},
    {"status": 400},
    {"status": 429},
    {"status": 500},
    {"drop": "headers"},
    {"drop": "body"},
    {"drop": "stream", "drop_after": 2},
    {"malformed": "body"},
    {"malformed": "stream", "drop_after": 2},
    {"omit_usage": True},
    {"gzip": True},
    {"stall": "stream", "drop_after": 2},
]


@dataclass(frozen=True)
class Move:
    """One call: what it asks for, how its answer is treated, what goes wrong."""

    tokens: int
    cap: int | None
    answers: int
    stream: bool
    heard: int | None
    """Items of the stream after which its reader goes away; `None`: it reads to the end."""
    fault: int
    cancelled_after: int | None
    """Steps of the event loop after which the task is cancelled."""


MOVES = st.lists(
    st.builds(
        Move,
        tokens=st.integers(1, 120),
        cap=st.none() | st.integers(1, 150),
        answers=st.integers(1, 3),
        stream=st.booleans(),
        heard=st.none() | st.integers(0, 6),
        fault=st.integers(0, len(FAULTS) - 1),
        cancelled_after=st.none() | st.none() | st.integers(0, 30),
    ),
    min_size=1,
    max_size=8,
)


async def make(client: openai.AsyncOpenAI, move: Move, number: int) -> None:
    """Make one call, and swallow whatever comes of it."""
    more: dict[str, Any] = {"max_tokens": move.cap} if move.cap is not None else {}
    headers = {"x-number": str(number)}
    with suppress(Exception):
        answer = await client.chat.completions.create(
            model=MODEL,
            messages=MESSAGES,
            user=USER,
            n=move.answers,
            stream=move.stream,
            extra_headers=headers,
            timeout=0.2,
            **more,
        )
        if move.stream:
            heard = 0
            async for _ in answer:
                heard += 1
                if heard == move.heard:
                    break


async def play(provider: FakeProvider, moves: list[Move], at_once: bool) -> None:
    """Make the calls, one after the other or all at once."""

    async def one(client: openai.AsyncOpenAI, move: Move, number: int) -> None:
        task = asyncio.ensure_future(make(client, move, number))
        if move.cancelled_after is not None:
            for _ in range(move.cancelled_after):
                await asyncio.sleep(0)
            task.cancel()
        await asyncio.wait([task])

    async with provider.async_client() as client:
        if at_once:
            await asyncio.gather(*[one(client, move, number) for number, move in enumerate(moves)])
        else:
            for number, move in enumerate(moves):
                await one(client, move, number)


# asyncio closes the generators inside a stream that was left open in any order, and says so of the HTTP client's own.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    moves=MOVES,
    at_once=st.booleans(),
    limit=st.sampled_from([0.01, 0.05, 0.2, 1.0]),
    store=st.sampled_from(["memory", "sqlite"]),
)
def test_the_books_agree_with_the_endpoints_ledger(tmp_path_factory, moves, at_once, limit, store):
    """Hold by hold and dollar by dollar, whatever happens to the calls."""
    plan = lambda request: Plan(  # noqa: E731
        tokens=moves[int(request.headers["x-number"])].tokens,
        **FAULTS[moves[int(request.headers["x-number"])].fault],
    )
    url = "memory://" if store == "memory" else f"sqlite:///{tmp_path_factory.mktemp('books')}/budgets.db"
    manager = BudgetManager("properties", store=url, prices=price_book(), settings=Settings(abandoned="held"))
    manager.create_budget(limit, USER)
    budgetguard.patch(manager)
    try:
        # One for each example: a call that its client gave up may reach it, and be billed, when the next has begun.
        with FakeProvider(prices=bill, plan=plan) as provider:
            asyncio.run(play(provider, moves, at_once))
            gc.collect()
            PROCESS.reaper.drain()
            bills = list(provider.wait().ledger)
        entries = list(manager.store.entries())

        assert manager.store.check() == []
        assert manager.store.holds() == []
        assert not PROCESS.open
        billed, booked = sum(each.amount for each in bills), sum(entry.cost for entry in entries)
        assert billed <= booked <= limit * 10**9
        sure = sorted(entry.cost for entry in entries if "estimated" not in entry.flags)
        left = sorted(each.amount for each in bills)
        for cost in sure:
            assert cost in left, "an answer that was heard is booked at what it was billed"
            left.remove(cost)
        assert len(left) <= len(entries) - len(sure), "every bill has an entry"
    finally:
        budgetguard.unpatch()
        manager.close()
