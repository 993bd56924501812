"""The fake provider never bills more than a guard holds: else a test of a hard limit would find its own overspend."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import openai
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, PriceBook
from budgetguard.ledger import Hold
from budgetguard.prices.sources import file, find
from budgetguard.stores.memory.store import MemoryStore
from budgetguard.testing import FakeProvider
from tests.support.in_memory import MODEL

MODELS = (MODEL, "gpt-3.5-turbo-instruct", "text-embedding-3-small")
SMALL = "0.000000001"


@pytest.fixture(scope="module", autouse=True)
def _odd_prices_pass() -> Iterator[None]:
    """Next to nothing for one side is no slip here: it is what shows the other."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (file, find):
            patch.setattr(module, "oddity", lambda *_: None)
        yield


TEXTS = st.text(st.characters(codec="utf-8"), max_size=40) | st.sampled_from(["", "a", "日本語", "é" * 9, "🙂🙂"])
PICTURE = {"url": "data:image/png;base64,iVBORw0KGgo=", "detail": "low"}
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "array", "items": {}}}}

PARTS = st.one_of(
    st.builds(lambda text: {"type": "text", "text": text}, TEXTS),
    st.just({"type": "image_url", "image_url": PICTURE}),
    st.builds(lambda text: {"type": "refusal", "refusal": text}, TEXTS),
)
CALLS = st.builds(
    lambda text: {"id": "c", "type": "function", "function": {"name": "look", "arguments": json.dumps({"q": text})}},
    TEXTS,
)
MESSAGES = st.one_of(
    st.builds(lambda role, text: {"role": role, "content": text}, st.sampled_from(["user", "system", "tool"]), TEXTS),
    st.builds(lambda parts: {"role": "user", "content": parts}, st.lists(PARTS, max_size=4)),
    st.builds(lambda text: {"role": "user", "content": text, "name": "ann"}, TEXTS),
    st.builds(lambda calls: {"role": "assistant", "content": None, "tool_calls": calls}, st.lists(CALLS, max_size=3)),
)
CHAT_TOOLS = st.builds(
    lambda text: {"type": "function", "function": {"name": "look", "description": text, "parameters": SCHEMA}}, TEXTS
)
CAPS = st.none() | st.integers(1, 60)
CHATS = st.builds(
    lambda messages, n, cap, old, tools, stream: {
        "model": MODEL, "messages": messages, "n": n, "max_completion_tokens": cap, "max_tokens": old, "tools": tools,
        "stream": stream,
    },
    st.lists(MESSAGES, min_size=1, max_size=5), st.none() | st.integers(1, 4), CAPS, CAPS,
    st.none() | st.lists(CHAT_TOOLS, max_size=2), st.booleans(),
)  # fmt: skip

ITEMS = st.one_of(
    TEXTS,
    st.builds(lambda text: {"type": "input_text", "text": text}, TEXTS),
    st.just({"type": "input_image", "image_url": PICTURE["url"]}),
    st.builds(lambda text: {"role": "user", "content": text}, TEXTS),
    st.builds(
        lambda texts: {
            "type": "message",
            "role": "user",
            "content": [{"type": "input_text", "text": t} for t in texts],
        },
        st.lists(TEXTS, max_size=3),
    ),
    st.builds(lambda text: {"type": "function_call", "call_id": "c", "name": "look", "arguments": text}, TEXTS),
    st.builds(lambda text: {"type": "function_call_output", "call_id": "c", "output": text}, TEXTS),
    st.just({"type": "shell_call_output", "output": [{"type": "input_image", "image_url": "x"}]}),
)
RESPONSE_TOOLS = st.builds(
    lambda text: {"type": "function", "name": "look", "description": text, "parameters": SCHEMA}, TEXTS
)
RESPONSES = st.builds(
    lambda given, instructions, cap, tools, stream: {
        "model": MODEL, "input": given, "instructions": instructions, "max_output_tokens": cap, "tools": tools,
        "stream": stream,
    },
    TEXTS | st.lists(ITEMS, max_size=5), st.none() | TEXTS, st.none() | st.integers(16, 60),
    st.none() | st.lists(RESPONSE_TOOLS, max_size=2), st.booleans(),
)  # fmt: skip

IDS = st.lists(st.integers(0, 9), min_size=1, max_size=5)
PROMPTS = TEXTS | IDS | st.lists(TEXTS, min_size=1, max_size=3) | st.lists(IDS, min_size=1, max_size=3)
COMPLETIONS = st.builds(
    lambda prompt, n, best, cap: {
        "model": "gpt-3.5-turbo-instruct", "prompt": prompt, "n": n, "best_of": best, "max_tokens": cap,
    },
    PROMPTS, st.none() | st.integers(1, 3), st.none() | st.integers(1, 3), CAPS,
)  # fmt: skip
EMBEDDINGS = st.builds(lambda given: {"model": "text-embedding-3-small", "input": given}, PROMPTS)

REQUESTS = st.one_of(
    st.tuples(st.just("/chat/completions"), CHATS),
    st.tuples(st.just("/responses"), RESPONSES),
    st.tuples(st.just("/completions"), COMPLETIONS),
    st.tuples(st.just("/embeddings"), EMBEDDINGS),
)


class Noting(MemoryStore):
    """A store that keeps what was held last."""

    held = 0

    def reserve(self, hold: Hold) -> Any:
        self.held = hold.amount
        return super().reserve(hold)


class Bench:
    """A guarded client of a fake provider, under a hard limit that is never reached."""

    def __init__(self, provider: FakeProvider, prices: PriceBook) -> None:
        self.provider = provider
        self.store = Noting()
        manager = BudgetManager("t", store=self.store, budgets=[Budget("one", 1_000_000)], prices=prices)
        self.client: openai.OpenAI = budgetguard.guard(provider.client(), manager)

    def send(self, path: str, body: Mapping[str, Any]) -> tuple[int, int]:
        """What was held for a request, and what it was billed."""
        before = len(self.provider.ledger)
        sent = {name: value for name, value in body.items() if value is not None}
        try:
            reply = self.client.post(
                path, body=sent, cast_to=object, stream=bool(sent.get("stream")), stream_cls=openai.Stream[object]
            )
            if sent.get("stream"):
                list(reply)
        except openai.BadRequestError:
            pass
        return self.store.held, sum(bill.amount for bill in self.provider.wait().ledger[before:])


@pytest.fixture(scope="module", params=["input", "output"])
def bench(request: pytest.FixtureRequest) -> Iterator[Bench]:
    """Where only input costs anything, and where only output does: neither can hide what the other lacks."""
    price = (1, 0) if request.param == "input" else (0, 1)
    both = {"input": SMALL, "output": SMALL, request.param: 1, "max_output": 16_384}
    with FakeProvider(tokens=50, reasoning=5, prices=dict.fromkeys(MODELS, price)) as provider:
        made = Bench(provider, PriceBook(overrides=dict.fromkeys(MODELS, both)))
        with made.client:
            yield made


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@example(("/completions", {"model": "gpt-3.5-turbo-instruct", "prompt": "hi"}))
@example(("/responses", {"model": MODEL, "input": ["a", "b", "c", "d", "e", "f", "g", "h"]}))
@example(("/responses", {"model": MODEL, "input": [{"type": "input_text", "text": "a"}] * 8}))
@example(("/embeddings", {"model": "text-embedding-3-small", "input": ["", "", ""]}))
@given(REQUESTS)
def test_no_bill_is_above_what_was_held(bench: Bench, asked: tuple[str, dict[str, Any]]) -> None:
    """Whatever is asked: texts of any script, pictures, tools, many answers, token ids, caps or none."""
    held, billed = bench.send(*asked)

    assert billed <= held


def exhaust(client: openai.OpenAI) -> None:
    """Ask until the budget refuses."""
    for _ in range(500):
        client.completions.create(model="gpt-3.5-turbo-instruct", prompt="hi", max_tokens=4)


@pytest.mark.parametrize("tokens", [1, 40, 900])
def test_a_hard_limit_holds_against_the_fake_provider(tokens: int) -> None:
    """Which is what it is for."""
    price = {"gpt-3.5-turbo-instruct": (1.5, 2)}
    with FakeProvider(tokens=tokens, prices=price) as provider, provider.client() as plain:
        manager = BudgetManager("t", store="memory://", budgets=[Budget("one", "0.0001")])
        client = budgetguard.guard(plain, manager)
        with pytest.raises(BudgetExceededError):
            exhaust(client)
        assert 0 < provider.billed <= 0.0001


MEDIA_MODELS = ("gpt-image-1", "gpt-4o-transcribe")


@pytest.mark.parametrize("text", ["a", "日本", "a longer prompt, of more words than one"])
@pytest.mark.parametrize("price", ["input", "output"])
def test_pictures_and_sounds_are_not_billed_above_what_was_held(price: str, text: str) -> None:
    """Those that are billed in tokens."""
    both = {"input": SMALL, "output": SMALL, price: 1}
    billed_at = (1, 0) if price == "input" else (0, 1)
    with FakeProvider(tokens=5, prices=dict.fromkeys(MEDIA_MODELS, billed_at)) as provider:
        bench = Bench(provider, PriceBook(overrides=dict.fromkeys(MEDIA_MODELS, both)))
        client = bench.client
        calls: list[Callable[[], Any]] = [
            lambda: client.images.generate(model="gpt-image-1", prompt=text, n=2),
            lambda: client.images.edit(model="gpt-image-1", prompt=text, image=b"png"),
            lambda: client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.mp3", b"x"), prompt=text),
            lambda: client.audio.transcriptions.create(model="gpt-4o-transcribe", file=("a.wav", b"x" * 40_000)),
        ]
        for call in calls:
            call()
            assert provider.wait().ledger[-1].amount <= bench.store.held
        client.close()
