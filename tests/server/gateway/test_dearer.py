"""Requests that cost more than they seem to: what is held for is what is sent, and no other model answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from budgetguard import PriceBook
from budgetguard.server.gateway.config.model import Target
from budgetguard.server.gateway.config.models import ModelEntry
from budgetguard.server.keys import Grant
from budgetguard.server.keys.limits import allowance, owner_limits
from tests.support.gateway import CLAUDE, GEMINI, MESSAGES, MODEL, ServedGateway, configured, hard, upstream
from tests.support.wire import RawUpstream, exchange, reply, request_of

DEAR, OTHER = "dear-model", "other-model"
PAINTER = "gpt-image-1"
CHAT: dict[str, Any] = {"model": MODEL, "messages": MESSAGES, "max_tokens": 9}


class Till:
    """A gateway before an upstream, with half a cent: an answer of `DEAR` costs more."""

    def __init__(self, up: RawUpstream, gateway: ServedGateway) -> None:
        self.up, self.gateway = up, gateway
        self.key = gateway.key()

    def ask(self, path: str, body: Any, *headers: str, key: str = "") -> tuple[int, str]:
        """The status, and all that comes back."""
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        bearer = f"authorization: Bearer {key or self.key}"
        said = exchange(self.gateway.port, request_of(path, sent, bearer, *headers)).decode()
        return int(said.split(" ")[1]), said

    @property
    def sent(self) -> int:
        """How many requests have arrived at the upstream."""
        return len(self.up.requests)


@pytest.fixture
def till(tmp_path: Path) -> Iterator[Till]:
    prices = PriceBook()
    for name, price in ((MODEL, 1), (CLAUDE, 1), (GEMINI, 1), (PAINTER, 1), (OTHER, 1), (DEAR, 1_000)):
        prices.add(name, input=price, output=price, max_output=100, context=2_000)
    prices.add(WIDE, input=0.01, output=0.01, max_output=1_000, context=200_000)
    with RawUpstream() as up:
        own = upstream("up", up.root)
        up.answer = lambda _request: reply()
        names = (MODEL, CLAUDE, GEMINI, PAINTER, OTHER, WIDE, DEAR)
        entries = [ModelEntry(name, (Target(own),)) for name in names]
        entries.append(ModelEntry("either", (Target(own, MODEL), Target(own, OTHER))))
        configuration = configured(own, models=entries, prices=prices, budgets=(hard(0.005),))
        with ServedGateway(configuration, f"sqlite:///{tmp_path}/budgets.db?synchronous=normal") as gateway:
            yield Till(up, gateway)


# -- by a path ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("named", [{}, {"model": MODEL}], ids=["unnamed", "named otherwise"])
def test_the_deployment_of_a_path_is_what_is_held_for(till: Till, named: dict[str, str]) -> None:
    """It is what is sent: a cheap name in the body would have the dear one answer for a thousandth."""
    body = {"messages": MESSAGES, "max_tokens": 9, **named}
    status, said = till.ask(f"/openai/deployments/{DEAR}/chat/completions?api-version=2024-10-21", body)
    assert (status, till.sent) == (402, 0), said
    status, said = till.ask(f"/openai/deployments/{MODEL}/chat/completions", {**body, "model": DEAR} if named else body)
    assert (status, till.sent) == (200, 1), said


# -- by a header -------------------------------------------------------------------------------------------------------

PDF = {"type": "document", "source": {"type": "url", "url": "https://example.com/long.pdf"}}
WIDE = "claude-sonnet-4-5"
"""A model whose context a header widens from 200,000 to 1,000,000 tokens."""


def test_a_header_that_is_there_twice_is_read_as_both(till: Till) -> None:
    """A server reads them as one list: what the first asks for, and only the last was looked at, nobody held for."""
    body = {"model": WIDE, "max_tokens": 9, "messages": [{"role": "user", "content": [PDF]}]}
    wide, other = "anthropic-beta: context-1m-2025-08-07", "anthropic-beta: files-api-2025-04-14"
    assert till.ask("/v1/messages", body, other)[0] == 200
    for stated in ([wide], [wide, other], [other, wide]):
        status, said = till.ask("/v1/messages", body, *stated)
        assert (status, till.sent) == (402, 1), said


def test_a_header_of_the_operators_is_read_as_the_clients() -> None:
    """It is sent with every call to that upstream, so every call there may cost what it asks for."""
    body = {"model": WIDE, "max_tokens": 9, "messages": [{"role": "user", "content": [PDF]}]}
    with RawUpstream() as up:
        stated = (("x-api-key", "secret"), ("anthropic-beta", "context-1m-2025-08-07"))
        own = upstream("up", up.root, headers={"anthropic": stated}, prices="anthropic")
        with ServedGateway(configured(own, budgets=(hard(1.0),))) as gateway:
            assert gateway.ask("/v1/messages", body)[0] == 402


# -- by a field that names another model -------------------------------------------------------------------------------

OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "OpenRouter's list": ("/v1/chat/completions", {"models": [OTHER]}),
    "LiteLLM's fallbacks": ("/v1/chat/completions", {"fallbacks": [{MODEL: [OTHER]}]}),
    "with the same": ("/v1/chat/completions", {"models": [MODEL, OTHER], "route": "fallback"}),
    "Claude's fallbacks": ("/v1/messages", {"model": CLAUDE, "fallbacks": [{"model": OTHER}]}),
}


@pytest.mark.parametrize("field", OTHERS)
def test_a_key_calls_no_model_by_another_field(till: Till, field: str) -> None:
    """Who may call the small model only would have the large one answer, at the key's own wish."""
    path, more = OTHERS[field]
    for globs, expected in (((MODEL, CLAUDE), 403), ((MODEL, CLAUDE, OTHER), 200), ((), 200)):
        key = till.gateway.key(grant=Grant(models=globs))
        status, said = till.ask(path, {**CHAT, **more}, key=key)
        assert status == expected, said


@pytest.mark.parametrize("field", OTHERS)
def test_a_budget_of_a_model_is_passed_by_no_other_field(till: Till, field: str) -> None:
    """What the other model cost would be booked on the one that was asked for, and its own budget never full."""
    path, more = OTHERS[field]
    limits = owner_limits([allowance(0.0001, model=OTHER)])
    key = till.gateway.key(grant=Grant(limits=limits))
    assert till.ask(path, {**CHAT, **more}, key=key)[0] == 400
    assert till.sent == 0
    alone = {**CHAT, **more, **{name: None for name in ("models", "fallbacks") if name in more}}
    assert till.ask(path, alone, key=key)[0] == 200


@pytest.mark.parametrize("model", [MODEL, "either"])
def test_another_model_without_a_price_is_refused_by_name(till: Till, model: str) -> None:
    """Nobody can hold for it, also where there are several upstreams, of which the dearest is looked for."""
    for more in ({"models": ["nobodys"]}, {"preset": "nobodys"}):
        status, said = till.ask("/v1/chat/completions", {**CHAT, "model": model, **more})
        assert (status, till.sent) == (400, 0), said
        assert "no price is known for model" in said
        assert "nobodys" in said


@pytest.mark.parametrize("name", [OTHER, f"{OTHER}-2025-08-07", f"vendor/{OTHER}", f"vendor/{OTHER}-2025-08-07"])
def test_the_model_that_answered_is_what_is_booked(name: str) -> None:
    """Servers say which version it was: at the price of the one that was asked for, a thousandth would be booked."""
    prices = PriceBook()
    prices.add(MODEL, input=1, output=1, max_output=100)
    prices.add(OTHER, input=1_000, output=1_000, max_output=100)
    usage = {"prompt_tokens": 1, "completion_tokens": 1}
    with RawUpstream(reply(json.dumps({"model": name, "choices": [], "usage": usage}).encode())) as up:
        own = upstream("up", up.root)
        models = [ModelEntry(MODEL, (Target(own),))]
        with ServedGateway(configured(own, models=models, prices=prices, budgets=(hard(1.0),))) as gateway:
            _, _, headers = gateway.ask("/v1/chat/completions", {**CHAT, "models": [OTHER]})
            assert headers["x-budgetguard-cost"] == "0.002000000"


# -- by a field that is there twice ------------------------------------------------------------------------------------

LITTLE: dict[str, Any] = {"maxOutputTokens": 9, "thinkingConfig": {"thinkingBudget": 0}}
SPELT_TWICE: dict[str, dict[str, Any]] = {
    "the cap": {"generationConfig": {**LITTLE, "max_output_tokens": 900}},
    "the answers": {"generationConfig": {**LITTLE, "candidateCount": 1, "candidate_count": 8}},
    "the configuration": {"generationConfig": LITTLE, "generation_config": {"maxOutputTokens": 900}},
    "the thinking": {"generationConfig": {"maxOutputTokens": 9, "thinkingConfig": {}, "thinking_config": {}}},
    "the cache": {"cachedContent": None, "cached_content": "cachedContents/long", "generationConfig": LITTLE},
}


@pytest.mark.parametrize("twice", SPELT_TWICE)
def test_a_field_is_spelt_in_one_way(till: Till, twice: str) -> None:
    """Google reads both spellings: one was held for, and the other one could be what is answered."""
    asked = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
    path = f"/v1beta/models/{GEMINI}:generateContent"
    status, said = till.ask(path, {**asked, **SPELT_TWICE[twice]})
    assert (status, till.sent) == (400, 0), said
    for config in ("generationConfig", "generation_config"):
        assert till.ask(path, {**asked, config: {"max_output_tokens": 9, "candidateCount": 1}})[0] == 200


@pytest.mark.parametrize("name", ["quality", "size", "n", "model"])
def test_a_field_of_a_form_is_there_once(till: Till, name: str) -> None:
    """Of two qualities a server takes the first or the last: the small one was held for."""
    fields = [("model", PAINTER), ("n", "1"), ("quality", "low"), ("size", "256x256")]
    listed = [("include[]", "a"), ("include[]", "b")]
    for more, expected in (([], 200), (listed, 200), ([(name, "1")], 400)):
        parts = "".join(
            f'--b\r\ncontent-disposition: form-data; name="{each}"\r\n\r\n{value}\r\n'
            for each, value in [*fields, *listed, *more]
        )
        kind = "content-type: multipart/form-data; boundary=b"
        status, said = till.ask("/v1/images/edits", f"{parts}--b--\r\n".encode(), kind)
        assert status == expected, said


# -- by what a server adds ---------------------------------------------------------------------------------------------

SEARCHES: dict[str, dict[str, Any]] = {
    "a plugin": {"plugins": [{"id": "web", "max_results": 50}]},
    "in the model's name": {"model": "openrouter/deepseek/deepseek-r1:free:online"},
    "a tool": {"tools": [{"type": "openrouter:web_search"}]},
}


@pytest.mark.parametrize("search", SEARCHES)
def test_a_free_model_searches_for_nobody(search: str) -> None:
    """OpenRouter has a fee for it whatever the model costs, and what is free asks no budget: it would have no end."""
    with RawUpstream() as up:
        own = upstream("openrouter", up.root, provider="openrouter", prices="openrouter")
        with ServedGateway(configured(own, budgets=(hard("0.0001"),))) as gateway:
            asked = {**CHAT, "model": "openrouter/deepseek/deepseek-r1:free"}
            status, said, _ = gateway.ask("/v1/chat/completions", {**asked, **SEARCHES[search]})
            assert (status, len(up.requests)) == (400, 0), said
            assert "ask for a model that has a price" in said["error"]["message"]
            tool = {"type": "function", "function": {"name": "f", "parameters": {}}}
            assert gateway.ask("/v1/chat/completions", {**asked, "tools": [tool]})[0] == 200
