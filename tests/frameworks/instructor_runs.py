"""instructor, by the SDKs of OpenAI and Anthropic."""

from __future__ import annotations

from typing import Any

import anthropic
import instructor
import openai
import pytest
from pydantic import BaseModel

MESSAGES = [{"role": "user", "content": "hi"}]


class City(BaseModel):
    """What is asked for."""

    name: str


@pytest.fixture(params=["openai", "anthropic"])
def ask(request: pytest.FixtureRequest, provider: Any) -> Any:
    """A client of either SDK, and what it is asked."""
    if request.param == "anthropic":
        client = instructor.from_anthropic(anthropic.Anthropic(base_url=provider.root_url, api_key="none"))
        return client, {"model": "claude-haiku-4-5", "max_tokens": 60, "messages": MESSAGES}
    return instructor.from_openai(openai.OpenAI()), {"model": "gpt-4o-mini", "messages": MESSAGES}


def test_plain(ask: Any, books: Any) -> None:
    """One object, which is the call of a tool."""
    client, asked = ask
    assert client.create(response_model=City, **asked).name


def test_streamed(ask: Any, books: Any) -> None:
    """One object, as it grows."""
    client, asked = ask
    assert list(client.create_partial(response_model=City, **asked))[-1].name


def test_refusal(ask: Any, refused: Any) -> None:
    """Nothing is sent, nor tried again."""
    client, asked = ask
    refused(lambda: client.create(response_model=City, **asked))
