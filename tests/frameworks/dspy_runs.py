"""dspy, which asks by litellm."""

from __future__ import annotations

import asyncio
from typing import Any

import dspy
import pytest

from budgetguard.testing import FakeProvider, Plan


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture
def lm(provider: Any) -> dspy.LM:
    """A model, without dspy's own cache."""
    return dspy.LM("openai/gpt-4o-mini", api_base=provider.base_url, api_key="none", cache=False, max_tokens=200)


def test_plain(lm: dspy.LM, books: Any) -> None:
    """One answer."""
    assert lm("hi")


def told(**fields: str) -> Plan:
    """An answer in the form that dspy asks for."""
    return Plan(text="".join(f"[[ ## {name} ## ]]\n{value}\n\n" for name, value in fields.items()))


def test_streamed(lm: dspy.LM, books: Any, provider: FakeProvider) -> None:
    """A program, piece by piece."""
    provider.plan = told(answer="it is the sky", completed="")
    listen = dspy.streaming.StreamListener(signature_field_name="answer")

    async def run() -> list[Any]:
        ask = dspy.streamify(dspy.Predict("question -> answer"), stream_listeners=[listen])
        return [piece async for piece in ask(question="hi")]

    with dspy.context(lm=lm):
        assert len(asyncio.run(run())) > 1


def test_tool_loop(lm: dspy.LM, books: Any, provider: FakeProvider) -> None:
    """Three requests: the call of the tool, the end of the loop, and the answer."""
    asked = iter(("weather", "finish", ""))
    arguments = {"weather": '{"city": "Rome"}'}

    def plan(_: Any) -> Plan:
        name = next(asked)
        if not name:
            return told(reasoning="so", answer="sunny", completed="")
        called = arguments.get(name, "{}")
        return told(next_thought="so", next_tool_name=name, next_tool_args=called, completed="")

    provider.plan = plan
    with dspy.context(lm=lm):
        assert dspy.ReAct("question -> answer", tools=[weather])(question="hi").answer == "sunny"
    assert len(provider.ledger) == 3


def test_refusal(lm: dspy.LM, refused: Any) -> None:
    """Nothing is sent, nor tried again by litellm."""
    refused(lambda: lm("hi"))
