"""smolagents, by OpenAI's SDK and by litellm."""

from __future__ import annotations

from typing import Any

import pytest
from smolagents import LiteLLMModel, OpenAIModel, ToolCallingAgent, tool

MESSAGES = [{"role": "user", "content": "hi"}]


@tool
def weather(city: str) -> str:
    """
    The weather in a city.

    Args:
        city: Its name.
    """
    return f"sunny in {city}"


@pytest.fixture(params=["openai", "litellm"])
def model(request: pytest.FixtureRequest, provider: Any) -> Any:
    """A model of each kind."""
    if request.param == "litellm":
        return LiteLLMModel("openai/gpt-4o-mini", api_base=provider.base_url, api_key="none")
    return OpenAIModel("gpt-4o-mini", api_base=provider.base_url, api_key="none")


def test_plain(model: Any, books: Any) -> None:
    """One answer."""
    assert model.generate(MESSAGES).content


def test_streamed(model: Any, books: Any) -> None:
    """One answer, piece by piece."""
    assert len(list(model.generate_stream(MESSAGES))) > 1


def test_tool_loop(model: Any, books: Any, provider: Any) -> None:
    """An agent: the call of the tool, and what follows."""
    agent = ToolCallingAgent([weather], model, max_steps=2, verbosity_level=0)
    agent.run("hi")
    assert len(provider.ledger) >= 2


def test_refusal(model: Any, refused: Any) -> None:
    """Nothing is sent."""
    refused(lambda: model.generate(MESSAGES))


def test_refusal_of_an_agent(model: Any, refused: Any) -> None:
    """Nothing is sent, nor tried again."""
    refused(lambda: ToolCallingAgent([weather], model, verbosity_level=0).run("hi"))
