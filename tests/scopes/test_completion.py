"""`completion` and `max_budget`: the quick start of a script."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor

import pytest

import budgetguard
from budgetguard import BudgetExceededError, BudgetManager, UnpricedModelError, acompletion, completion
from budgetguard.testing import FakeProvider

MESSAGES = [{"role": "user", "content": "Hey, how's it going"}]
INPUT_TOKENS = 13
"""As tiktoken counts them in one message of a chat."""


@pytest.fixture(autouse=True)
def provider(shared_provider, monkeypatch):
    """The environment names the provider, as it would name OpenAI."""
    monkeypatch.setenv("OPENAI_BASE_URL", shared_provider.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    return shared_provider


def cost(response):
    """What gpt-4 costs, in dollars: $30 and $60 per million tokens."""
    return response.usage.prompt_tokens * 30e-6 + response.usage.completion_tokens * 60e-6


def test_two_calls_the_first_passes_the_second_is_refused(provider):
    """The documented use, word for word."""
    budgetguard.max_budget = 0.001
    sent = len(provider.requests)

    response = completion(model="gpt-4", messages=MESSAGES)
    assert budgetguard._current_cost == pytest.approx(cost(response))
    with pytest.raises(BudgetExceededError) as caught:
        completion(model="gpt-4", messages=MESSAGES)

    assert len(provider.requests) == sent + 1
    assert caught.value.max_budget == 0.001
    assert caught.value.current_cost == budgetguard._current_cost


def test_streams_count():
    """When they have been read."""
    budgetguard.max_budget = 0.01
    words = [chunk.choices[0].delta.content for chunk in completion("gpt-4", MESSAGES, stream=True) if chunk.choices]

    assert "".join(word or "" for word in words)
    assert budgetguard._current_cost == pytest.approx(INPUT_TOKENS * 30e-6 + 8 * 60e-6, rel=0.3)


async def test_async_calls_count():
    """And async streams."""
    budgetguard.max_budget = 0.01
    response = await acompletion("gpt-4", MESSAGES)
    once = budgetguard._current_cost
    assert once == pytest.approx(cost(response))
    async for _ in await acompletion("gpt-4", MESSAGES, stream=True):
        pass

    assert budgetguard._current_cost > once


def test_async_calls_work_in_one_event_loop_after_another():
    """`asyncio.run` makes a new one each time, and a client's connections belong to the old one."""
    budgetguard.max_budget = 1
    for _ in range(3):
        assert asyncio.run(acompletion("gpt-4", MESSAGES)).usage


def test_a_limit_that_was_raised_holds_from_the_next_call():
    """What was spent stays spent."""
    budgetguard.max_budget = 0.0001
    with pytest.raises(BudgetExceededError):
        completion("gpt-4", MESSAGES)
    budgetguard.max_budget = 0.002
    completion("gpt-4", MESSAGES)
    spent = budgetguard._current_cost
    budgetguard.max_budget = spent

    assert budgetguard.max_budget == spent
    with pytest.raises(BudgetExceededError):
        completion("gpt-4", MESSAGES)


def test_the_count_can_be_set_to_nothing_and_only_to_that():
    """LiteLLM's programs do that between runs."""
    budgetguard.max_budget = 0.001
    completion("gpt-4", MESSAGES)
    with pytest.raises(ValueError, match="_current_cost"):
        budgetguard._current_cost = 0.5
    assert budgetguard._current_cost > 0
    budgetguard._current_cost = 0

    assert budgetguard._current_cost == 0
    assert budgetguard.max_budget == 0.001
    completion("gpt-4", MESSAGES)


def test_threads_share_the_limit_of_the_process(provider):
    """It is the process's."""
    budgetguard.max_budget = 0.005
    billed = len(provider.ledger)

    def call(_):
        try:
            return completion("gpt-4", MESSAGES, max_tokens=8)
        except BudgetExceededError:
            return None

    with ThreadPoolExecutor(8) as pool:
        answers = [answer for answer in pool.map(call, range(20)) if answer is not None]

    assert 1 < len(answers) < 20
    assert len(provider.ledger) - billed == len(answers)
    assert budgetguard._current_cost == pytest.approx(sum(map(cost, answers)))
    assert budgetguard._current_cost <= 0.005


def test_max_budget_guards_ordinary_clients_once_patched(provider):
    """And `unpatch` ends that."""
    import openai

    client = openai.OpenAI(max_retries=0)
    budgetguard.max_budget = 0
    budgetguard.patch()
    with pytest.raises(BudgetExceededError):
        client.chat.completions.create(model="gpt-4", messages=MESSAGES)
    budgetguard.unpatch()

    assert client.chat.completions.create(model="gpt-4", messages=MESSAGES).usage
    client.close()


def test_completion_is_guarded_also_after_an_unpatch():
    """`unpatch` takes the guard from the SDK's clients, not from this."""
    budgetguard.max_budget = 0
    for _ in range(2):
        with pytest.raises(BudgetExceededError):
            completion("gpt-4", MESSAGES)
        budgetguard.unpatch()


def test_the_calls_own_arguments_reach_the_provider(provider):
    """And the client's the client."""
    completion("gpt-4", iter(MESSAGES), temperature=0.5, timeout=30, extra_headers={"X-Test": "1"}, api_key="other")
    request = provider.requests[-1]

    assert request.body["temperature"] == 0.5
    assert request.body["messages"] == MESSAGES
    assert request.headers["x-test"] == "1"
    assert request.headers["authorization"] == "Bearer other"


def test_a_changed_environment_is_seen(shared_provider, monkeypatch):
    """The client is not the one of the first call for ever."""
    completion("gpt-4", MESSAGES)
    with FakeProvider() as other:
        monkeypatch.setenv("OPENAI_BASE_URL", other.base_url)
        completion("gpt-4", MESSAGES)

        assert len(other.requests) == 1


def test_a_call_counts_on_the_manager_too():
    """The user is the request's own."""
    manager = BudgetManager("shop", store="memory://")
    manager.create_budget(1, "ann")
    with manager:
        response = completion("gpt-4", MESSAGES, user="ann")

    assert manager.get_current_cost("ann") == pytest.approx(cost(response))


def test_a_model_without_a_price_is_refused_where_a_limit_is_to_be_kept(provider):
    """What it costs cannot be known."""
    sent = len(provider.requests)
    budgetguard.max_budget = 1
    with pytest.raises(UnpricedModelError, match="our-own-model"):
        completion("our-own-model", MESSAGES)

    assert len(provider.requests) == sent


def test_importing_the_package_imports_no_sdk():
    """Nor does setting a limit."""
    code = textwrap.dedent(
        """
        import sys, budgetguard
        budgetguard.max_budget = 5
        budgetguard.budget(user="ann", limit=1)
        loaded = [name for name in ("openai", "tiktoken", "pydantic", "genai_prices") if name in sys.modules]
        assert loaded == [], loaded
        """
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_every_public_name_is_there():
    """And a name that is not says so."""
    for name in budgetguard.__all__:
        getattr(budgetguard, name)
    assert set(budgetguard.__all__) <= set(dir(budgetguard))
    with pytest.raises(AttributeError, match="no_such_name"):
        budgetguard.no_such_name  # noqa: B018
