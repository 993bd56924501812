"""crewai: a model by itself, and a crew."""

from __future__ import annotations

from typing import Any

import pytest
from crewai import LLM, Agent, Crew, Task
from crewai.tools import tool


@tool("weather")
def weather(city: str) -> str:
    """The weather in a city."""
    return f"sunny in {city}"


@pytest.fixture
def llm(provider: Any) -> LLM:
    """The model of a crew."""
    return LLM(model="gpt-4o-mini", base_url=provider.base_url, api_key="none")


def crew(llm: LLM, *tools: Any) -> Crew:
    """One agent with one task."""
    agent = Agent(role="guide", goal="answer", backstory="local", llm=llm, tools=list(tools), max_retry_limit=0)
    task = Task(description="Say hi.", expected_output="hi", agent=agent)
    return Crew(agents=[agent], tasks=[task], verbose=False)


def test_plain(llm: LLM, books: Any) -> None:
    """One answer."""
    assert llm.call("hi")


def test_streamed(provider: Any, books: Any) -> None:
    """One answer, piece by piece."""
    streaming = LLM(model="gpt-4o-mini", base_url=provider.base_url, api_key="none", stream=True)
    assert streaming.call("hi")


def test_tool_loop(llm: LLM, books: Any, provider: Any) -> None:
    """A crew with a tool."""
    assert crew(llm, weather).kickoff().raw
    assert len(provider.ledger) >= 2


def test_refusal(llm: LLM, refused: Any) -> None:
    """Nothing is sent."""
    refused(lambda: llm.call("hi"))


def test_refusal_of_a_crew(llm: LLM, refused: Any) -> None:
    """Nothing is sent. By itself, an agent of crewai tries each task three times, whatever the error."""
    refused(lambda: crew(llm).kickoff())
