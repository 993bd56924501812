"""llama-index, by its packages for OpenAI and Anthropic."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.llms.anthropic import Anthropic
from llama_index.llms.openai import OpenAI

MESSAGES = [ChatMessage(role="user", content="hi")]


def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture(params=["openai", "anthropic"])
def llm(request: pytest.FixtureRequest, provider: Any) -> Any:
    """A model of each package."""
    if request.param == "anthropic":
        return Anthropic(model="claude-haiku-4-5", base_url=provider.root_url, api_key="none", max_tokens=60)
    return OpenAI(model="gpt-4o-mini", api_base=provider.base_url, api_key="none")


def test_plain(llm: Any, books: Any) -> None:
    """One answer."""
    assert llm.chat(MESSAGES).message.content


def test_streamed(llm: Any, books: Any) -> None:
    """One answer, piece by piece."""
    assert len(list(llm.stream_chat(MESSAGES))) > 1


def test_tool_loop(llm: Any, books: Any, provider: Any) -> None:
    """Two requests of its agent, both streamed: the call of the tool, and the answer."""

    async def run() -> Any:
        return await FunctionAgent(tools=[weather], llm=llm).run("hi")

    assert str(asyncio.run(run()))
    assert len(provider.ledger) == 2


def test_refusal(llm: Any, refused: Any) -> None:
    """Nothing is sent."""
    refused(lambda: llm.chat(MESSAGES))
