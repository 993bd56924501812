"""
A stream that is left is not free: many providers write, and bill, on to its end.

The endpoint here writes 100 tokens, $0.10, for whoever asked, and keeps its own bill. What is on the books of a hard
budget is never less.
"""

from __future__ import annotations

import asyncio
import gc
import signal
import time
from contextlib import suppress
from typing import Any

import openai
import pytest

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, PriceBook
from budgetguard.calls import Host
from budgetguard.guards.settings import Settings
from budgetguard.process.state import PROCESS
from tests.support.in_memory import HI
from tests.support.sdk_shapes import each, enter, wait

MODEL = "a-model"
TOKENS = 100
WHOLE = TOKENS * 1_000_000
"""What 100 tokens of output cost at $1,000 per million, in nano-dollars: a tenth of a dollar. Input is free."""
DOLLAR = 10**9


pytestmark = [
    pytest.mark.provider(tokens=TOKENS, prices={MODEL: (0, 1000)}),
    # The collector may run in a thread of the provider's, while the loop closes the same generator of the SDK's: Python
    # reports that ("async generator already executing"), and nothing else comes of it.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]


def manager(limit: float = 1, enforce: Any = "hard", **settings: Any) -> BudgetManager:
    prices = PriceBook(overrides={MODEL: {"input": 0, "output": 1000, "max_output": TOKENS}})
    budgets = [Budget("all", limit, enforce=enforce)]
    return BudgetManager("left", store="memory://", prices=prices, budgets=budgets, settings=Settings(**settings))


def create(client: Any, **more: Any) -> Any:
    return client.chat.completions.create(model=MODEL, messages=HI, stream=True, max_tokens=TOKENS, **more)


def costs(made: BudgetManager) -> list[int]:
    gc.collect()
    PROCESS.reaper.drain()
    deadline = time.monotonic() + 5
    while made.store.holds() and time.monotonic() < deadline:  # an async end goes on in a thread
        time.sleep(0.01)
    assert made.store.holds() == []
    return [entry.cost for entry in made.store.entries()]


# -- nobody reads ------------------------------------------------------------------------------------------------------


async def _unread(client: Any, _kept: list[Any]) -> None:
    await wait(create(client))


async def _kept_open(client: Any, kept: list[Any]) -> None:
    kept.append(await wait(create(client)))
    del kept[:-5]


async def _one_chunk(client: Any, _kept: list[Any]) -> None:
    async for _ in each(await wait(create(client))):
        break


async def _raw(client: Any, _kept: list[Any]) -> None:
    more = {"model": MODEL, "messages": HI, "stream": True, "max_tokens": TOKENS}
    async with enter(client.chat.completions.with_streaming_response.create(**more)):
        pass


async def _raw_line(client: Any, _kept: list[Any]) -> None:
    more = {"model": MODEL, "messages": HI, "stream": True, "max_tokens": TOKENS}
    async with enter(client.chat.completions.with_streaming_response.create(**more)) as raw:
        async for _ in each(raw.iter_lines()):
            break


async def _closed(client: Any, _kept: list[Any]) -> None:
    stream = await wait(create(client))
    async for _ in each(stream):
        break
    await wait(stream.close())


@pytest.mark.parametrize("leave", [_unread, _kept_open, _one_chunk, _raw, _raw_line, _closed])
def test_streams_that_nobody_reads_on_cost_no_more_than_the_budget(leave, provider, go):
    """15 of them would be billed at $1.50."""
    made = manager()
    kept: list[Any] = []
    refused = 0

    async def call(client: Any) -> None:
        nonlocal refused
        try:
            await leave(client, kept)
        except BudgetExceededError:
            refused += 1

    with made:
        for _ in range(15):
            go(call)
        kept.clear()
        for _ in range(3):  # an async generator's end is a task of its loop
            gc.collect()
            go(_breathe)
        assert costs(made) == [WHOLE] * 10
    assert refused == 5
    assert provider.billed.nano <= DOLLAR


async def _breathe(client: Any) -> None:
    if isinstance(client, openai.AsyncOpenAI):
        await asyncio.sleep(0.01)


# -- what a stream costs that is left, worked out: "word" is a token, and four of them were heard ----------------------

HEARD = 4 * 1_000_000


async def _take_four(client: Any) -> Any:
    stream = await wait(create(client))
    heard = 0
    async for chunk in each(stream):
        heard += bool(chunk.choices and chunk.choices[0].delta.content)
        if heard == 4:
            return stream
    raise AssertionError


async def _close(client: Any) -> None:
    await wait((await _take_four(client)).close())


async def _leave(client: Any) -> None:
    stream = await _take_four(client)
    async with enter(stream):
        pass


async def _drop(client: Any) -> None:
    await _take_four(client)


@pytest.fixture
def stopping(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that is known to stop where its reader leaves."""
    monkeypatch.setattr("budgetguard.sdks.exchange.host_of", lambda *_: Host(stops=True))


@pytest.mark.parametrize(
    ("settings", "enforce", "way", "whole"),
    [
        ({}, "hard", _close, True),
        ({}, "hard", _leave, True),
        ({}, "soft", _close, False),
        ({}, "observe", _drop, False),
        ({"abandoned": "observed"}, "hard", _drop, False),
        ({"abandoned": "held"}, "soft", _close, True),
    ],
)
def test_a_stream_that_is_left_costs_what_the_settings_say(settings, enforce, way, whole, go):
    """By default what was held, where a hard budget counts on it."""
    with manager(enforce=enforce, **settings) as made:
        go(way)
        for _ in range(3):
            gc.collect()
            go(_breathe)
        assert costs(made) == [WHOLE if whole else pytest.approx(HEARD, rel=0.5)]


@pytest.mark.usefixtures("stopping")
@pytest.mark.parametrize(("way", "whole"), [(_close, False), (_leave, False), (_drop, True)])
def test_at_a_host_that_stops_a_closed_stream_costs_what_was_heard(way, whole, go):
    """One that was dropped was written on until somebody found it."""
    with manager() as made:
        go(way)
        for _ in range(3):
            gc.collect()
            go(_breathe)
        assert costs(made) == [WHOLE if whole else pytest.approx(HEARD, rel=0.5)]


@pytest.mark.parametrize("stops", [True, False])
async def test_a_stream_whose_task_is_cancelled_is_left(stops, provider, request):
    """As a web framework cancels the handler whose client went away. It waits for a chunk, which the SDK closes for."""
    if stops:
        request.getfixturevalue("stopping")
    provider.plan = type(provider.plan)(tokens=TOKENS, stall="stream", drop_after=8)
    client = provider.async_client()

    async def read() -> None:
        async for _ in await create(client):
            pass

    with manager() as made:
        task = asyncio.create_task(read())
        await asyncio.sleep(0.3)
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        [cost] = costs(made)
    await client.close()
    assert 0 < cost < WHOLE / 5 if stops else cost == WHOLE


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
def test_a_stream_whose_reader_is_interrupted_while_it_waits_is_left(error, provider):
    """By ctrl-C, or by a time limit of its own."""
    provider.plan = type(provider.plan)(tokens=TOKENS, stall="stream", drop_after=8)

    def strike(*_: Any) -> None:
        raise error

    before = signal.signal(signal.SIGALRM, strike)
    try:
        with manager() as made, provider.client() as client:
            stream = create(client)
            signal.setitimer(signal.ITIMER_REAL, 0.3)
            with pytest.raises((error, openai.APIConnectionError)):
                list(stream)
            assert costs(made) == [WHOLE]
    finally:
        signal.signal(signal.SIGALRM, before)


def test_a_stream_that_was_read_to_its_end_costs_what_was_heard_though_its_host_tells_no_usage(provider, go):
    """Nobody left it. The same where its reader leaves as soon as the model says that it has stopped."""
    provider.plan = type(provider.plan)(tokens=4)

    async def read_all(client: Any) -> None:
        async for _ in each(await wait(create(client))):
            pass

    async def read_until_it_stopped(client: Any) -> None:
        async for chunk in each(await wait(create(client))):
            if chunk.choices[0].finish_reason is not None:
                break

    async def read_lines(client: Any) -> None:
        more = {"model": MODEL, "messages": HI, "stream": True, "max_tokens": TOKENS}
        async with enter(client.chat.completions.with_streaming_response.create(**more)) as raw:
            async for line in each(raw.iter_lines()):
                if "[DONE]" in line:
                    break

    with manager() as made:
        for read in (read_all, read_until_it_stopped, read_lines):
            go(read)
            for _ in range(3):
                gc.collect()
                go(_breathe)
        assert costs(made) == [pytest.approx(HEARD, rel=0.5)] * 3


def test_a_stream_read_while_an_error_is_handled_is_whole(provider):
    """A program that asks again after another stream broke off."""
    with manager(limit=5) as made, provider.client() as client:
        provider.fail_next(drop="stream", drop_after=3)
        provider.plan = type(provider.plan)(tokens=4)
        try:
            list(create(client))
        except (openai.OpenAIError, Exception):
            list(create(client))
        first, second = costs(made)
    assert first == WHOLE
    assert second == pytest.approx(HEARD, rel=0.5)


def test_an_unread_stream_that_is_dropped_is_closed(provider, go):
    """So that its provider can stop, whether or not the SDK's own generator was begun."""
    provider.plan = type(provider.plan)(tokens=TOKENS, stall="stream", drop_after=2)

    async def call(client: Any) -> None:
        stream = await wait(create(client))
        del stream

    with manager() as made:
        go(call)
        gc.collect()
        assert costs(made) == [WHOLE]
        go(_breathe)
        provider.wait()  # until no request is being answered: it stalls until its client goes away


def test_the_limit_of_a_scope_is_a_hard_budget_too(provider):
    """No store is needed for it."""
    with budgetguard.budget(limit=1) as scope, provider.client() as client:
        guarded = BudgetManager("left", store="memory://", prices=manager().guard.prices)
        with guarded:
            create(client).close()
    assert scope.spent.nano == WHOLE
