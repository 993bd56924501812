"""Calls at once are a budget: each in flight has a place, a stream until its end, and whoever comes then waits."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
import pytest

import budgetguard
from budgetguard import Budget, BudgetBusyError, BudgetManager, ConfigError
from budgetguard.testing import StoppedClock

MODEL = "gpt-4o-mini"
MESSAGES: Any = [{"role": "user", "content": "hi"}]
SEATS = Budget("seats", 2, per=("user",), unit="parallel")
DOLLARS = Budget("team", 5, "monthly")

pytestmark = pytest.mark.provider(tokens=20, prices={MODEL: ("1", "2")})


@pytest.fixture
def made(url: str, clock: StoppedClock) -> Iterator[BudgetManager]:
    """Two calls at once for each user, and five dollars for all."""
    with BudgetManager("places", store=url, budgets=[SEATS, DOLLARS], clock=clock) as made:
        yield made
    made.close()


def ask(client: openai.OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(**{"model": MODEL, "messages": MESSAGES, "max_tokens": 30, **more})


def seats(made: BudgetManager) -> tuple[int, int]:
    """What ann's account of places has settled and held."""
    assert made.store.check() == []
    account = SEATS.account({"user": "ann"}, made.store.now_ms())
    assert account is not None
    [found] = made.store.balances([account.key])
    return found.settled, found.held


def test_a_stream_has_its_place_until_its_end(made, client):
    """Two streams are two calls at once: the third call is refused before anything is sent, whoever else has room."""
    with budgetguard.budget(user="ann"):
        first, second = ask(client, stream=True), ask(client, stream=True)
        next(iter(first))
        assert seats(made) == (0, 2)
        with pytest.raises(BudgetBusyError) as caught:
            ask(client)
        with budgetguard.budget(user="bob"):
            ask(client)
        assert list(first)
        assert seats(made) == (0, 1)
        ask(client)
        second.close()
        assert seats(made) == (0, 0)
    error = caught.value
    assert str(error) == "seats/ann: 2 of 2 calls at once are in flight; there is room once one has ended"
    assert (error.unit, error.held, error.limit, error.spent, error.retry_after_s) == ("parallel", 2, 2, 0, 1)


def test_a_call_may_wait_for_a_place(made, client):
    """As it does for money that is only held: whoever ends tells the next in line, in the same process."""
    with budgetguard.budget(user="ann", wait=10):
        first, second = ask(client, stream=True), ask(client, stream=True)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(budgetguard.carry_scope(lambda: ask(client)))
            assert list(first)
            assert waiting.result(10).usage.completion_tokens == 20
        second.close()
    assert seats(made) == (0, 0)


def test_a_call_that_failed_gives_its_place_back(made, provider):
    """Whatever the provider said, and however often: a place is held by nobody whose call is over."""
    with provider.client(max_retries=0) as client, budgetguard.budget(user="ann"):
        for _ in range(5):
            with pytest.raises(openai.APIStatusError):
                ask(client, messages="nonsense")
    assert seats(made) == (0, 0)


def test_a_free_call_has_a_place_too(made, client):
    """A limit on calls at once is for a server's sake: what a call costs does not matter to it."""
    made.guard.prices.add("free-model", free=True, max_output=100)
    with budgetguard.budget(user="ann"):
        stream = ask(client, model="free-model", stream=True)
        assert seats(made) == (0, 1)
        stream.close()
    assert seats(made) == (0, 0)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"period": "daily"}, "leave the period out"),
        ({"lease": True}, "leave lease out"),
        ({"limit": 1.5}, "whole number"),
    ],
)
def test_what_calls_at_once_cannot_have_is_refused(more, said):
    """A period would begin with calls in flight that it does not know of; a slice would be a place nobody can use."""
    with pytest.raises(ConfigError, match=said):
        Budget(**{"name": "seats", "limit": 4, "unit": "parallel", **more})


def test_a_user_can_have_a_limit_of_calls_at_once(made, client):
    """Kept in the store as other budgets of users are, and shown by every reader with its unit."""
    made.set_budget("eve", 1, unit="parallel")
    with budgetguard.budget(user="eve"):
        stream = ask(client, stream=True)
        with pytest.raises(BudgetBusyError, match="users/eve: 1 of 1 call at once"):
            ask(client)
        stream.close()
        ask(client)
    assert made.get_current_cost("eve") == 0
