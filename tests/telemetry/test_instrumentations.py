"""Beside another instrumentation of the same SDK: a call is one span, which says what it cost."""

from __future__ import annotations

import asyncio
import importlib
import sys
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.openai import OpenAIInstrumentor as OpenLLMetry
from opentelemetry.instrumentation.openai_v2 import OpenAIInstrumentor as Contrib

import budgetguard
from budgetguard import BudgetExceededError, BudgetManager
from tests.support.hearing import Heard, said
from tests.support.sdk_shapes import wait

MODEL = "gpt-4o-mini"
HI = [{"role": "user", "content": "hi"}]
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def resources() -> set[type]:
    """The classes whose methods are wrapped."""
    for name in ("chat.completions.completions", "completions", "embeddings", "images", "responses.responses"):
        importlib.import_module(f"openai.resources.{name}")
    modules = [module for name, module in list(sys.modules.items()) if name.startswith("openai.resources")]
    found = {each for module in modules for each in vars(module).values() if isinstance(each, type)}
    return {each for each in found if each.__module__.startswith("openai.resources")}


@pytest.fixture(params=[Contrib, OpenLLMetry], ids=["contrib", "openllmetry"])
def other(request: pytest.FixtureRequest, heard: Heard) -> Iterator[Any]:
    """Another instrumentation, of this SDK."""
    made, before = request.param(), {each: dict(vars(each)) for each in resources()}
    made.instrument(tracer_provider=heard.tracers, meter_provider=heard.meters, skip_dep_check=True)
    yield made
    made.uninstrument()
    for each, kept in before.items():  # OpenLLMetry leaves some of its wrappers there
        for name, value in kept.items():
            if vars(each)[name] is not value:
                setattr(each, name, value)


@pytest.fixture
def shop() -> Iterator[BudgetManager]:
    """Books of ann, in whose scope a test runs, and every client guarded."""
    with BudgetManager("shop", store="memory://") as made, budgetguard.budget(user="ann"):
        budgetguard.patch(made)
        yield made


async def chat(client: Any, *, stream: bool) -> None:
    """A chat, read to its end."""
    answer = await wait(client.chat.completions.create(model=MODEL, messages=HI, stream=stream))
    if stream and isinstance(client, openai.AsyncOpenAI):  # their wrappers look as if they could do both
        async for _ in answer:
            pass
    elif stream:
        list(answer)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_what_a_call_cost_is_said_on_its_span(heard, other, shop, go, stream):
    """Two spans of one call would count its tokens twice in every dashboard."""
    go(lambda client: chat(client, stream=stream))
    [span], [entry] = heard.spans, shop.store.entries()
    assert heard.others == []
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name.startswith("opentelemetry.")
    assert said(span)["budgetguard.cost_nano"] == entry.cost > 0
    assert said(span)["gen_ai.usage.output_tokens"] == entry.usage["output_tokens"]
    assert said(span)["gen_ai.response.model"] == MODEL
    assert heard.points("gen_ai.client.token.usage") == [], "it counts them itself"
    assert len(heard.points("budgetguard.cost")) == 1


def test_a_refusal_is_said_on_its_span(heard, other, shop, provider):
    """The span of the call that was not sent says which budget it was."""
    shop.create_budget(0, "ann")
    with provider.client() as client, pytest.raises(BudgetExceededError):
        client.chat.completions.create(model=MODEL, messages=HI)
    [span] = heard.spans
    assert said(span)["budgetguard.budget"] == "users"


def test_what_it_has_no_span_for_has_one_of_ours(heard, other, shop, provider):
    """A moderation, a picture: it sees some operations, and we see all that cost money."""
    with provider.client() as client:
        client.completions.create(model="gpt-3.5-turbo-instruct", prompt="hi", max_tokens=5)
        client.images.generate(model="dall-e-2", prompt="a coin", size="256x256", n=1)
    assert [said(span)["budgetguard.cost_nano"] for span in heard.spans] == [e.cost for e in shop.store.entries()]


def test_a_span_around_several_calls_is_none_of_theirs(heard, shop, provider):
    """An agent's, a chain's: each call beneath it has its own cost."""
    tracer = trace.get_tracer("agents")
    agent = {"gen_ai.operation.name": "invoke_agent", "gen_ai.request.model": MODEL}
    with provider.client() as client, tracer.start_as_current_span("invoke_agent", attributes=agent):
        for _ in range(2):
            client.chat.completions.create(model=MODEL, messages=HI)
    [around] = heard.others
    assert around.context is not None
    assert [span.parent.span_id for span in heard.spans if span.parent] == [around.context.span_id] * 2


def test_a_span_takes_one_call(heard, shop, provider):
    """A framework's span of "the chat", beneath which it asks twice: the second has one of ours, no cost is lost."""
    tracer = trace.get_tracer("framework")
    asked = {"gen_ai.operation.name": "chat", "gen_ai.request.model": MODEL}
    with provider.client() as client, tracer.start_as_current_span("chat", attributes=asked):
        for _ in range(2):
            client.chat.completions.create(model=MODEL, messages=HI)
    costs = [said(span)["budgetguard.cost_nano"] for span in heard.spans]
    assert costs == [entry.cost for entry in shop.store.entries()]
    assert len(costs) == 2


def test_a_span_that_ended_before_the_answer_was_booked_has_one_of_ours_beneath_it(heard, shop, provider):
    """It may be over when a stream is: an attribute that is set on it then is lost, with a warning."""
    tracer = trace.get_tracer("framework")
    asked = {"gen_ai.operation.name": "chat", "gen_ai.request.model": MODEL}
    with provider.client() as client:
        with tracer.start_as_current_span("chat", attributes=asked) as theirs:
            stream = client.chat.completions.create(model=MODEL, messages=HI, stream=True)
        list(stream)
    first, second = heard.spans
    assert (first.name, second.name) == ("chat", f"chat {MODEL}")
    assert second.parent == theirs.get_span_context()
    assert said(second)["budgetguard.cost_nano"] > 0


def test_calls_at_once_are_said_on_their_own_spans(heard, other, shop, provider):
    """No task's cost is on another's."""

    async def together() -> None:
        async with provider.async_client() as client:
            await asyncio.gather(*(chat(client, stream=number % 2 == 0) for number in range(8)))

    asyncio.run(together())
    entries = {entry.hold_id: entry.cost for entry in shop.store.entries()}
    assert {said(span)["budgetguard.hold_id"]: said(span)["budgetguard.cost_nano"] for span in heard.spans} == entries
    assert len(entries) == 8
