"""openai-agents: by its Responses model and its chat model."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from agents import Agent, OpenAIChatCompletionsModel, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI

set_tracing_disabled(True)


@function_tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture(params=["responses", "chat"])
def agent(request: pytest.FixtureRequest, provider: Any) -> Agent:
    """An agent, by either of its models."""
    kind = OpenAIChatCompletionsModel if request.param == "chat" else OpenAIResponsesModel
    return Agent("one", model=kind("gpt-4o-mini", AsyncOpenAI()))


def test_plain(agent: Agent, books: Any) -> None:
    """One answer."""
    assert Runner.run_sync(agent, "hi").final_output


def test_streamed(agent: Agent, books: Any) -> None:
    """One answer, item by item."""

    async def run() -> int:
        result = Runner.run_streamed(agent, "hi")
        return len([event async for event in result.stream_events()])

    assert asyncio.run(run()) > 3


def test_tool_loop(agent: Agent, books: Any, provider: Any) -> None:
    """Two requests: the call of the tool, and the answer."""
    agent.tools = [weather]
    assert Runner.run_sync(agent, "hi").final_output
    assert len(provider.ledger) == 2


def test_refusal(agent: Agent, refused: Any) -> None:
    """Nothing is sent."""
    refused(lambda: Runner.run_sync(agent, "hi"))
