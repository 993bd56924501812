"""Hard, soft and observe; the cap that is added to a request; and what happens at an endpoint that ignores it."""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any

import pytest

import budgetguard
from budgetguard import Budget, BudgetBusyError, BudgetExceededError, BudgetManager
from budgetguard.adapters import openai as adapter
from budgetguard.guards.guard import Guard
from budgetguard.prices.hosts import host_of
from budgetguard.prices.useful import least_useful
from budgetguard.testing import FakeProvider, Plan
from tests.support.endpoint import (
    INPUT,
    INPUT_PRICE,
    LONGEST,
    MESSAGES,
    MODEL,
    OUTPUT_PRICE,
    acting,
    ask,
    bill,
    price_book,
)

BOUND = 22
"""The most input tokens of MESSAGES by its bytes, which is what is held for them."""

TOKEN, INPUT_TOKEN = OUTPUT_PRICE * 1000, INPUT_PRICE * 1000
DIME = 100_000_000
LEAST, LAST = least_useful(MODEL)
WHOLE = DIME + (BOUND - INPUT) * INPUT_TOKEN
"""What is held for the longest answer, which costs a dime: a count may fall short of this host's bill."""


pytestmark = pytest.mark.provider(tokens=LONGEST, prices=bill)


def books(**budget: Any) -> AbstractContextManager[BudgetManager]:
    """Books with one rule for everybody."""
    rule = Budget("rule", **budget)
    return acting(BudgetManager("enforcement", store="memory://", budgets=[rule], prices=price_book()))


def caps(provider: FakeProvider) -> list[Any]:
    return [request.body.get("max_tokens") for request in provider.requests]


def entries(manager: BudgetManager) -> list[Any]:
    return list(manager.store.entries())


# -- hard --------------------------------------------------------------------------------------------------------------


def test_a_hard_budget_gives_the_models_maximum_where_there_is_room(provider):
    """Then nothing is cut that the model would not have cut itself; the cap only makes the promise certain."""
    with books(limit=50 * 0.11) as manager:
        ask(provider)

    assert caps(provider) == [LONGEST]
    [entry] = entries(manager)
    assert entry.flags == frozenset()


def test_a_hard_budget_gives_a_share_where_room_is_short(provider):
    """One part in fifty of what is unspent, where the caller said so: fifty calls in flight find room each."""
    with books(limit=1.00, in_flight=50) as manager:
        ask(provider)

    [cap] = caps(provider)
    assert cap == (DIME // 5 - BOUND * INPUT_TOKEN) // TOKEN
    [entry] = entries(manager)
    assert entry.flags == {"capped", "cut"}
    assert entry.cost == INPUT * INPUT_TOKEN + cap * TOKEN


def test_a_hard_budget_gives_useful_room_before_it_shares(provider):
    """An answer of a word helps nobody: below that, calls are served one after the other."""
    with books(limit=0.10, in_flight=50):
        ask(provider)

    assert caps(provider) == [LEAST]


def test_a_hard_budget_gives_what_is_left_at_the_end(provider):
    """Down to a single token; the one after that is refused, and was never sent."""
    left = BOUND * INPUT_TOKEN + LAST * TOKEN
    with books(limit=left / 10**9) as manager:
        ask(provider)
        with pytest.raises(BudgetExceededError):
            ask(provider)

    assert caps(provider) == [LAST]
    assert [entry.cost for entry in entries(manager)] == [INPUT * INPUT_TOKEN + LAST * TOKEN]


def test_scraps_that_others_left_are_nobodys_answer(provider):
    """Where calls came side by side, one that finds less than a useful answer is refused, and not paid for and cut."""
    left = BOUND * INPUT_TOKEN + (LEAST - 1) * TOKEN
    with (
        books(limit=left / 10**9, in_flight=2),
        pytest.raises(BudgetExceededError, match=f"{LEAST} output tokens, the least useful answer.*state a cap"),
    ):
        ask(provider)
    assert caps(provider) == []


@pytest.mark.parametrize("in_flight", [1, 2, 10, 50, 200])
def test_as_many_calls_as_it_says_find_room_at_once(provider, in_flight):
    """On a budget that can pay for all of them: none is refused because others might cost much."""
    each = BOUND * INPUT_TOKEN + LEAST * TOKEN
    provider.plan = Plan(tokens=LONGEST, latency_s=0.5)
    limit = in_flight * each / 10**9
    with (
        books(limit=limit, in_flight=in_flight) as manager,
        provider.client() as client,
        ThreadPoolExecutor(in_flight) as pool,
    ):
        calls = [pool.submit(client.chat.completions.create, model=MODEL, messages=MESSAGES) for _ in range(in_flight)]
        for call in calls:
            call.result()

    assert caps(provider) == [LEAST] * in_flight
    assert sum(entry.cost for entry in entries(manager)) <= in_flight * each


def test_a_stated_cap_that_does_not_fit_is_refused_not_lowered(provider):
    """The caller said what the answer needs: half of it may be worth nothing."""
    with books(limit=0.05), pytest.raises(BudgetExceededError) as no:
        ask(provider, max_tokens=LONGEST)

    assert type(no.value) is BudgetExceededError
    assert provider.requests == []


def test_a_stated_cap_that_fits_is_sent_as_it_was(provider):
    """Nothing is added to it, and nothing is flagged: the caller chose to be cut."""
    with books(limit=0.05) as manager:
        ask(provider, max_completion_tokens=300)

    assert "max_tokens" not in provider.requests[0].body
    assert provider.requests[0].body["max_completion_tokens"] == 300
    [entry] = entries(manager)
    assert entry.flags == frozenset()


@pytest.mark.parametrize(
    ("path", "host", "name"),
    [
        ("/chat/completions", "api.openai.com", "max_completion_tokens"),
        ("/chat/completions", "eu.api.openai.com", "max_completion_tokens"),
        ("/chat/completions", "shop.openai.azure.com", "max_completion_tokens"),
        ("/chat/completions", "openrouter.ai", "max_tokens"),
        ("/chat/completions", "127.0.0.1", "max_tokens"),
        ("/completions", "api.openai.com", "max_tokens"),
        ("/responses", "api.openai.com", "max_output_tokens"),
        ("/responses", "127.0.0.1", "max_output_tokens"),
    ],
)
def test_the_cap_has_the_name_that_the_endpoint_understands(path, host, name):
    """A cap under a name that is ignored, or answered with an error, would be none."""
    call = adapter.find("POST", path)
    assert call is not None
    assert call.amend is not None

    assert call.amend({"model": MODEL}, 7, False, host_of(host)) == {"model": MODEL, name: 7}


def test_a_cap_is_added_to_every_kind_of_request(provider):
    """Chat, Responses and their streams, and legacy completions: their default of 16 is OpenAI's and Azure's own."""
    provider.prices = {}
    with books(limit=1.00), provider.client() as client:
        client.responses.create(model=MODEL, input="hi")
        for _ in client.responses.create(model=MODEL, input="hi", stream=True):
            pass
        for _ in client.chat.completions.create(model=MODEL, messages=MESSAGES, stream=True):
            pass
        client.completions.create(model=MODEL, prompt="hi")

    bodies = [request.body for request in provider.requests]
    assert [body.get("max_output_tokens", 0) > 16 for body in bodies] == [True, True, False, False]
    assert [body.get("max_tokens", 0) > 16 for body in bodies] == [False, False, True, True]


def test_cut_answers_are_counted_and_said_once(provider, caplog):
    """Whoever wonders about half answers finds the reason, and how to change it."""
    with books(limit=1.00, in_flight=50) as manager, caplog.at_level(logging.WARNING, "budgetguard"):
        ask(provider)
        ask(provider)
        ask(provider, max_tokens=5)

        assert manager.guard.cut_answers == 2
    said = [record.getMessage() for record in caplog.records if "cut" in record.getMessage()]
    assert len(said) == 1
    assert "in_flight" in said[0]


def test_an_answer_within_the_cap_is_not_cut(provider):
    """The flag is for answers that ended at our cap, not for every call that had one."""
    provider.plan = Plan(tokens=5)
    with books(limit=1.00, in_flight=50) as manager:
        ask(provider)

    [entry] = entries(manager)
    assert entry.flags == {"capped"}
    assert manager.guard.cut_answers == 0


def test_cut_answers_of_a_scope_without_a_store_are_counted_too(provider):
    """A script that only has `max_budget` must hear of it as well."""
    guard = Guard(prices=price_book())
    budgetguard.patch(guard)
    with budgetguard.budget(limit=1.00, in_flight=50):
        ask(provider)

    assert guard.cut_answers == 1


def test_an_endpoint_that_ignores_the_cap_is_billed_in_full_and_refused_next(provider):
    """The books tell what happened, even if it should not have; after that the budget is spent."""
    provider.plan = Plan(tokens=LONGEST, ignore_caps=True)
    with books(limit=0.09) as manager:
        ask(provider)
        with pytest.raises(BudgetExceededError) as no:
            ask(provider)

    assert type(no.value) is BudgetExceededError
    assert len(provider.requests) == 1
    [entry] = entries(manager)
    assert entry.cost == provider.billed.nano == DIME
    assert "capped" in entry.flags


# -- soft and observe --------------------------------------------------------------------------------------------------


def test_a_soft_budget_lets_the_call_through_that_crosses_it(provider):
    """LiteLLM's rule: refused once the limit is reached, and no request is altered."""
    with books(limit=0.15, enforce="soft") as manager:
        ask(provider)
        ask(provider)
        with pytest.raises(BudgetExceededError):
            ask(provider)

    assert caps(provider) == [None, None]
    assert [entry.cost for entry in entries(manager)] == [DIME, DIME]
    assert [entry.flags for entry in entries(manager)] == [frozenset()] * 2


def test_a_soft_budget_counts_what_is_held(provider):
    """Else a burst would pass it by as many calls as there are in flight, and not by one."""
    provider.plan = Plan(tokens=LONGEST, latency_s=0.2)

    async def burst() -> list[Any]:
        async with provider.async_client() as client:
            calls = [client.chat.completions.create(model=MODEL, messages=MESSAGES) for _ in range(20)]
            return await asyncio.gather(*calls, return_exceptions=True)

    with books(limit=0.15, enforce="soft"):
        outcomes = asyncio.run(burst())

    assert len(provider.requests) == 2
    assert [type(outcome) for outcome in outcomes].count(BudgetBusyError) == 18


def test_an_observed_budget_refuses_nothing_and_counts_everything(provider):
    """To see what a limit would do before it does it."""
    with books(limit=0.01, enforce="observe") as manager:
        for _ in range(3):
            ask(provider)

    assert caps(provider) == [None] * 3
    [balance] = manager.store.accounts("rule/")
    assert balance.settled == provider.billed.nano == 3 * DIME


def test_the_strictest_of_several_budgets_decides(provider):
    """A soft or an observed budget beside a hard one loosens nothing."""
    with books(limit=0.01, enforce="observe"), budgetguard.budget(limit=0.05, in_flight=2) as hard:
        ask(provider)
        with budgetguard.budget(limit=0.001, enforce="soft"):
            ask(provider)
            with pytest.raises(BudgetExceededError):
                ask(provider)

    assert len(provider.requests) == 2
    assert hard.spent <= 0.05


# -- busy --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("enforce", ["hard", "soft"])
def test_busy_means_that_only_holds_are_in_the_way(provider, enforce):
    """It is the error that says: try again in a moment."""
    provider.plan = Plan(tokens=LONGEST, latency_s=0.3)
    limit = (WHOLE if enforce == "hard" else DIME) / 10**9
    with books(limit=limit, enforce=enforce), provider.client() as client, ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.chat.completions.create, model=MODEL, messages=MESSAGES, max_tokens=LONGEST)
        while not provider.requests:
            time.sleep(0.001)
        with pytest.raises(BudgetBusyError) as busy:
            ask(provider, max_tokens=LONGEST)
        running.result()
        with pytest.raises(BudgetExceededError) as spent:
            ask(provider, max_tokens=LONGEST)

    assert busy.value.held >= 0.10
    assert type(spent.value) is BudgetExceededError
    assert len(provider.requests) == 1


def test_a_call_above_the_limit_is_never_busy(provider):
    """It could not pass if it were alone, so waiting for the others is no use."""
    provider.plan = Plan(tokens=LONGEST, latency_s=0.3)
    with books(limit=0.09), provider.client() as client, ThreadPoolExecutor(1) as pool:
        running = pool.submit(client.chat.completions.create, model=MODEL, messages=MESSAGES, max_tokens=500)
        while not provider.requests:
            time.sleep(0.001)
        with pytest.raises(BudgetExceededError) as no:
            ask(provider, max_tokens=LONGEST)
        running.result()

    assert type(no.value) is BudgetExceededError
