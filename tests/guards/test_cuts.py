"""Answers that ended at a cap of ours: counted in scope and history, and raised where the caller asks for it."""

from __future__ import annotations

import asyncio
import pickle
from contextlib import AbstractContextManager
from typing import Any

import pytest

from budgetguard import AnswerCutError, BudgetManager, ConfigError, Settings, budget
from budgetguard.testing import Plan
from tests.support.endpoint import LONGEST, MESSAGES, MODEL, acting, ask, bill, price_book

pytestmark = pytest.mark.provider(tokens=LONGEST, prices=bill)

ROOM = 0.05
"""Dollars for about half of the longest answer."""


def books(**settings: Any) -> AbstractContextManager[BudgetManager]:
    """Books of a user who has enough."""
    return acting(BudgetManager("cuts", store="memory://", prices=price_book(), settings=Settings(**settings)))


def test_a_scope_counts_its_cut_answers(provider):
    """Whoever gets a half answer can see there that it is one, and whose doing that was."""
    with books(), budget() as outer:
        with budget(limit=ROOM) as b:
            ask(provider)
        provider.plan = Plan(tokens=5)
        with budget(limit=ROOM) as whole:
            ask(provider)

    assert (b.cut, whole.cut, outer.cut) == (1, 0, 1)


def test_the_history_adds_them_up(provider):
    """A column in `spend`: for whom budgets are too tight."""
    with books() as manager:
        for user in ("ann", "bob"):
            with budget(user=user, limit=ROOM if user == "ann" else 1):
                ask(provider)
        totals = manager.store.totals(["user"])

    assert [(total.group, total.cut) for total in totals] == [(("ann",), 1), (("bob",), 0)]


@pytest.mark.parametrize("everywhere", [True, False])
def test_a_cut_answer_raises_where_that_was_asked_for(provider, everywhere):
    """A program that must not go on with a half answer does not; it has the answer, and the money is on the books."""
    with (
        books(**({"on_cut": "raise"} if everywhere else {})) as manager,
        budget(user="ann", limit=ROOM, on_cut=None if everywhere else "raise") as b,
        pytest.raises(AnswerCutError, match="state an output cap") as cut,
    ):
        ask(provider)

    [entry] = manager.store.entries()
    assert cut.value.answer.choices[0].finish_reason == "length"
    assert cut.value.cap == provider.requests[0].body["max_tokens"] == cut.value.answer.usage.completion_tokens
    assert entry.cost == b.spent.nano == provider.billed.nano
    assert len(provider.requests) == 1


def test_an_inner_scope_says_otherwise(provider):
    """A part of a program that can use half answers takes them."""
    with books(on_cut="raise"), budget(limit=ROOM, on_cut="warn") as b, budget(user="ann"):
        ask(provider)

    assert b.cut == 1


def test_a_cap_that_the_caller_stated_raises_nothing(provider):
    """He wanted so much and no more."""
    with books(on_cut="raise"), budget(limit=ROOM):
        assert ask(provider, max_tokens=5).choices[0].finish_reason == "length"


def test_a_call_in_a_task_raises_as_well(provider):
    """Both shells are one behaviour."""

    async def run() -> Any:
        async with provider.async_client() as client, budget(limit=ROOM, on_cut="raise"):
            return await client.chat.completions.create(model=MODEL, messages=MESSAGES)

    with books(), pytest.raises(AnswerCutError):
        asyncio.run(run())


def test_a_stream_raises_at_its_end(provider):
    """Its items have come by then, and it is on the books."""
    heard: list[Any] = []

    def listen(client: Any) -> None:
        for item in client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True):
            heard.append(item)  # noqa: PERF402  # those before the error are wanted

    with books() as manager:
        with budget(limit=ROOM, on_cut="raise") as b, provider.client() as client, pytest.raises(AnswerCutError) as cut:
            listen(client)
        [entry] = manager.store.entries()

    assert heard[-1].choices == [] or heard[-1].choices[0].finish_reason == "length"
    assert cut.value.answer is None
    assert b.spent.nano == entry.cost
    assert b.cut == 1


def test_a_stream_in_a_task_raises_at_its_end(provider):
    """Both shells are one behaviour."""
    heard: list[Any] = []

    async def run() -> None:
        async with provider.async_client() as client, budget(limit=ROOM, on_cut="raise"):
            stream = await client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True)
            async for item in stream:
                heard.append(item)  # noqa: PERF401  # those before the error are wanted

    with books(), pytest.raises(AnswerCutError):
        asyncio.run(run())

    assert heard


def test_the_error_goes_through_pickle():
    """As every error that a worker hands on."""
    error = pickle.loads(pickle.dumps(AnswerCutError("cut", answer={"a": 1}, cap=7)))

    assert (str(error), error.answer, error.cap) == ("cut", {"a": 1}, 7)


@pytest.mark.parametrize("make", [lambda: Settings(on_cut="stop"), lambda: budget(on_cut="stop")])
def test_a_word_that_is_none_is_refused(make):
    """Else a typing error would be a program that goes on with half answers."""
    with pytest.raises(ConfigError, match="on_cut='stop'"):
        make()
