"""langchain and langgraph, by their packages for OpenAI, Anthropic and Google."""

from __future__ import annotations

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_anthropic import ChatAnthropic
from langchain_core.tools import tool
from langchain_google_genai import ChatGoogleGenerativeAI
from langchain_openai import ChatOpenAI


@tool
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture(params=["openai", "responses", "anthropic", "google"])
def model(request: pytest.FixtureRequest, provider: Any) -> Any:
    """A chat model of each package."""
    if request.param == "anthropic":
        return ChatAnthropic(model="claude-haiku-4-5", max_tokens=50, anthropic_api_url=provider.root_url)
    if request.param == "google":
        return ChatGoogleGenerativeAI(model="gemini-2.5-flash", base_url=provider.root_url, api_key="none")
    return ChatOpenAI(model="gpt-4o-mini", use_responses_api=request.param == "responses")


def test_plain(model: Any, books: Any) -> None:
    """One answer."""
    assert model.invoke("hi").text


def test_streamed(model: Any, books: Any) -> None:
    """One answer, piece by piece."""
    assert len(list(model.stream("hi"))) > 1


def test_tool_loop(model: Any, books: Any, provider: Any) -> None:
    """Two requests of langgraph's loop: the call of the tool, and the answer."""
    agent = create_agent(model, [weather])
    assert agent.invoke({"messages": [{"role": "user", "content": "hi"}]})["messages"][-1].text
    assert len(provider.ledger) == 2


def test_refusal(model: Any, refused: Any) -> None:
    """Nothing is sent."""
    refused(lambda: model.invoke("hi"))


def test_refusal_in_a_loop(model: Any, refused: Any) -> None:
    """Nothing is sent from langgraph's loop."""
    refused(lambda: create_agent(model, [weather]).invoke({"messages": [{"role": "user", "content": "hi"}]}))
