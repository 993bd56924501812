"""
What a host understands, and what becomes of a call whose host refuses what we added.

A program that works without a guard works with one: a field that only we sent is taken back, once, and remembered.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import openai
import pytest

import budgetguard
from budgetguard import BudgetExceededError, BudgetManager, PriceBook
from budgetguard.adapters import openai as adapter
from budgetguard.prices.hosts import host_of
from tests.support.in_memory import HTTP, client_of
from tests.support.sdk_shapes import plain, run, streamed, wait

GATEWAY = "https://llm.example.com/v1"
HI = [{"role": "user", "content": "hello"}]
MODEL = "m"
INPUT, OUTPUT, LONGEST = 1_000, 10_000, 4_000
"""Of the model `m`: nano-dollars a token, and the most tokens that it writes."""

# -- the table ---------------------------------------------------------------------------------------------------------


def test_every_row_has_a_source_and_a_date():
    """A fact that nobody can look up again is none."""
    table = tomllib.loads((Path(budgetguard.__file__).parent / "prices/data/hosts.toml").read_text())
    rows = [*table["hosts"].values(), *table["models"], table["ports"]]

    assert all(row["source"] and row["date"].year >= 2026 for row in rows)


@pytest.mark.parametrize(
    ("host", "model", "name"),
    [
        ("api.openai.com", "gpt-4o", "max_completion_tokens"),
        ("eu.api.openai.com", "gpt-4o", "max_completion_tokens"),
        ("API.OpenAI.com", "gpt-5", "max_completion_tokens"),
        ("x.openai.azure.com", "my-deployment", "max_completion_tokens"),
        ("llm.example.com", "gpt-5-mini", "max_completion_tokens"),
        ("llm.example.com", "openai/gpt-5-mini", "max_completion_tokens"),
        ("llm.example.com", "openrouter/openai/o3", "max_completion_tokens"),
        ("llm.example.com", "ft:o4-mini-2025-04-16:org::1", "max_completion_tokens"),
        ("llm.example.com", "azure/gpt-5.2-chat", "max_completion_tokens"),
        ("llm.example.com", "gpt5", "max_completion_tokens"),
        ("openrouter.ai", "openai/o1-pro", "max_completion_tokens"),
        ("127.0.0.1", "gpt-6", "max_completion_tokens"),
        ("llm.example.com", "gpt-4o", "max_tokens"),
        ("llm.example.com", "gpt-oss-120b", "max_tokens"),
        ("llm.example.com", "openai/gpt-oss-20b", "max_tokens"),
        ("llm.example.com", "claude-opus-4", "max_tokens"),
        ("llm.example.com", "marco-o1", "max_tokens"),
        ("llm.example.com", "", "max_tokens"),
        ("openrouter.ai", "deepseek/deepseek-r1", "max_tokens"),
        ("localhost", "llama3", "max_tokens"),
        ("api.mistral.ai", "mistral-large-latest", "max_tokens"),
        ("x.services.ai.azure.com", "Mistral-Large-2411", "max_tokens"),
        ("notapi.openai.com.example", "gpt-4o", "max_tokens"),
    ],
)
def test_the_cap_of_a_chat_has_the_name_that_model_and_host_understand(host, model, name):
    """OpenAI's younger models refuse the old name wherever they are served; other servers do not know the new one."""
    chat = adapter.find("POST", "/chat/completions")
    assert chat is not None
    assert adapter.cap_field(chat, host_of(host, model=model)) == name


@pytest.mark.parametrize(
    ("version", "model", "name", "usage"),
    [
        ("2024-02-01", "gpt-4o", "max_tokens", False),
        ("2024-08-01-preview", "my-deployment", "max_tokens", False),
        ("2024-08-01-preview", "o3-mini", "max_completion_tokens", False),
        ("2024-09-01-preview", "gpt-4o", "max_completion_tokens", True),
        ("2025-04-01-preview", "gpt-4o", "max_completion_tokens", True),
        ("preview", "gpt-4o", "max_completion_tokens", True),
        (None, "gpt-4o", "max_completion_tokens", True),
    ],
)
@pytest.mark.parametrize(("host", "azure"), [("x.openai.azure.com", False), ("corp.azure-api.net", True)])
def test_old_versions_of_azures_api_know_the_old_fields_only(host, azure, version, model, name, usage):
    """Also behind a gateway of one's own."""
    known = host_of(host, version, None, model, azure)
    assert (known.cap, known.usage) == (name, usage)


@pytest.mark.parametrize(
    ("host", "port", "asked"),
    [
        ("api.openai.com", None, True),
        ("api.groq.com", None, True),
        ("llm.example.com", None, True),
        ("10.0.0.7", 11434, True),
        ("localhost", 11434, True),
        ("127.0.0.1", 8000, True),
        ("localhost", 53211, False),
        ("127.0.0.1", 53211, False),
        ("api.mistral.ai", None, False),
        ("adb-1.azuredatabricks.net", None, False),
        ("dbc-1.cloud.databricks.com", None, False),
    ],
)
def test_usage_is_asked_for_unless_a_host_is_known_not_to_understand(host, port, asked):
    """Most understand it today; a server at an odd port of this machine may be a test's double."""
    assert host_of(host, port=port).usage is asked


@pytest.mark.parametrize(
    ("host", "stops"),
    [
        ("api.openai.com", True),
        ("x.openai.azure.com", True),
        ("api.deepseek.com", True),
        ("openrouter.ai", False),
        ("api.groq.com", False),
        ("generativelanguage.googleapis.com", False),
        ("llm.example.com", False),
        ("localhost", False),
    ],
)
def test_a_host_stops_billing_only_where_that_is_known(host, stops):
    """Else a stream that was left may go on being written, and billed, to its end."""
    assert host_of(host).stops is stops


@pytest.mark.parametrize(
    ("host", "cap"),
    [("api.openai.com", 16), ("x.openai.azure.com", 16), ("llm.example.com", None), ("localhost", None)],
)
def test_the_default_cap_of_completions_is_the_hosts_own(host, cap):
    """llama.cpp's server writes on to the end of its context."""
    completions = adapter.find("POST", "/completions")
    assert completions is not None
    assert completions.request is not None
    assert completions.request({"model": "m", "prompt": "a"}, (), host_of(host)).default_output == cap


# -- refusals ----------------------------------------------------------------------------------------------------------


class Endpoint:
    """Answers what it is asked, unless `refuse` has something against the body; writes as much as it may."""

    def __init__(self, refuse: Callable[[dict[str, Any]], Any] = lambda _: None, tokens: int = 20) -> None:
        self.bodies: list[dict[str, Any]] = []
        self._refuse = refuse
        self._tokens = tokens

    def answer(self, request: Any) -> Any:
        body = json.loads(request.content)
        self.bodies.append(body)
        refused = self._refuse(body)
        if refused is not None:
            status, error = refused
            return HTTP.Response(status, json=error)
        caps = [body[name] for name in ("max_tokens", "max_completion_tokens") if name in body]
        made = min([self._tokens, *caps])
        usage = {"prompt_tokens": 10, "completion_tokens": made, "total_tokens": 10 + made}
        if body.get("stream"):
            return HTTP.Response(200, headers={"content-type": "text/event-stream"}, content=_events(body, usage))
        message = {"role": "assistant", "content": "{}"}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        reply = {"id": "c", "object": "chat.completion", "created": 1, "model": MODEL}
        return HTTP.Response(200, json={**reply, "choices": [choice], "usage": usage})

    @property
    def ours(self) -> list[set[str]]:
        """The fields of each request that were not the caller's."""
        return [set(body) - {"model", "messages", "stream", "temperature", "response_format"} for body in self.bodies]


def _events(body: dict[str, Any], usage: dict[str, int]) -> bytes:
    chunk = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": MODEL}
    chunks: list[dict[str, Any]] = [
        {**chunk, "choices": [{"index": 0, "delta": {"content": "word"}, "finish_reason": None}]},
        {**chunk, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks.append({**chunk, "choices": [], "usage": usage})
    return b"".join(f"data: {json.dumps(one)}\n\n".encode() for one in chunks) + b"data: [DONE]\n\n"


def without(*fields: str, status: int = 400, message: str = "Unsupported parameter: '{}' is not supported") -> Any:
    """A host that does not take these fields."""

    def refuse(body: dict[str, Any]) -> Any:
        met = [field for field in fields if field in body]
        return (status, {"error": {"message": message.format(*met), "code": None}}) if met else None

    return refuse


@pytest.fixture
def books() -> Iterator[BudgetManager]:
    yield from _books("5")


def _books(limit: str) -> Iterator[BudgetManager]:
    prices = PriceBook()
    prices.add(MODEL, input=1, output=10, max_output=LONGEST)
    manager = BudgetManager("hosts", store="memory://", prices=prices)
    manager.create_budget(limit, "ann")
    budgetguard.patch(manager)
    with budgetguard.budget(user="ann"):
        yield manager
    assert manager.store.holds() == []


@pytest.fixture
def ask(loop: Any) -> Callable[..., Any]:
    """Make a chat call at an endpoint, in one of several ways, and read its answer to the end."""

    def call(endpoint: Endpoint, way: str = "plain", base_url: str = GATEWAY, **more: Any) -> Any:
        client = client_of(endpoint.answer, loop is not None, base_url=base_url)
        return run(_ways[way](client, {"model": MODEL, "messages": HI, **more}), loop)

    return call


async def _raw(client: Any, body: dict[str, Any]) -> Any:
    raw = await wait(client.chat.completions.with_raw_response.create(**body))
    assert raw.retries_taken == 0
    return raw.parse()


async def _parsed(client: Any, body: dict[str, Any]) -> Any:
    return await wait(client.chat.completions.parse(**body, response_format={"type": "json_object"}))


_ways = {"plain": plain, "raw": _raw, "parsed": _parsed, "stream": streamed}


def entries(manager: BudgetManager) -> list[Any]:
    return list(manager.store.entries())


@pytest.mark.parametrize("way", _ways)
def test_a_cap_that_is_refused_is_sent_under_its_other_name(books, ask, way):
    """Once: the second call knows."""
    endpoint = Endpoint(without("max_tokens"))

    ask(endpoint, way)
    ask(endpoint, way)

    capped = [fields & {"max_tokens", "max_completion_tokens"} for fields in endpoint.ours]
    assert capped == [{"max_tokens"}, {"max_completion_tokens"}, {"max_completion_tokens"}]
    assert [entry.cost for entry in entries(books)] == [10 * INPUT + 20 * OUTPUT] * 2


@pytest.mark.parametrize("way", _ways)
def test_a_host_that_refuses_both_names_gets_neither(books, ask, way):
    """There is no cap then: the most that the model writes is held."""
    endpoint = Endpoint(without("max_tokens", "max_completion_tokens"))

    ask(endpoint, way)
    ask(endpoint, way)

    capped = [bool(fields & {"max_tokens", "max_completion_tokens"}) for fields in endpoint.ours]
    assert capped == [True, True, False, False]
    assert [entry.flags for entry in entries(books)] == [frozenset()] * 2


def test_without_a_cap_a_hard_budget_refuses_what_the_model_might_write(ask):
    """4,000 tokens at 10,000 nano-dollars are $0.04; with a cap, $0.02 had room. The error says what to do."""
    for books in _books("0.02"):
        endpoint = Endpoint(without("max_tokens", "max_completion_tokens"))
        for _ in range(2):
            with pytest.raises(BudgetExceededError, match=r"llm\.example\.com refuses the output cap") as no:
                ask(endpoint)

        assert "state a cap that it understands, or make the budget soft" in str(no.value)
        assert len(endpoint.bodies) == 2  # the second call knows
        assert entries(books) == []


@pytest.mark.parametrize("status", [400, 404, 422, 500])
def test_usage_that_may_not_be_asked_for_is_not(books, ask, status):
    """The stream is then counted by what arrives; the host is asked no more."""
    endpoint = Endpoint(without("stream_options", status=status, message="{}: Extra inputs are not permitted"))

    for _ in range(2):
        assert len(ask(endpoint, "stream")) == 2

    assert ["stream_options" in fields for fields in endpoint.ours] == [True, False, False]
    assert ["estimated" in entry.flags for entry in entries(books)] == [True, True]


def test_what_was_only_asked_for_by_us_does_not_reach_the_caller(books, ask):
    """At a host of which nothing is known as at OpenAI's own."""
    items = ask(Endpoint(), "stream")

    assert [item.usage for item in items] == [None, None]
    assert all("usage" not in item.model_fields_set for item in items)
    assert entries(books)[0].cost == 10 * INPUT + 20 * OUTPUT


def test_a_cap_above_what_the_host_allows_is_left_out_and_a_lower_one_is_not(books, ask):
    """A server that was started with less room than its model has."""

    def refuse(body: dict[str, Any]) -> Any:
        if body.get("max_tokens", 0) > 1_000:
            return 400, {"error": {"message": f"'max_tokens' is too large: {body['max_tokens']}. At most 1000."}}
        return None

    endpoint = Endpoint(refuse)
    ask(endpoint)
    ask(endpoint)
    with budgetguard.budget(limit="0.005"):
        ask(endpoint)

    caps = [body.get("max_tokens") for body in endpoint.bodies]
    assert caps[:3] == [LONGEST, None, None]
    assert 0 < caps[3] < 1_000


# -- the caller's own errors -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", _ways)
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"message": "Unsupported parameter: 'temperature' is not supported with this model."}),
        (400, {"message": "Invalid value.", "param": "messages"}),
        (400, {"message": "The content was flagged."}),
        (401, {"message": "Unknown key."}),
        (404, {"message": "The model `m` does not exist"}),
        (429, {"message": "max_tokens per minute"}),
        (500, {"message": "unexpected"}),
    ],
)
def test_an_error_about_something_else_comes_back_at_once(books, ask, way, status, error):
    """A bad request is the caller's to mend, and is not sent twice for nothing."""
    endpoint = Endpoint(lambda _: (status, {"error": error}))

    with pytest.raises(openai.APIStatusError) as no:
        ask(endpoint, way, temperature=1)

    assert error["message"] in str(no.value)
    assert len(endpoint.bodies) == 1
    assert entries(books) == []


def test_an_error_that_names_no_field_is_tried_once_without_ours(books, ask):
    """At a host that may have meant them; if not, the error is the caller's, and the host is doubted no more."""
    endpoint = Endpoint(lambda _: (422, {"error": {"message": f"validation failed ({len(endpoint.bodies)})"}}))

    for told in (2, 3):
        with pytest.raises(openai.UnprocessableEntityError, match=rf"validation failed \({told}\)"):
            ask(endpoint)

    assert [bool(fields) for fields in endpoint.ours] == [True, False, True]


def test_a_host_that_took_our_fields_is_not_doubted(books, ask):
    """The next error of that kind is the caller's."""
    endpoint = Endpoint(lambda body: (400, {"error": {"message": "Bad request"}}) if "temperature" in body else None)
    ask(endpoint)

    with pytest.raises(openai.BadRequestError):
        ask(endpoint, temperature=9)

    assert len(endpoint.bodies) == 2


def test_what_the_caller_stated_is_never_taken_back(books, ask):
    """It is the caller's own field, so it is the caller's own error."""
    endpoint = Endpoint(without("max_tokens"))

    with pytest.raises(openai.BadRequestError):
        ask(endpoint, max_tokens=7)

    assert len(endpoint.bodies) == 1


def test_the_callers_objects_are_as_they_were(books, ask):
    """Also those of a call that was sent twice."""
    options = {"include_obfuscation": False}
    endpoint = Endpoint(without("max_tokens", "max_completion_tokens", "stream_options"))

    with pytest.raises(openai.BadRequestError, match="stream_options"):
        ask(endpoint, "stream", stream_options=options)

    assert options == {"include_obfuscation": False}
    assert endpoint.bodies[-1]["stream_options"] == options
