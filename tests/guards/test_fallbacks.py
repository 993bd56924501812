"""
When another model is asked, which one, and what is said of it: by the rules of budgets and of scopes.

What each seam sends is in `tests/sdks/test_fallbacks.py`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, ConfigError, PriceBook
from budgetguard.concurrency.queue import LINE
from budgetguard.guards.scope import current
from budgetguard.sdks.contexts.processes import PackedScope
from budgetguard.testing import FakeProvider, Plan
from budgetguard.testing.provider.plan import Request
from tests.support.books import costs

BIG, MIDDLE, SMALL = "a-big-model", "a-middle-model", "a-small-model"
RATES = {BIG: 100_000, MIDDLE: 10_000, SMALL: 100}
"""Nano-dollars a token, in and out."""
COST = {model: 27 * rate for model, rate in RATES.items()}
"""Of a call: 7 tokens in, 20 out."""
HI = [{"role": "user", "content": "hi"}]

pytestmark = pytest.mark.provider(
    prices=lambda model, usage: (usage["prompt_tokens"] + usage["completion_tokens"]) * RATES[model], tokens=20
)


def until(what: Callable[[], Any]) -> None:
    """Wait for something."""
    end_s = time.monotonic() + 60
    while not what():
        assert time.monotonic() < end_s
        time.sleep(0.001)


@pytest.fixture
def ask(client: Any, shared_provider: FakeProvider) -> Callable[..., Any]:
    """Ask for at most 20 tokens, and return the model that answered."""
    return lambda model=BIG, **more: (
        client.chat.completions.create(**{"model": model, "messages": HI, "max_tokens": 20, **more}).model
    )


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., BudgetManager]]:
    """Make a manager with these budgets, and act by it; of several, over one file."""
    book = PriceBook()
    for model, rate in RATES.items():
        book.add(model, input=rate / 1000, output=rate / 1000, max_output=400)
    made: list[BudgetManager] = []

    def go(*budgets: Budget, store: str = "memory://") -> BudgetManager:
        url = f"sqlite:///{tmp_path / 'books.db'}" if store == "file" else store
        made.append(BudgetManager("t", store=url, budgets=budgets, prices=book))
        budgetguard.patch(made[-1])
        return made[-1]

    yield go
    for each in made:
        assert each.store.holds() == []
        assert each.store.check() == []


def test_without_a_fallback_one_refusal_is_all(opened: Any, ask: Any, shared_provider: FakeProvider):
    """Off unless asked for: nothing is sent, and nothing more is said."""
    opened(Budget("all", "0.000001"))
    before = len(shared_provider.requests)

    with pytest.raises(BudgetExceededError) as caught:
        ask()

    assert "in its place" not in str(caught.value)
    assert len(shared_provider.requests) == before


def test_of_several_the_first_that_fits_is_asked(opened: Any, ask: Any):
    """They are in the order of whoever wrote the budget."""
    made = opened(Budget("all", "0.0001", fallback=[MIDDLE, SMALL]))

    assert ask() == SMALL
    assert [(entry.model, entry.tags["asked_model"]) for entry in made.store.entries()] == [(SMALL, BIG)]
    assert costs(made) == [COST[SMALL]]


def test_where_none_fits_the_first_refusal_names_all(opened: Any, ask: Any, shared_provider: FakeProvider):
    """It is about the model that was asked for; one who reads it sees that the others were tried, and why not."""
    opened(Budget("all", "0.000001", fallback=[MIDDLE, "nobodys-model", SMALL]))
    before = len(shared_provider.requests)

    with budgetguard.budget() as scope:
        with pytest.raises(BudgetExceededError) as caught:
            ask()
        assert scope.refusal is caught.value

    said = str(caught.value)
    assert said.startswith("all: call projected at $0.01")
    assert f"{MIDDLE} in its place: refused by all" in said
    assert "nobodys-model in its place: its price is not known" in said
    assert f"{SMALL} in its place: refused by all" in said
    assert caught.value.args[2] == said
    assert scope.fallbacks == 0
    assert len(shared_provider.requests) == before


def test_the_refusing_budgets_own_fallback_counts(opened: Any, ask: Any):
    """Another budget has no say in what becomes of a call that it has room for."""
    opened(Budget("wide", 10, fallback=MIDDLE), Budget("narrow", "0.0001", fallback=SMALL))

    assert ask() == SMALL


def test_a_fallback_that_another_budget_refuses_may_have_that_ones(opened: Any, ask: Any):
    """Each refusal adds what its own budget says, behind what is left."""
    opened(Budget("narrow", "0.002", fallback=MIDDLE), Budget("team", "0.0001", fallback=SMALL))

    assert ask() == SMALL


def test_a_scopes_fallback_is_for_its_limit_and_for_budgets_that_say_none(opened: Any, ask: Any):
    """The inner scope's comes first: whoever wrote the call knows best what it needs."""
    made = opened()
    made.create_budget("0.0001", "ann")

    with budgetguard.budget(user="ann", fallback=MIDDLE), budgetguard.budget(fallback=SMALL) as inner:
        assert ask() == SMALL
    with budgetguard.budget(limit="0.0001", fallback=SMALL) as own:
        assert ask() == SMALL

    assert (inner.fallbacks, own.fallbacks) == (1, 1)
    assert own.spent.nano == COST[SMALL]


def test_a_decorated_function_has_the_fallback_of_its_scope(opened: Any, ask: Any):
    """As every other argument of `budget`."""
    opened()

    @budgetguard.budgeted(limit="0.0001", fallback=SMALL, degrade_at=0.5)
    def work() -> str:
        return str(ask())

    assert work() == SMALL


def test_a_fallback_that_costs_nothing_is_none_for_a_budget_of_nothing(opened: Any, ask: Any):
    """Who sets a limit to 0 wants no call, whatever it costs; a paused budget is the same."""
    made = opened(Budget("all", 0, fallback=SMALL))
    made.guard.prices.add(SMALL, free=True)

    with pytest.raises(BudgetExceededError) as caught:
        ask()
    assert "in its place" not in str(caught.value)


def test_a_limit_on_requests_is_not_mended_by_another_model(opened: Any, ask: Any):
    """Any model is one request."""
    opened(Budget("calls", 1, unit="requests", fallback=SMALL))

    assert ask() == BIG
    with pytest.raises(BudgetExceededError) as caught:
        ask()
    assert "in its place" not in str(caught.value)


@pytest.mark.parametrize(("wait", "answered"), [(0, SMALL), (60, BIG)])
def test_room_that_is_only_held_is_waited_for_first(
    wait: float, answered: str, opened: Any, ask: Any, shared_provider: FakeProvider
):
    """`wait` says that the caller prefers its own model; without it, the fallback is asked at once."""
    made, ended, plan = opened(Budget("all", "0.015", fallback=SMALL)), Event(), shared_provider.plan
    assert not callable(plan)

    def answer(request: Request) -> Plan:
        assert request.body["model"] == SMALL or ended.wait(60)
        return plan

    def second() -> str:
        with budgetguard.budget(wait=wait):
            return str(ask())

    shared_provider.plan = answer
    try:
        with ThreadPoolExecutor(2) as pool:
            first = pool.submit(ask)
            until(lambda: made.store.holds())
            other = pool.submit(second)
            until(lambda: LINE.queues or other.done())
            ended.set()
            assert (first.result(), other.result()) == (BIG, answered)
    finally:
        ended.set()
        shared_provider.plan = plan


@pytest.mark.parametrize("store", ["memory://", "file"])
def test_from_a_part_of_the_limit_on_the_fallback_is_asked_at_once(store: str, opened: Any, ask: Any):
    """Though there is room for more: what is left is to last."""
    made = opened(Budget("all", "0.02", fallback=SMALL, degrade_at=0.25), store=store)

    answered = [ask() for _ in range(5)]

    assert answered == [BIG, BIG, SMALL, SMALL, SMALL]
    assert costs(made) == [COST[BIG]] * 2 + [COST[SMALL]] * 3
    assert [("fallback" in entry.flags) for entry in made.store.entries()] == [False] * 2 + [True] * 3


def test_what_another_process_spent_counts_from_the_first_call_on(opened: Any, ask: Any):
    """A process that has heard nothing yet asks the store anyhow, and gives back what it held."""
    budget = Budget("all", "0.02", fallback=SMALL, degrade_at=0.25)
    opened(budget, store="file")
    assert [ask(), ask()] == [BIG, BIG]

    opened(budget, store="file")  # with nothing of what the first one knows

    assert ask() == SMALL


def test_a_call_is_not_degraded_by_what_it_holds_itself(opened: Any, ask: Any):
    """Half of the limit held for one call is no half that is spent."""
    opened(Budget("all", "0.02", fallback=SMALL, degrade_at=0.05))

    assert ask() == BIG


def test_near_its_limit_a_scope_asks_its_fallback(opened: Any, ask: Any):
    """A limit of this process alone, by the same rule."""
    opened()
    with budgetguard.budget(limit="0.02", fallback=SMALL, degrade_at=0.25) as scope:
        assert [ask() for _ in range(4)] == [BIG, BIG, SMALL, SMALL]

    assert scope.fallbacks == 2


def test_where_no_fallback_can_be_asked_the_call_is_sent_as_it_is(opened: Any, ask: Any, caplog: Any):
    """Near the limit is not at it: there is room, and the fallback is no model that can be priced."""
    opened(Budget("all", "0.02", fallback="nobodys-model", degrade_at=0.1))

    assert [ask() for _ in range(3)] == [BIG] * 3
    assert sum("nobodys-model" in each.getMessage() for each in caplog.records) == 1


def test_a_budget_that_only_counts_degrades_too(opened: Any, ask: Any):
    """It refuses nobody, and may still have the rest of the month done by a cheaper model."""
    opened(Budget("all", "0.01", enforce="observe", fallback=SMALL, degrade_at=0.5))

    assert [ask() for _ in range(4)] == [BIG, BIG, SMALL, SMALL]


def test_which_model_is_asked_is_said_once_for_each_two(opened: Any, ask: Any, caplog: pytest.LogCaptureFixture):
    """A log that has it once a call would hide everything else."""
    caplog.set_level(logging.WARNING, "budgetguard")
    opened(Budget("all", "0.0001", fallback=SMALL))
    for _ in range(3):
        ask()

    assert sum("is asked in its place" in each.getMessage() for each in caplog.records) == 1


def test_a_fallback_on_the_books_is_found_by_its_tag(opened: Any, ask: Any):
    """The entry's model is the one that answered; a tag of the caller's that has the same name stays his."""
    made = opened(Budget("all", "0.0001", fallback=SMALL))
    ask()
    with budgetguard.budget(tags={"asked_model": "mine"}):
        ask()

    assert [entry.tags["asked_model"] for entry in made.store.entries()] == [BIG, "mine"]
    groups = [total.group for total in made.store.totals(["asked_model", "model"])]
    assert sorted(groups) == [(BIG, SMALL), ("mine", SMALL)]


def test_another_process_is_sent_the_fallbacks_of_a_scope(opened: Any):
    """They stand beside the limits, in the same order."""
    opened()
    with budgetguard.budget(), budgetguard.budget(fallback=SMALL):
        packed = PackedScope.of(current.get())
        assert packed is not None
        sent = packed.scope()

    assert [each.models for each in sent.fallbacks] == [(), (SMALL,)]
    assert len(sent.tallies) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"fallback": 3},
        {"degrade_at": 0.5},
        {"fallback": SMALL, "degrade_at": 0.5},
        {"fallback": SMALL, "degrade_at": 2},
    ],
)
def test_a_scope_says_what_is_wrong_with_its_fallback(wrong: dict[str, Any]):
    """Before any call is made."""
    with pytest.raises(ConfigError):
        budgetguard.budget(**wrong)


def test_calls_at_once_come_to_the_bill(opened: Any, ask: Any, shared_provider: FakeProvider):
    """Whoever comes too late for the big model is sent to the small one, and no nano-dollar is lost between."""
    made = opened(Budget("all", "0.02", fallback=SMALL, degrade_at=0.5), store="file")
    before = len(shared_provider.ledger)
    with ThreadPoolExecutor(8) as pool:
        answered = list(pool.map(lambda _: ask(), range(24)))

    assert sum(costs(made)) == sum(each.amount for each in shared_provider.wait().ledger[before:])
    assert set(answered) == {BIG, SMALL}
    assert sum(costs(made)) <= 20_000_000


def test_a_part_of_a_number_of_requests_is_kept_for_the_fallback(opened: Any, ask: Any):
    """What is scarce may be the good model's turn, and not the dollar."""
    opened(Budget("calls", 4, unit="requests", fallback=SMALL, degrade_at=0.5))

    assert [ask() for _ in range(4)] == [BIG, BIG, SMALL, SMALL]
    with pytest.raises(BudgetExceededError):
        ask()


async def _asked(provider: FakeProvider) -> list[str]:
    client = provider.async_client()
    async with client:
        return [(await client.chat.completions.create(model=BIG, messages=HI, max_tokens=20)).model for _ in range(4)]


def test_an_async_call_degrades_as_a_sync_one(opened: Any, shared_provider: FakeProvider):
    """Over a store that waits for a disk: by the steps of the other shell."""
    made = opened(Budget("all", "0.02", fallback=SMALL, degrade_at=0.25), store="file")

    assert asyncio.run(_asked(shared_provider)) == [BIG, BIG, SMALL, SMALL]
    assert costs(made) == [COST[BIG]] * 2 + [COST[SMALL]] * 2
