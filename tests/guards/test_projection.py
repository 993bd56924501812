"""The most that a call can cost: hosted tools and their turns, other models that may answer, the margin of a count."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, PriceBook, UnpricedModelError
from budgetguard.adapters.openai.requests import chat, completions, responses
from budgetguard.calls import Call, Tools
from budgetguard.guards.costs.projection import Projection
from budgetguard.prices.hosts import host_of
from tests.support.in_memory import HTTP, client_of

OPENAI = host_of("api.openai.com")
DOLLAR = 10**9
SEARCH = {"type": "web_search"}


def respond(**body: Any) -> Call:
    return responses({"model": "gpt-4o-mini", "input": "hi", **body}, (), OPENAI)


def ask(**body: Any) -> Call:
    return chat({"model": "gpt-4o-mini", "messages": [], **body})


def project(call: Call, provider: str = "openai", *, sure: bool = True, prices: PriceBook | None = None) -> Projection:
    prices = prices or PriceBook()
    return Projection(
        call,
        prices.quote(provider, call.model),
        prices,
        provider=provider,
        output_guess=8_192,
        context_guess=1_050_000,
        sure=sure,
        others=[prices.quote(provider, model) for model in call.others],
    )


class Provider:
    """OpenAI's API in memory: it answers in the way of each operation, and keeps what was asked."""

    def __init__(self, base_url: str = "https://api.openai.com/v1") -> None:
        self.bodies: list[dict[str, Any]] = []
        self.usage: dict[str, Any] = {"input_tokens": 10, "output_tokens": 5, "total_tokens": 15}
        self.client = client_of(self.answer, base_url=base_url)

    def answer(self, request: Any) -> Any:
        body = json.loads(request.content)
        self.bodies.append(body)
        model = body.get("model", "gpt-4o-mini")
        if "responses" in str(request.url):
            reply = {"id": "r", "object": "response", "model": model, "status": "completed", "output": []}
            return HTTP.Response(200, json={**reply, "usage": self.usage})
        counts = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "hi"}}
        reply = {"id": "c", "object": "chat.completion", "created": 1, "model": model, "choices": [choice]}
        return HTTP.Response(200, json={**reply, "usage": counts})


@contextmanager
def books(limit: float, enforce: Any = "hard") -> Iterator[BudgetManager]:
    manager = BudgetManager("projection", store="memory://", budgets=[Budget("all", limit, enforce=enforce)])
    budgetguard.patch(manager)
    try:
        yield manager
        assert manager.store.holds() == []
    finally:
        budgetguard.unpatch()
        manager.close()


# -- hosted tools ----------------------------------------------------------------------------------------------------


def test_each_call_of_a_hosted_tool_reads_the_context_once_more() -> None:
    """
    gpt-4o-mini: 128,000 tokens of context at $0.15, a search is $0.01.

    "hi", the tool and their frames are 57 tokens; three searches read the context three times: 384,057 tokens,
    $0.05760855, and $0.03; 100 tokens of output $0.00006.
    """
    call = respond(tools=[SEARCH], max_tool_calls=3, max_output_tokens=100)
    standard = PriceBook(auto_tier=())
    assert project(call, prices=standard).wish(hard=True).amount == 57_608_550 + 30_000_000 + 60_000
    assert project(respond(max_output_tokens=100), prices=standard).wish(hard=True).amount == 2_700 + 60_000


def test_pictures_need_not_be_inside_the_context() -> None:
    """
    gpt-4o-mini: a picture is up to 48,169 tokens, of 128,000 that it reads in all at $0.15 a million.

    Sixty beside a text that fills it are 3,018,140; with two calls of a tool it is read three times. gpt-4o bills what
    it reads, up to 1,445 for one: sixty and the frame are inside its 128,000 at $2.50, and a hundred are 144,500.
    """
    standard = PriceBook(auto_tier=())
    stored = Call(model="gpt-4o-mini", images=60, unknown_input=True, output=False)
    assert project(stored).input_tokens == 128_000 + 60 * 48_169 == 3_018_140
    assert project(stored, prices=standard).wish(hard=True).amount == 3_018_140 * 150
    assert project(stored._replace(tools=Tools(2)), prices=standard).wish(hard=True).amount == 3 * 3_018_140 * 150
    assert project(stored._replace(images=0)).input_tokens == 128_000
    assert project(stored._replace(model="gpt-4o"), prices=standard).wish(hard=True).amount == 128_000 * 2_500
    assert (
        project(stored._replace(model="gpt-4o", images=100), prices=standard).wish(hard=True).amount == 144_500 * 2_500
    )
    assert project(stored._replace(model="gpt-4o", images=100, texts=["hi"])).input_tokens == 144_502
    shown = stored._replace(unknown_input=False, overhead=5)
    assert project(shown).input_tokens == 5 + 60 * 48_169
    dearer = project(stored._replace(model="gpt-4o", others=("gpt-4o-mini",)), prices=standard)
    assert dearer.wish(hard=True).amount == 3_018_140 * 150


def test_what_is_assumed_of_hosted_tools_without_a_bound() -> None:
    """The calls of all tools together; pictures are dear and few, research takes many."""
    mcp = {"type": "mcp", "server_label": "s"}
    picture = {"type": "image_generation", "model": "gpt-image-1", "quality": "low", "size": "1024x1024"}
    new = {"type": "tool_of_next_year"}
    assert respond(tools=[SEARCH]).tools == (10, {"web_searches": 1}, (), "max_tool_calls")
    assert respond(tools=[{"type": "web_search_preview"}], max_tool_calls=2).tools == (2, {"web_searches": 1}, (), None)
    assert respond(tools=[{"type": "file_search"}]).tools == (10, {"storage_searches": 1}, (), "max_tool_calls")
    assert respond(tools=[mcp]).tools == respond(tools=[new]).tools == (10, {}, (), "max_tool_calls")
    research = respond(model="o3-deep-research", tools=[SEARCH]).tools
    assert research is not None
    assert research.calls == 100
    painted = respond(tools=[{**picture, "partial_images": 1}]).tools
    assert painted is not None
    ((model, usage),) = painted.also
    assert (painted.calls, model, usage["output_image_tokens"]) == (3, "gpt-image-1", 372)


@pytest.mark.parametrize("kind", ["function", "custom", "local_shell", "apply_patch", "computer", "namespace"])
def test_tools_that_the_caller_runs_are_not_hosted(kind: str) -> None:
    """Their results come with the next request, and are counted there."""
    assert respond(tools=[{"type": kind, "name": "f"}]).tools is None
    assert not ask(tools=[{"type": kind, "function": {"name": "f"}}]).unknown_input
    assert respond(tools=[{"type": "shell", "environment": {"type": "local"}}]).tools is None


def test_a_stored_prompt_may_have_tools() -> None:
    """Its template is not shown here: its context is unknown, and it may search."""
    call = respond(prompt={"id": "pmpt_1"})
    assert call.unknown_input
    assert call.tools == (10, {"web_searches": 1}, (), "max_tool_calls")


def test_elsewhere_a_bound_of_tool_calls_is_not_added() -> None:
    """A host that does not know the field might refuse it; what the caller states counts everywhere."""
    for more, calls in (({}, 10), ({"max_tool_calls": 2}, 2)):
        call = responses({"model": "m", "input": "hi", "tools": [SEARCH], **more}, (), host_of("gateway.example.com"))
        assert call.tools == (calls, {"web_searches": 1}, (), None)


def test_a_hard_budget_bounds_the_calls_of_hosted_tools() -> None:
    """By the field that OpenAI has for it; the caller's own objects stay as they were."""
    provider = Provider()
    arguments = {"model": "gpt-4o-mini", "input": "hi", "tools": [SEARCH], "max_output_tokens": 16}
    before = copy.deepcopy(arguments)
    with books(5.00):
        provider.client.responses.create(**arguments)
        provider.client.responses.create(**{**arguments, "max_tool_calls": 2})
        provider.client.responses.create(prompt={"id": "pmpt_1"}, model="gpt-4o-mini")
        provider.client.responses.create(model="gpt-4o-mini", input="hi")
    assert [body.get("max_tool_calls") for body in provider.bodies] == [10, 2, 10, None]
    assert arguments == before


@pytest.mark.parametrize("enforce", ["soft", "observe"])
def test_a_budget_that_is_not_hard_alters_nothing(enforce: str) -> None:
    """The call that crosses it goes through whole."""
    provider = Provider()
    with books(5.00, enforce):
        provider.client.responses.create(model="gpt-4o-mini", input="hi", tools=[SEARCH])
    assert "max_tool_calls" not in provider.bodies[0]


def test_where_room_is_short_there_are_fewer_calls_of_hosted_tools(caplog: Any) -> None:
    """
    o3-deep-research: 200,000 tokens of context at $10, a search is $0.01, so each call $2.01; 20,000 tokens of output
    at $40 are $0.80. $10 pay for four: 4 x $2.01 + $0.80 and the prompt. What was billed is then within the limit.
    """
    provider = Provider()
    provider.usage = {"input_tokens": 800_000, "output_tokens": 20_000, "total_tokens": 820_000}
    with books(10.00) as manager, caplog.at_level(logging.WARNING, "budgetguard"):
        provider.client.responses.create(
            model="o3-deep-research", input="hi", tools=[{"type": "web_search_preview"}], max_output_tokens=20_000
        )
        assert provider.bodies[0]["max_tool_calls"] == 4
        [entry] = manager.store.entries()
        assert entry.cost <= 10 * DOLLAR
    assert "max_tool_calls" in caplog.text


def test_a_budget_without_room_for_one_call_of_a_hosted_tool_refuses() -> None:
    """gpt-4o-mini: one search and its reading are $0.0292 and more. A number that the caller states is not lowered."""
    provider = Provider()
    with books(0.029), pytest.raises(BudgetExceededError):
        provider.client.responses.create(model="gpt-4o-mini", input="hi", tools=[SEARCH])
    with books(0.20), pytest.raises(BudgetExceededError, match=r"max_tool_calls .*max_uses of the tools"):
        provider.client.responses.create(model="gpt-4o-mini", input="hi", tools=[SEARCH], max_tool_calls=20)
    assert provider.bodies == []


def test_a_container_is_paid_for_once() -> None:
    """Its price goes by its memory; one that was made before was paid for then."""
    auto = {"type": "code_interpreter", "container": {"type": "auto", "memory_limit": "4g"}}
    assert respond(tools=[auto]).fixed == {"code_executions": 4}
    assert respond(tools=[{"type": "code_interpreter", "container": "cntr_1"}]).fixed == {}


# -- what a server adds ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        {"data_sources": [{"type": "azure_search", "parameters": {}}]},
        {"plugins": [{"id": "web"}]},
        {"plugins": [{"id": "file-parser"}]},
        {"plugins": [{"id": "of-next-year"}]},
        {"model": "openai/gpt-4o:online"},
        {"search_parameters": {"mode": "auto"}},
        {"enable_search": True},
        {"connectors": [{"id": "web-search"}]},
        {"web_search_options": {}},
        {"tools": [{"type": "builtin_function", "function": {"name": "$web_search"}}]},
        {"tools": [{"type": "web_search", "web_search": {"enable": True}}]},
        {"tools": [{"type": "openrouter:web_search"}]},
        {"extra_body": {"google": {"cached_content": "cachedContents/x"}}},
        {"google": {"cachedContent": "cachedContents/x"}},
    ],
)
def test_what_a_server_adds_to_the_input_is_not_shown_here(body: Any) -> None:
    """Documents and search results are billed as input: the model's context is the bound."""
    assert ask(**body).unknown_input
    assert not ask().unknown_input


@pytest.mark.parametrize(
    "body",
    [
        {"data_sources": []},
        {"plugins": [{"id": "web", "enabled": False}]},
        {"plugins": [{"id": "response-healing"}]},
        {"plugins": None},
        {"search_parameters": {"mode": "off"}},
        {"enable_search": False},
        {"web_search_options": None},
        {"extra_body": {"google": {"thinking_config": {"thinking_budget": 9}}}},
        {"model": "sonar-pro"},
    ],
)
def test_what_is_switched_off_adds_nothing(body: Any) -> None:
    """Nor do Perplexity's own searches, whose fee is that of the request."""
    call = ask(**body)
    assert (call.unknown_input, call.fixed) == (False, {})


def test_searches_have_their_fees() -> None:
    """One at OpenRouter is five results; Perplexity's deep research is many, and reasons beside its answer."""
    assert ask(plugins=[{"id": "web"}]).fixed == {"web_searches": 1}
    assert ask(plugins=[{"id": "web", "max_results": 12}]).fixed == {"web_searches": 3}
    assert ask(model="sonar", web_search_options={"search_context_size": "high"}).fixed == {"requests": 3}
    # 1,000 tokens of answer, 200,000 of reasoning at $3, 128,000 of citations at $2, and 100 searches of $0.005.
    call = ask(model="sonar-deep-research", max_tokens=1_000)
    least = 600_000_000 + 256_000_000 + 500_000_000 + 8_000_000
    assert least <= project(call, "perplexity").wish(hard=True).amount <= least + 1_000_000


# -- other models that may answer --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "others"),
    [
        ({"models": ["a", "b"]}, ("a", "b")),
        ({"fallbacks": ["a", {"model": "b"}, {"gpt-4o": ["c", "d"]}]}, ("a", "b", "c", "d")),
        ({"context_window_fallbacks": [{"gpt-4o-mini": ["a"]}]}, ("a",)),
        ({"providerOptions": {"gateway": {"models": ["a"]}}}, ("a",)),
        ({"preset": "mine"}, ("@preset/mine",)),
        ({"models": [], "fallbacks": None, "preset": 3, "providerOptions": "x"}, ()),
        ({"models": [None, 3, "", {}, {"a": None}]}, ()),
    ],
)
def test_other_models_that_may_answer_are_read(body: Any, others: Any) -> None:
    """As OpenRouter, LiteLLM and Vercel's gateway take them."""
    assert ask(**body).others == others
    assert respond(**body).others == others
    assert completions({"model": "m", **body}).others == others


def test_the_first_of_a_list_is_the_model_where_none_is_named() -> None:
    """OpenRouter takes a list alone."""
    call = ask(model=None, models=["a", "b"])
    assert (call.model, call.others) == ("a", ("b",))


def test_the_dearest_model_that_may_answer_is_held() -> None:
    """gpt-4o-mini at $0.15 and $0.60, gpt-4o at $2.50 and $10: 3 tokens of input and 5,000 of output of the dearer."""
    call = ask(model="openai/gpt-4o-mini", models=["openai/gpt-4o-mini", "openai/gpt-4o"], max_tokens=5_000)
    assert project(call, "openrouter").wish(hard=True).amount == 3 * 2_500 + 5_000 * 10_000
    alone = ask(model="openai/gpt-4o-mini", max_tokens=5_000)
    assert project(alone, "openrouter").wish(hard=True).amount == 3 * 150 + 5_000 * 600


def test_the_dearest_may_differ_in_input_and_output() -> None:
    """One reads dearly, the other writes dearly; a cap keeps to the dearest of each."""
    prices = PriceBook(overrides={"a": {"input": 100, "output": 1}, "b": {"input": 1, "output": 100}})
    call = ask(model="a", models=["b"], messages=[{"role": "user", "content": "x" * 1_000}])
    projection = project(call, "", prices=prices)
    wish = projection.wish(hard=True)
    assert wish.least is not None
    tokens = projection.input_tokens
    assert wish.least == tokens * 100_000 + 100_000
    assert projection.cap(wish.least) == 1


def test_a_free_model_with_a_priced_fallback_is_not_free() -> None:
    """Only where all that may answer are free does a call pass every budget."""
    prices = PriceBook(overrides={"local": {"free": True}, "also": {"free": True}})
    provider = Provider("https://gateway.example.com/v1")
    manager = BudgetManager("free", store="memory://", budgets=[Budget("all", 0.000001)], prices=prices)
    budgetguard.patch(manager)
    try:
        say = {"model": "local", "messages": [{"role": "user", "content": "hi"}]}
        provider.client.chat.completions.create(**say, extra_body={"models": ["also"]})
        with pytest.raises(BudgetExceededError):
            provider.client.chat.completions.create(**say, extra_body={"models": ["also", "gpt-4o"]})
    finally:
        budgetguard.unpatch()
        manager.close()
    assert len(provider.bodies) == 1


def test_a_fallback_without_a_known_price_is_refused_by_its_name() -> None:
    """It may be the one that answers."""
    provider = Provider("https://openrouter.ai/api/v1")
    say = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    with books(1.00):
        with pytest.raises(UnpricedModelError, match="acme/unheard-of"):
            provider.client.chat.completions.create(**say, extra_body={"models": ["acme/unheard-of"]})
        with pytest.raises(UnpricedModelError, match="openrouter/auto"):
            provider.client.chat.completions.create(**{**say, "model": "openrouter/auto"})
        provider.client.chat.completions.create(**{**say, "model": "openai/gpt-4o:nitro"})
    assert len(provider.bodies) == 1


def test_a_fallback_without_a_known_price_is_no_matter_where_nothing_is_limited() -> None:
    """What answered is booked at its price: 10 tokens at $2.50 and 5 at $10 a million."""
    provider = Provider("https://openrouter.ai/api/v1")
    say = {"model": "openai/gpt-4o", "messages": [{"role": "user", "content": "hi"}]}
    manager = BudgetManager("open", store="memory://", budgets=[])
    budgetguard.patch(manager)
    try:
        provider.client.chat.completions.create(**say, extra_body={"models": ["acme/unheard-of"]})
        [entry] = manager.store.entries()
        assert entry.cost == 75_000
    finally:
        budgetguard.unpatch()
        manager.close()


@pytest.mark.parametrize(
    "call", [lambda c: c.responses.create(prompt={"id": "p"}), lambda c: c.images.generate(prompt="x")]
)
def test_a_call_that_names_no_model_is_told_to_name_one(call: Any) -> None:
    """It is a valid call; only its price cannot be known."""
    with books(1.00), pytest.raises(UnpricedModelError, match="state model="):
        call(Provider().client)


# -- the margin of a count ---------------------------------------------------------------------------------------------

PROSE = "The quick brown fox jumps over the lazy dog. " * 2_000
"""90,000 bytes, 20,000 tokens and one."""


def counted(text: str, *, sure: bool) -> Projection:
    projection = project(ask(messages=[{"role": "user", "content": text}]), sure=sure)
    projection.count()
    return projection


def test_a_count_has_a_margin_where_the_host_may_count_otherwise() -> None:
    """1 %, at least 16 tokens, never above the bound by bytes; what was counted is still what is booked."""
    exact = counted(PROSE, sure=True).input_tokens
    assert counted(PROSE, sure=False).input_tokens == exact + -(-exact // 100)
    assert counted(PROSE, sure=False).usage(0)["input_tokens"] == exact
    words = "hello world " * 20
    assert counted(words, sure=False).input_tokens == counted(words, sure=True).input_tokens + 16
    assert counted("hi", sure=False).input_tokens == 9
