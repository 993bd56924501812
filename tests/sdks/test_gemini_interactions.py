"""
Google's interactions, which go through a second stack of its SDK, and calls of Gemini that a program sends by itself.

Answers are those of `ai.google.dev/gemini-api/docs/interactions`, and what users of the API recorded.
"""

from __future__ import annotations

import asyncio
import gc
import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest
from google import genai

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager
from budgetguard.adapters.gemini.interactions import InteractionListener, create, interaction
from budgetguard.guards import Settings
from budgetguard.process.state import PROCESS
from budgetguard.testing import FakeProvider

pytestmark = pytest.mark.filterwarnings("ignore:.*DEPRECATED:DeprecationWarning")

pytest.importorskip("google.genai._gaos", reason="interactions are of later versions")

MODEL = "gemini-3-flash-preview"
INPUT, OUTPUT = 500, 3_000
"""Nano-dollars a token: $0.50 and $3 a million."""

USAGE = {
    "total_input_tokens": 37,
    "input_tokens_by_modality": [{"modality": "text", "tokens": 37}],
    "total_cached_tokens": 0,
    "total_output_tokens": 42,
    "total_thought_tokens": 177,
    "total_tool_use_tokens": 0,
    "total_tokens": 256,
}
COST = 37 * INPUT + (42 + 177) * OUTPUT
DONE: dict[str, Any] = {
    "id": "v1_abc",
    "model": MODEL,
    "object": "interaction",
    "status": "completed",
    "created": "2026-07-03T12:25:15Z",
    "updated": "2026-07-03T12:25:15Z",
    "steps": [{"type": "model_output", "content": [{"type": "text", "text": "Phishing."}]}],
    "usage": USAGE,
}
RUNNING = {**{name: value for name, value in DONE.items() if name not in {"steps", "usage"}}, "status": "in_progress"}
EVENTS: list[Any] = [
    {"event_type": "interaction.created", "interaction": RUNNING},
    {"event_type": "step.start", "index": 0, "step": {"type": "model_output"}},
    {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "Phish"}},
    {"event_type": "step.delta", "index": 0, "delta": {"type": "text", "text": "ing."}},
    {"event_type": "step.stop", "index": 0},
    {"event_type": "interaction.completed", "interaction": DONE},
]
ASKED: Any = {"model": MODEL, "input": "Is this spam?", "generation_config": {"max_output_tokens": 400}}


def managed(limit: float = 1.0) -> BudgetManager:
    settings = Settings(abandoned="observed")
    return BudgetManager("t", store="memory://", budgets=[Budget("all", limit)], settings=settings)


def costs(made: BudgetManager) -> list[int]:
    assert made.store.holds() == []
    return [entry.cost for entry in made.store.entries()]


class Server:
    """What a client's transport answers, and what it was asked."""

    def __init__(self, answer: Callable[[httpx.Request], Any]) -> None:
        self.asked: list[Any] = []
        self._answer = answer

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(json.loads(request.content or b"{}"))
        said = self._answer(request)
        if isinstance(said, list):
            text = "".join(f"event: {each['event_type']}\ndata: {json.dumps(each)}\n\n" for each in said)
            return httpx.Response(200, text=text + "data: [DONE]\n\n", headers={"content-type": "text/event-stream"})
        return said if isinstance(said, httpx.Response) else httpx.Response(200, json=said)

    async def answer(self, request: httpx.Request) -> httpx.Response:
        return self(request)

    def client(self) -> Any:
        """A client of the SDK that asks this."""
        options: Any = {
            "base_url": "http://localhost:1",
            "client_args": {"transport": httpx.MockTransport(self)},
            "async_client_args": {"transport": httpx.MockTransport(self.answer)},
        }
        return genai.Client(api_key="-", http_options=options)


def by_body(request: httpx.Request) -> Any:
    body = json.loads(request.content or b"{}")
    return EVENTS if body.get("stream") else DONE


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("one", [False, True])
def test_an_interaction_costs_what_its_usage_says(stream: bool, is_async: bool, one: bool) -> None:
    """Plain and streamed, sync and async, by `patch` and by `guard`: thoughts beside the output."""
    made, server = managed(), Server(by_body)
    client = server.client()
    budgetguard.guard(client, made) if one else budgetguard.patch(made)

    async def ask() -> None:
        answer = await client.aio.interactions.create(**ASKED, stream=stream)
        if stream:
            assert [event.event_type async for event in answer][-1] == "interaction.completed"

    if is_async:
        asyncio.run(ask())
    else:
        answer = client.interactions.create(**ASKED, stream=stream)
        assert not stream or [event.event_type for event in answer][-1] == "interaction.completed"
    assert costs(made) == [COST]
    assert len(server.asked) == 1


def test_what_does_not_fit_is_refused_before_it_is_sent() -> None:
    """As our own error."""
    server = Server(by_body)
    client = server.client()
    budgetguard.guard(client, managed(0.0001))
    with pytest.raises(BudgetExceededError):
        client.interactions.create(**ASKED)
    assert server.asked == []


def test_a_cap_is_added_where_none_is_stated() -> None:
    """In the words of this API."""
    made, server = managed(0.02), Server(by_body)
    client = server.client()
    budgetguard.guard(client, made)
    client.interactions.create(model=MODEL, input="hi")
    assert 2_048 <= server.asked[0]["generation_config"]["max_output_tokens"] < 8_000
    assert costs(made) == [COST]


def test_what_goes_on_in_the_background_is_settled_by_a_look() -> None:
    """Its hold lasts until then."""

    def answer(request: httpx.Request) -> Any:
        return RUNNING if request.method == "POST" else DONE

    made = managed()
    client = Server(answer).client()
    budgetguard.guard(client, made)
    begun = client.interactions.create(**ASKED, background=True)
    assert len(made.store.holds()) == 1
    client.interactions.get(begun.id)
    assert costs(made) == [COST]


def test_an_error_costs_nothing() -> None:
    """The SDK raises what a response says."""
    made = managed()
    client = Server(lambda _: httpx.Response(400, json={"error": {"code": 400, "message": "no"}})).client()
    budgetguard.guard(client, made)
    with pytest.raises(Exception, match="no"):
        client.interactions.create(**ASKED)
    assert sum(costs(made)) == 0


def test_a_stream_that_is_left_costs_what_arrived() -> None:
    """Its input is not said before the end."""
    made = managed()
    pieces = (f"data: {json.dumps(each)}\n\n".encode() for each in EVENTS)
    kind = {"content-type": "text/event-stream"}
    client = Server(lambda _: httpx.Response(200, content=pieces, headers=kind)).client()
    budgetguard.guard(client, made)
    with client.interactions.create(**ASKED, stream=True) as stream:
        for event in stream:
            if event.event_type == "step.delta":
                break
    del stream, event
    gc.collect()
    PROCESS.reaper.drain()
    [entry] = made.store.entries()
    assert "estimated" in entry.flags
    assert entry.cost > 0


# --- the readers


def test_a_request_is_read_as_what_it_can_use() -> None:
    """A picture, a sound, a tool, what the server keeps."""
    asked = create({**ASKED, "input": [{"type": "text", "text": "what"}, {"type": "image", "data": "aGk="}]})
    assert (asked.texts, asked.images, asked.max_output, asked.unknown_input) == (["what"], 1, 400, False)
    assert create({**ASKED, "input": [{"type": "audio", "uri": "gs://x"}]}).kept == "input_audio_tokens"
    step = {"type": "user_input", "content": [{"type": "text", "text": "deep"}]}
    assert "deep" in create({**ASKED, "input": [step]}).texts
    assert create({**ASKED, "tools": [{"type": "function", "name": "f"}]}).unknown_input is False
    searching = create({**ASKED, "tools": [{"type": "google_search"}]})
    assert (searching.unknown_input, searching.fixed) == (True, {"web_searches": 10})
    assert create({**ASKED, "previous_interaction_id": "v1_a"}).unknown_input
    assert create({"agent": "deep-research-pro-preview-12-2025", "input": "x"}).model.startswith("deep-research")


def test_a_recorded_agents_usage_adds_up() -> None:
    """A deep research, as somebody recorded it: its tools' tokens are input, and each search is billed."""
    usage = {
        "total_input_tokens": 119_631,
        "total_output_tokens": 8_396,
        "total_thought_tokens": 14_812,
        "total_tool_use_tokens": 41_495,
        "total_cached_tokens": 0,
        "grounding_tool_count": [{"count": 13, "type": "google_search"}],
    }
    answer = interaction({"id": "a", "status": "completed", "agent": "deep-research", "model": None, "usage": usage})
    assert answer.usage == {
        "input_tokens": 161_126,
        "output_tokens": 23_208,
        "output_reasoning_tokens": 14_812,
        "web_searches": 13,
    }
    assert not interaction({"status": "in_progress", "id": "a"}).final
    assert interaction({"status": "failed", "id": "a"}).free


def test_a_stream_may_say_its_usage_as_it_goes() -> None:
    """What is written after that is counted."""
    listener = InteractionListener()
    for event in [
        EVENTS[0],
        {**EVENTS[2], "metadata": {"total_usage": {"total_input_tokens": 37, "total_output_tokens": 2}}},
        EVENTS[3],
    ]:
        assert not listener.hear(event)
    answer = listener.end()
    assert (answer.usage, answer.exact) == ({"input_tokens": 37, "output_tokens": 2}, True)
    assert (answer.heard.text, answer.heard.running) == ("ing.", True)
    failed = InteractionListener()
    failed.hear({"event_type": "error", "error": {"code": 503}})
    assert failed.end().free


# --- by hand


@pytest.mark.parametrize("stream", [False, True])
def test_a_call_by_hand_is_one_of_gemini(stream: bool) -> None:
    """The model is in the path; the body goes out without it."""
    made = managed()
    budgetguard.patch(made)
    body = {"contents": [{"parts": [{"text": "hi"}]}]}
    with FakeProvider() as provider, httpx.Client() as client:
        operation = "streamGenerateContent?alt=sse" if stream else "generateContent"
        reply = client.post(f"{provider.root_url}/v1beta/models/{MODEL}:{operation}", json=body)
        assert reply.status_code == 200
        [bill], [asked] = provider.ledger, provider.requests
    assert costs(made) == [bill.input_tokens * INPUT + bill.output_tokens * OUTPUT]
    assert asked.body.keys() == {"contents", "generationConfig"}
