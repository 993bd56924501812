"""Who else talks over WebSockets passes the same connections: openai-agents, and Gemini's Live in google-genai."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from typing import Any

import pytest
import trustme

import budgetguard
from budgetguard import BudgetExceededError, BudgetManager
from budgetguard.testing import FakeSockets, SocketPlan
from tests.support.books import entries
from tests.support.talking import GEMINI, REALTIME, price


@pytest.fixture
def provider() -> Iterator[FakeSockets]:
    """Answers of 20 tokens, 12 of them sound."""
    with FakeSockets(prices=price, tokens=20, audio=12) as running:
        yield running


@pytest.fixture
def authority() -> trustme.CA:
    """Whom only the test's client trusts."""
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[FakeSockets]:
    """The same over TLS: Google's client has no other sockets."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with FakeSockets(prices=price, ssl=context, tokens=20, audio=12) as running:
        yield running


@pytest.fixture
def gemini(secure: FakeSockets, authority: trustme.CA) -> Any:
    """A client of google-genai."""
    from google import genai

    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    url = secure.url.replace("wss", "https")
    return genai.Client(api_key="none", http_options={"base_url": url, "async_client_args": {"ssl": trust}})


def sums(spoken: BudgetManager, provider: FakeSockets) -> tuple[list[int], list[int]]:
    return [entry.cost for entry in entries(spoken)], [bill.amount for bill in provider.ledger]


async def test_the_agents_sdk_is_counted_and_refused(provider, spoken):
    """It has a connection of its own, and a task that reads it."""
    from agents.realtime import RealtimeAgent, RealtimeRunner

    runner = RealtimeRunner(RealtimeAgent(name="a", instructions="Be kind."))
    options = {"url": f"{provider.url}/v1/realtime?model={REALTIME}", "api_key": "none"}
    async with await runner.run(
        model_config={**options, "initial_model_settings": {"model_name": REALTIME}}
    ) as session:
        for _ in range(2):
            await session.send_message("hello")
            async for event in session:
                if event.type == "agent_end":
                    break
        spoken.create_budget(0, "ann")
        await session.send_message("hello")
        with pytest.raises(BudgetExceededError):
            assert [event async for event in session]

    booked, billed = sums(spoken, provider)
    assert booked == billed
    assert len(billed) == 2


async def test_geminis_live_is_counted_and_refused(secure, gemini, spoken):
    """A turn that the client ends is held; to what is streamed the server answers by itself."""
    from google.genai import types

    said = types.Content(role="user", parts=[types.Part(text="hello")])
    async with gemini.aio.live.connect(model=GEMINI, config={"response_modalities": ["TEXT"]}) as session:
        for _ in range(2):
            await session.send_client_content(turns=said)
            assert len(spoken.store.holds()) == 1
            assert [message async for message in session.receive()]
            assert spoken.store.holds() == []
        with budgetguard.budget(limit=0), pytest.raises(BudgetExceededError):
            await session.send_client_content(turns=said)
        await session.send_realtime_input(audio=types.Blob(data=bytes(3_200), mime_type="audio/pcm"))

    booked, billed = sums(spoken, secure)
    assert booked == billed
    assert len(billed) == 2


async def test_what_gemini_begins_by_itself_is_booked_and_stopped_at_the_next_send(secure, gemini, spoken):
    """Nobody asks before it answers."""
    from google.genai import types

    secure.plan = SocketPlan(tokens=20, audio=12, pause=2)
    sound = types.Blob(data=bytes(3_200), mime_type="audio/pcm")
    async with gemini.aio.live.connect(model=GEMINI) as session:
        for _ in range(2):
            await session.send_realtime_input(audio=sound)
        assert [message async for message in session.receive()]
        booked, billed = sums(spoken, secure)
        assert booked == billed
        assert len(billed) == 1
        spoken.create_budget(0, "ann")
        with pytest.raises(BudgetExceededError):
            await session.send_realtime_input(audio=sound)
