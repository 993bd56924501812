"""`Settings(stated_caps="lower")`: a stated output cap that does not fit is lowered to what does, and the bill fits."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager
from typing import Any

import pytest

from budgetguard import AnswerCutError, Budget, BudgetExceededError, BudgetManager, PriceBook, Settings, budget
from budgetguard.adapters.anthropic import MESSAGES as CLAUDE
from budgetguard.calls import UNKNOWN_HOST
from budgetguard.testing import Plan
from tests.support.endpoint import INPUT_PRICE, LONGEST, MESSAGES, MODEL, OUTPUT_PRICE, acting, ask, bill

pytestmark = pytest.mark.provider(tokens=LONGEST, prices=lambda model, usage: dearly(usage))

THINKING = {"type": "enabled", "budget_tokens": 300}


def dearly(usage: Any) -> int:
    """Either API's usage at the prices of the endpoint, in nano-dollars."""
    if "prompt_tokens" in usage:
        return bill(MODEL, usage)
    return bill(MODEL, {"prompt_tokens": usage["input_tokens"], "completion_tokens": usage["output_tokens"]})


def books(limit: float | None = None, **settings: Any) -> AbstractContextManager[BudgetManager]:
    """Books whose prices are the endpoint's, for models of any name."""
    made = PriceBook(overrides={"*": {"input": INPUT_PRICE, "output": OUTPUT_PRICE, "max_output": LONGEST}})
    rules = [] if limit is None else [Budget("all", limit)]
    asked = Settings(**{"stated_caps": "lower", **settings})
    return acting(BudgetManager("caps", store="memory://", prices=made, budgets=rules, settings=asked))


def message(provider: Any, cap: int = LONGEST, **more: Any) -> Any:
    """A message of Claude's, whose cap must be stated."""
    with provider.anthropic() as client:
        return client.messages.create(model="claude-a", messages=MESSAGES, max_tokens=cap, **more)


def responded(provider: Any, **more: Any) -> Any:
    with provider.client() as client:
        return client.responses.create(model=MODEL, input="count the money", **more)


SHAPES: dict[str, Any] = {
    "max_tokens": lambda provider: ask(provider, max_tokens=LONGEST),
    "max_completion_tokens": lambda provider: ask(provider, max_completion_tokens=LONGEST),
    "max_output_tokens": lambda provider: responded(provider, max_output_tokens=LONGEST),
    "claude": message,
}


def stated(body: Any) -> set[int]:
    return {value for name, value in body.items() if name.startswith("max_") and name.endswith("_tokens")}


@pytest.mark.parametrize("shape", SHAPES)
def test_a_stated_cap_that_does_not_fit_is_lowered_to_what_does(shape: str, provider: Any) -> None:
    """Claude's budget is spent to its end, as one is whose model needs no cap; and not a nano-dollar beyond."""
    with books(0.05) as manager:
        SHAPES[shape](provider)
        [entry] = manager.store.entries()

    [cap] = stated(provider.requests[0].body)
    assert 400 < cap < LONGEST
    assert entry.cost == provider.billed.nano <= 50_000_000
    assert {"capped", "cut"} <= entry.flags


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_refused_where_nobody_said_otherwise(shape: str, provider: Any) -> None:
    """Half an answer may be worth nothing: who states a cap has said what is enough."""
    with books(0.05, stated_caps="refuse"), pytest.raises(BudgetExceededError):
        SHAPES[shape](provider)
    assert provider.requests == []


def test_a_cap_that_fits_is_sent_as_it_is(provider: Any) -> None:
    """Nothing is taken from a call that has room, though others might come."""
    with books(0.2):
        assert message(provider).usage.output_tokens == LONGEST
    assert provider.requests[0].body["max_tokens"] == LONGEST


def test_it_is_never_lowered_below_a_useful_answer(provider: Any) -> None:
    """A few words of many are paid for and help nobody; a cap that was small from the start is what was wanted."""
    with books(0.01), pytest.raises(BudgetExceededError, match="128 output tokens"):
        message(provider)
    with books(0.01), pytest.raises(BudgetExceededError):
        message(provider, 120)
    assert provider.requests == []
    with books(0.01):
        message(provider, 80)


def test_what_a_model_may_think_stays_below_the_cap(provider: Any) -> None:
    """The API refuses a cap that is no more than the thinking budget, and what is thought is no answer."""
    with books(0.06):
        message(provider, thinking=THINKING)
        assert provider.requests[-1].body["max_tokens"] >= 300 + 128
    with books(0.04), pytest.raises(BudgetExceededError):
        message(provider, thinking=THINKING)
    assert len(provider.requests) == 1


def test_models_that_may_answer_instead_are_capped_as_well() -> None:
    """Each fallback may state a cap of its own, above the call's."""
    body = {
        "model": "claude-a",
        "max_tokens": 900,
        "fallbacks": [{"model": "claude-b", "max_tokens": 950}, {"model": "claude-c"}],
    }
    assert CLAUDE.lower is not None
    assert CLAUDE.request is not None
    changed = CLAUDE.lower(body, 400)

    assert changed == {
        "max_tokens": 400,
        "fallbacks": [{"model": "claude-b", "max_tokens": 400}, {"model": "claude-c"}],
    }
    assert CLAUDE.request({**body, **changed}, (), UNKNOWN_HOST).max_output == 400


def test_an_answer_that_ends_there_is_cut_like_one_at_an_added_cap(provider: Any) -> None:
    """A program that must not go on with half an answer does not, and reads what to do."""
    with (
        books(on_cut="raise"),
        budget(limit=0.05) as b,
        pytest.raises(AnswerCutError, match=r"stated_caps='refuse'") as cut,
    ):
        message(provider)
    assert cut.value.answer.stop_reason == "max_tokens"
    assert cut.value.cap == provider.requests[0].body["max_tokens"]
    assert b.cut == 1
    assert b.spent.nano == provider.billed.nano


def test_a_budget_that_is_not_hard_lowers_nothing(provider: Any) -> None:
    """A soft one lets a call pass that begins within it, and stops the next."""
    soft = [Budget("all", 0.05, enforce="soft")]
    made = PriceBook(overrides={"*": {"input": INPUT_PRICE, "output": OUTPUT_PRICE}})
    lower = Settings(stated_caps="lower")
    with acting(BudgetManager("caps", store="memory://", prices=made, budgets=soft, settings=lower)):
        message(provider)
        with pytest.raises(BudgetExceededError):
            message(provider)
    assert [each.body["max_tokens"] for each in provider.requests] == [LONGEST]


def test_a_budget_in_tokens_lowers_too(provider: Any) -> None:
    """Its room is as certain as that of money."""
    made = PriceBook(overrides={"*": {"input": INPUT_PRICE, "output": OUTPUT_PRICE}})
    rule = Budget("tokens", 500, unit="tokens")
    lower = Settings(stated_caps="lower")
    with acting(BudgetManager("caps", store="memory://", prices=made, budgets=[rule], settings=lower)) as manager:
        message(provider)
        [entry] = manager.store.entries()
    assert 128 <= provider.requests[0].body["max_tokens"] < 500
    assert sum(entry.usage[kind] for kind in ("input_tokens", "output_tokens")) <= 500


def test_many_at_once_share_the_room_and_pass_nothing(provider: Any) -> None:
    """However many state a cap that fits once, together they stay within the limit; so do streams."""

    async def one(client: Any) -> Any:
        try:
            async with client.messages.stream(model="claude-a", messages=MESSAGES, max_tokens=LONGEST) as stream:
                return await stream.get_final_message()
        except BudgetExceededError:
            return None

    async def all_of_them() -> list[Any]:
        async with provider.async_anthropic() as client:
            return await asyncio.gather(*[one(client) for _ in range(12)])

    with books(0.11) as manager:
        answers = [answer for answer in asyncio.run(all_of_them()) if answer is not None]
        spent = sum(entry.cost for entry in manager.store.entries())
    assert answers
    assert spent == provider.billed.nano <= 110_000_000


@pytest.mark.parametrize("wait", [0, 20])
def test_a_call_that_may_wait_rather_waits(wait: int, provider: Any) -> None:
    """Room that is only held may be free again in a moment: then it has all that it asked for."""
    provider.plan = Plan(tokens=5, latency_s=0.2)

    async def both() -> None:
        async with provider.async_anthropic() as client:
            ask_one = lambda: client.messages.create(model="claude-a", messages=MESSAGES, max_tokens=LONGEST)  # noqa: E731
            with budget(wait=wait):
                await asyncio.gather(ask_one(), ask_one())

    with books(0.14):
        asyncio.run(both())
    whole = [each.body["max_tokens"] == LONGEST for each in provider.requests]
    assert sorted(whole) == ([True, True] if wait else [False, True])


def test_the_environment_can_say_it(provider: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """As every setting, for a program that nobody changes."""
    monkeypatch.setenv("BUDGETGUARD_STATED_CAPS", "lower")
    made = PriceBook(overrides={"*": {"input": INPUT_PRICE, "output": OUTPUT_PRICE}})
    with acting(BudgetManager("caps", store="memory://", prices=made, budgets=[Budget("all", 0.05)])):
        message(provider)
    assert provider.requests[0].body["max_tokens"] < LONGEST
