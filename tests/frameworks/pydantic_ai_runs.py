"""pydantic-ai, by its models for OpenAI, Anthropic and Google."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic_ai import Agent
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture(params=["chat", "responses", "anthropic", "google"])
def agent(request: pytest.FixtureRequest, provider: Any) -> Any:
    """An agent, by each of its models."""
    if request.param == "anthropic":
        own = AnthropicProvider(api_key="none", base_url=provider.root_url)
        return Agent(AnthropicModel("claude-haiku-4-5", provider=own))
    if request.param == "google":
        google = GoogleProvider(api_key="none", base_url=provider.root_url)
        return Agent(GoogleModel("gemini-2.5-flash", provider=google))
    kind = OpenAIChatModel if request.param == "chat" else OpenAIResponsesModel
    return Agent(kind("gpt-4o-mini", provider=OpenAIProvider(base_url=provider.base_url, api_key="none")))


def test_plain(agent: Any, books: Any) -> None:
    """One answer."""
    assert agent.run_sync("hi").output


def test_streamed(agent: Any, books: Any) -> None:
    """One answer, piece by piece."""

    async def run() -> int:
        async with agent.run_stream("hi") as result:
            return len([piece async for piece in result.stream_text(delta=True, debounce_by=None)])

    assert asyncio.run(run()) > 1


def test_tool_loop(agent: Any, books: Any, provider: Any) -> None:
    """Two requests: the call of the tool, and the answer."""
    agent.tool_plain(weather)
    assert agent.run_sync("hi").output
    assert len(provider.ledger) == 2


def test_refusal(agent: Any, refused: Any) -> None:
    """Nothing is sent."""
    refused(lambda: agent.run_sync("hi"))
