"""What of a request is read and changed: bodies that nobody can read, deployments, operations that nobody knows."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, PriceBook, UnpricedModelError
from tests.support.in_memory import HI, HTTP, MODEL

RAW = json.dumps({"model": MODEL, "messages": HI}).encode()
REPLY = {
    "id": "c",
    "object": "chat.completion",
    "created": 1,
    "model": MODEL,
    "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}],
    "usage": {"prompt_tokens": 8, "completion_tokens": 5, "total_tokens": 13},
}


class Wire:
    """A transport that keeps what was sent."""

    def __init__(self) -> None:
        self.sent: list[bytes] = []
        self.http = HTTP.Client(transport=HTTP.MockTransport(self._serve))
        self.client = openai.OpenAI(api_key="-", max_retries=0, http_client=self.http)

    def _serve(self, request: Any) -> Any:
        self.sent.append(request.read())
        return HTTP.Response(200, json=REPLY)


@pytest.fixture
def wire() -> Iterator[Wire]:
    made = Wire()
    with made.http:
        yield made


def patched(limit: float, **models: Any) -> BudgetManager:
    """Everybody's hard budget."""
    prices = PriceBook()
    for model, price in models.items():
        prices.add("*" if model == "every" else model, **price)
    manager = BudgetManager("requests", store="memory://", prices=prices, budgets=[Budget("one", limit)])
    budgetguard.patch(manager)
    return manager


# -- bodies that cannot be read ----------------------------------------------------------------------------------------

UNREADABLE: list[tuple[Callable[[], Any], bytes]] = [
    (lambda: iter([RAW[:9], RAW[9:]]), RAW),
    (lambda: io.BytesIO(RAW), RAW),
    (lambda: b"no json", b"no json"),
    (lambda: b"[1]", b"[1]"),
    (lambda: b"[" * 100_000, b"[" * 100_000),
    (lambda: b"\xff\xfe\x00", b"\xff\xfe\x00"),
]


@pytest.mark.parametrize(("make", "wanted"), UNREADABLE)
def test_a_body_that_cannot_be_read_is_sent_as_it_is(wire, make, wanted):
    """Byte for byte: nothing of it is known, so nothing of it is changed."""
    manager = patched(5, every={"input": 1, "output": 1})

    wire.client.post("/chat/completions", content=make(), cast_to=object)

    assert wire.sent == [wanted]
    assert [entry.cost for entry in manager.store.entries()] == [13_000]


@pytest.mark.parametrize(("make", "wanted"), UNREADABLE)
def test_a_body_that_cannot_be_read_is_held_at_the_most(wire, make, wanted):
    """A context of 1,050,000 tokens and an answer of 8,192, at a dollar a million: $1.058192."""
    patched(1.05, every={"input": 1, "output": 1})

    with pytest.raises(BudgetExceededError, match=r"\$1\.058192.*no JSON that can be read.*send it as a JSON object"):
        wire.client.post("/chat/completions", content=make(), cast_to=object)

    assert wire.sent == []


def test_a_body_that_cannot_be_read_has_a_price_only_if_every_model_has(wire):
    """Its model is not known."""
    patched(5)

    with pytest.raises(UnpricedModelError, match="no JSON object that can be read"):
        wire.client.post("/chat/completions", content=iter([RAW]), cast_to=object)

    assert wire.sent == []


def test_a_body_of_bytes_that_can_be_read_is_amended(wire):
    """It is a request like any other."""
    patched(5)

    wire.client.post("/chat/completions", content=RAW, cast_to=object)

    assert json.loads(wire.sent[0]) == {"model": MODEL, "messages": HI, "max_completion_tokens": 16_384}


# -- deployments -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("deployment", "model", "held"),
    [
        ("dear", "cheap", 1_000_000),
        ("cheap", "dear", 1_000_000),
        ("prod", "dear", 1_000_000),
        ("dear", "prod", 1_000_000),
    ],
)
def test_the_dearer_of_a_deployment_and_the_model_in_the_body_is_held(wire, deployment, model, held):
    """The deployment answers, and its name may be any; 100 tokens at 10,000 nano-dollars are a million."""
    manager = patched(0.000_9, dear={"input": 0, "output": 10}, cheap={"input": 0, "output": 1})
    azure = openai.AzureOpenAI(
        api_key="-",
        azure_endpoint="https://corp.openai.azure.com",
        azure_deployment=deployment,
        api_version="2025-04-01-preview",
        http_client=wire.http,
    )

    with pytest.raises(BudgetExceededError) as no:
        azure.chat.completions.create(model=model, messages=HI, max_tokens=100)

    assert no.value.projected is not None
    assert no.value.projected.nano == held
    assert list(manager.store.entries()) == []


# -- operations that nobody knows --------------------------------------------------------------------------------------


def told(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if "is no operation" in record.getMessage()]


def test_an_operation_that_nobody_knows_passes_aloud(wire, caplog):
    """Once a path: it may cost something, and no budget hears of it."""
    patched(5)
    with caplog.at_level(logging.WARNING, "budgetguard"):
        for path in ("/rerank", "/rerank?x=1", "/rerank", "/ocr"):
            wire.client.post(path, body={"model": MODEL}, cast_to=object)

    assert [text.split(" is ")[0] for text in told(caplog)] == ["POST /rerank", "POST /ocr"]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("post", "/files"),
        ("post", "/v1/uploads/u1/parts"),
        ("post", "/moderations"),
        ("post", "/conversations"),
        ("post", "/vector_stores/v1/files"),
        ("post", "/chat/completions/c1"),
        ("post", "/audio/voice_consents"),
        ("post", "https://api.openai.com/v1/organization/invites"),
        ("get", "/rerank"),
        ("delete", "/anything"),
    ],
)
def test_what_is_known_to_be_free_passes_without_a_word(wire, caplog, method, path):
    """Nobody is to be told of every file."""
    patched(5)
    with caplog.at_level(logging.WARNING, "budgetguard"):
        getattr(wire.client, method)(path, cast_to=object)

    assert told(caplog) == []


def test_nothing_is_said_where_nothing_is_counted(wire, caplog):
    """A process without budgets has not asked."""
    budgetguard.guard(wire.client)
    with caplog.at_level(logging.WARNING, "budgetguard"):
        wire.client.post("/classify", body={}, cast_to=object)

    assert told(caplog) == []
