"""Requests and replies of Cohere, Mistral and Ollama as plain data: what is read of them, and that nothing raises."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from budgetguard.adapters.cohere import DIALECT as COHERE
from budgetguard.adapters.mistral import DIALECT as MISTRAL
from budgetguard.adapters.ollama import DIALECT as OLLAMA
from budgetguard.calls import UNKNOWN_HOST, Endpoint
from budgetguard.sdks.built.requests import Content
from budgetguard.sdks.floor.families import candidates, may_cost, operation

OPERATIONS = [
    (COHERE, "/v2/chat"),
    (COHERE, "/v1/chat"),
    (COHERE, "/v1/generate"),
    (COHERE, "/v2/embed"),
    (COHERE, "/v2/rerank"),
    (COHERE, "/v1/classify"),
    (MISTRAL, "/v1/conversations"),
    (MISTRAL, "/v1/conversations/conv_1"),
    (MISTRAL, "/v1/ocr"),
    (MISTRAL, "/v1/batch/jobs"),
    (OLLAMA, "/api/chat"),
    (OLLAMA, "/api/generate"),
    (OLLAMA, "/api/embed"),
]
FIELDS = (
    *("model", "messages", "message", "inputs", "input", "prompt", "query", "documents", "document", "tools", "texts"),
    *(
        "options",
        "completion_args",
        "max_tokens",
        "stream",
        "usage",
        "meta",
        "usage_info",
        "outputs",
        "content",
        "text",
    ),
    *(
        "type",
        "event_type",
        "delta",
        "response",
        "done",
        "error",
        "pages",
        "images",
        "thinking",
        "agent_id",
        "chat_history",
    ),
)
ODD: list[Any] = [
    None,
    0,
    -1,
    1.5,
    "",
    "text",
    True,
    [],
    [None],
    [[]],
    [{}],
    {},
    {"type": 1},
    {"content": [None]},
    object(),
]


def found(dialect: Any, path: str) -> Endpoint:
    endpoint = dialect.find("POST", path)
    assert endpoint is not None
    return endpoint


def call(dialect: Any, path: str, **body: Any) -> Any:
    request = found(dialect, path).request
    assert request is not None
    return request(body, (), UNKNOWN_HOST)


@pytest.mark.parametrize(("dialect", "path"), OPERATIONS)
def test_nothing_that_is_odd_makes_a_reader_raise(dialect: Any, path: str) -> None:
    """After the answer nothing of ours may raise, and before it the API itself refuses what makes no sense."""
    endpoint = found(dialect, path)
    for value in ODD:
        for said in (value, dict.fromkeys(FIELDS, value), {"usage": {"billed_units": value}, "message": value}):
            if isinstance(said, dict):
                assert endpoint.request is not None
                endpoint.request(said, (), UNKNOWN_HOST)
            if endpoint.answer is not None:
                endpoint.answer(said)
            if endpoint.listener is not None:
                listener = endpoint.listener()
                listener.hear(said)
                listener.hear({"type": "message-end", "delta": said})
                listener.end()


def test_a_cap_is_added_where_each_api_has_it() -> None:
    """Beside what the caller said there, whose own body stays."""
    for dialect, path, name in ((OLLAMA, "/api/chat", "options"), (MISTRAL, "/v1/conversations", "completion_args")):
        body = {"model": "m", name: {"temperature": 0}}
        amend = found(dialect, path).amend
        assert amend is not None
        assert amend(body, 9, False, UNKNOWN_HOST)[name] in (
            {"temperature": 0, "num_predict": 9},
            {"temperature": 0, "max_tokens": 9},
        )
        assert body[name] == {"temperature": 0}


def test_what_is_stored_has_the_models_context_for_its_bound() -> None:
    """An agent's instructions, and what was said before, are billed and not shown."""
    assert call(MISTRAL, "/v1/conversations", agent_id="ag_1", inputs="hi").unknown_input
    assert call(MISTRAL, "/v1/conversations/conv_1", inputs="hi").unknown_input
    assert call(MISTRAL, "/v1/conversations", model="m", inputs="hi", tools=[{"type": "web_search"}]).unknown_input
    assert not call(MISTRAL, "/v1/conversations", model="m", inputs="hi", tools=[{"type": "function"}]).unknown_input
    assert call(COHERE, "/v1/chat", message="hi", connectors=[{"id": "web-search"}]).unknown_input
    assert not call(COHERE, "/v1/chat", message="hi").unknown_input


def test_pages_are_bounded() -> None:
    """By those that are named, a picture's one, or as many as one document may have."""

    def pages(**body: Any) -> int:
        return int(call(MISTRAL, "/v1/ocr", model="m", **body).fixed["input_document_pages"])

    assert pages(document={"document_url": "https://a.place/b.pdf"}, pages=[3, 4]) == 2
    assert pages(document={"image_url": "https://a.place/b.png"}) == 1
    assert pages(document={"document_url": "https://a.place/b.pdf"}) == 1_000


def test_a_search_is_bounded_by_the_pieces_that_long_documents_count_as() -> None:
    """A document of more than 500 tokens counts as several, and a search has a hundred."""

    def units(*documents: str) -> int:
        return int(
            call(COHERE, "/v2/rerank", model="m", query="hi", documents=list(documents)).fixed["rerank_searches"]
        )

    assert units(*["short"] * 100) == 1
    assert units(*["short"] * 101) == 2
    assert units("long " * 11_000) == 2


def test_a_search_by_a_newer_model_is_billed_by_the_token() -> None:
    """Each document is read with the query: an embedding's reader, or that of searches, would hold nothing of it."""
    asked = call(COHERE, "/v2/rerank", model="rerank-v5.0-fast", query="hi", documents=["a" * 30] * 3)
    assert not asked.fixed
    assert sum(map(len, asked.texts)) == 3 * 32


def test_only_what_is_billed_counts() -> None:
    """Cohere reads more than it charges for; where it says no bill, what it read counts."""
    answer = found(COHERE, "/v2/chat").answer
    assert answer is not None
    read = {"input_tokens": 70.0, "output_tokens": 9.0}
    units = {"input_tokens": 10.0, "output_tokens": 9.0}
    said = {"message": {"content": [{"type": "text", "text": "hi"}]}, "usage": {"tokens": read, "billed_units": units}}
    assert answer(said).usage == {"input_tokens": 10, "output_tokens": 9}
    assert answer({**said, "usage": {"tokens": read}}).usage == {"input_tokens": 70, "output_tokens": 9}


@pytest.mark.parametrize(
    ("host", "path", "body", "name"),
    [
        ("api.openai.com", "/v1/realtime/sessions", {}, "beta.realtime.sessions"),
        ("api.anthropic.com", "/v1/sessions", {}, "beta.sessions"),
        ("api.mistral.ai", "/v1/agents/completions", {}, "agents.completions"),
        ("api.mistral.ai", "/v1/conversations", {}, "beta.conversations"),
        ("api.openai.com", "/v1/conversations", {}, None),
        ("api.cohere.com", "/compatibility/v1/chat/completions", {}, "chat.completions"),
        ("bucket.s3.amazonaws.com", "/v1/responses", {}, None),
        ("a.resource.openai.azure.com", "/openai/deployments/d/chat/completions", {}, "chat.completions"),
        ("a.gateway", "/v1/chat/completions", {"messages": []}, "chat.completions"),
        ("a.gateway", "/v1/chat/completions", {"to": "ann"}, None),
        ("a.gateway", "/v1/embeddings", {"model": "m", "input": "hi"}, "embeddings"),
        ("a.gateway", "/api/embeddings", {"model": "m", "prompt": "hi"}, "embeddings"),
        ("a.gateway", "/api/chat", {"message": "hi"}, None),
        ("a.gateway", "/v1/messages", {"model": "m", "messages": [], "max_tokens": 9}, "messages"),
        ("a.gateway", "/v1/files", {"purpose": "batch"}, None),
        ("127.0.0.1", "/v1/files", {"purpose": "batch"}, "files"),
        ("a.service", "/v1/chat", {"message": "hi"}, None),
        ("api.cohere.com", "/v1/chat", {"message": "hi"}, "chat"),
    ],
)
def test_a_request_is_known_by_its_path_and_by_its_host_or_body(
    host: str, path: str, body: dict[str, Any], name: str | None
) -> None:
    """Two APIs may have the same path, and so may a service that has nothing to do with models."""
    asked = operation(candidates("POST", path), httpx.Request("POST", f"http://{host}{path}"), Content(body))
    assert (None if asked is None else asked[1].name) == name


def test_what_providers_have_beside_models_is_not_said_to_cost_anything() -> None:
    """A warning that is wrong hides the one that is right."""
    assert may_cost("POST", "api.openai.com", "/v1/something")
    assert may_cost("POST", "api.cohere.com", "/v3/something")
    assert not may_cost("POST", "api.cohere.com", "/v1/tokenize")
    assert not may_cost("POST", "api.mistral.ai", "/v1/libraries")
    assert not may_cost("POST", "api.anthropic.com", "/v1/skills")
    assert not may_cost("GET", "api.openai.com", "/v1/something")
    assert not may_cost("POST", "storage.googleapis.com", "/v1/something")
    assert not may_cost("POST", "bucket.s3.amazonaws.com", "/v1/something")


def test_a_bill_of_coheres_below_nothing_is_none():
    """It was taken for one of $0; an answer without a bill costs what was held."""
    from budgetguard.adapters.cohere import replies

    for units in ({"input_tokens": -5, "output_tokens": -5}, {"input_tokens": 0, "output_tokens": -5}):
        assert replies._counts({"usage": {"billed_units": units}}) is None
    assert replies._counts({"usage": {"billed_units": {"input_tokens": 5, "output_tokens": 7}}}) == {
        "input_tokens": 5,
        "output_tokens": 7,
    }
