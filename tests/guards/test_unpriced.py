"""Calls whose price is not known: who has to know it, what is assumed instead, and that a budget may merely watch."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import openai
import pytest

import budgetguard
from budgetguard import Budget, BudgetGuardError, BudgetManager, ConfigError, StoreError, UnpricedModelError
from budgetguard.guards.settings import Settings
from budgetguard.ledger import Enforce, Entry, Hold, new_id
from budgetguard.prices.sources import names
from budgetguard.stores.memory.store import MemoryStore
from tests.support.in_memory import HI, reply
from tests.support.in_memory import answering as http_answering

pytestmark = pytest.mark.provider(tokens=20)

KNOWN, UNKNOWN = "gpt-4o-mini", "nobody-knows-it"
SAID = [{"role": "user", "content": "hi"}]


# -- every way to be refused -------------------------------------------------------------------------------------------


def _chat(client: openai.OpenAI, model: str = KNOWN, **more: Any) -> Any:
    return client.chat.completions.create(model=model, messages=SAID, **more)


def _batch(client: openai.OpenAI, model: str) -> Any:
    body = {"model": model, "messages": SAID}
    request = {"custom_id": "1", "method": "POST", "url": "/v1/chat/completions", "body": body}
    file = client.files.create(file=json.dumps(request).encode(), purpose="batch")
    return _make_batch(client, file.id)


def _make_batch(client: openai.OpenAI, file_id: str) -> Any:
    endpoint = "/v1/chat/completions"
    return client.batches.create(input_file_id=file_id, endpoint=endpoint, completion_window="24h")  # type: ignore[arg-type]


RAW = json.dumps({"model": KNOWN, "messages": SAID}).encode()

WAYS: dict[str, Callable[[openai.OpenAI], Any]] = {
    "there is no room": lambda c: _chat(c, max_tokens=10_000),
    "no store could book it": lambda c: _chat(c, "o1-pro", max_tokens=10**17, n=2_000),
    "nobody knows the model": lambda c: _chat(c, UNKNOWN),
    "nobody knows a fallback": lambda c: _chat(c, extra_body={"fallbacks": [UNKNOWN]}),
    "it names no model": lambda c: c.responses.create(prompt={"id": "p"}),
    "it cannot be read": lambda c: c.post("/chat/completions", cast_to=object, content=iter([RAW])),
    "what it uses has no price": lambda c: c.audio.speech.create(model="dall-e-3", input="x", voice="alloy"),
    "nobody knows its tool's model": lambda c: c.responses.create(
        model=KNOWN, input="hi", tools=[{"type": "image_generation", "model": UNKNOWN}]
    ),
    "its reply says nothing": lambda c: c.fine_tuning.jobs.create(model=KNOWN, training_file="file-1"),
    "it goes on in the background": lambda c: c.responses.create(model=UNKNOWN, input="hi", background=True),
    "nobody has read its file": lambda c: _make_batch(c, "file-nobody-read"),
    "nobody knows a model in its file": lambda c: _batch(c, UNKNOWN),
    "it is a stream": lambda c: list(_chat(c, UNKNOWN, stream=True)),
    "it makes no text": lambda c: c.embeddings.create(model=UNKNOWN, input="hi"),
}
"""Calls that a budget refuses which is spent, each for another reason."""


@contextmanager
def spent(url: str, enforce: Enforce) -> Iterator[BudgetManager]:
    """Budgets of every kind and unit, without any room, by rule, for the user, and around the call."""
    rules = [
        Budget("dollars", "0.000001", enforce=enforce),
        Budget("tokens", 1, unit="tokens", enforce=enforce),
        Budget("calls", 1, unit="requests", enforce=enforce),
        Budget("each", "0.000001", "daily", per=("user",), enforce=enforce),
    ]
    manager = BudgetManager("observed", store=url, budgets=rules)
    manager.set_budget("ann", "0.000001", enforce=enforce)
    manager.store.settle(*_one_request(manager))
    with manager, budgetguard.budget(user="ann", limit="0.000001", enforce=enforce):
        yield manager
    manager.close()


def _one_request(manager: BudgetManager) -> Any:
    accounts = manager.guard.coverage.cover({"user": "ann"}).accounts
    hold = Hold(new_id(), accounts, 0)
    return hold, Entry(hold.id, 1_000, units={"tokens": 1})


@pytest.mark.parametrize("way", WAYS)
def test_a_budget_that_watches_refuses_nothing_whatever_happens(way, url, provider, caplog):
    """It is there to see what a limit would do: a program must not stop for a price that nobody asked for."""
    with spent(url, "observe"), provider.client(max_retries=0) as client, caplog.at_level(logging.ERROR, "budgetguard"):
        for _ in range(2):
            before = len(provider.requests)
            with suppress(openai.APIStatusError):  # the fake provider has no such thing: it was asked
                WAYS[way](client)
            assert len(provider.requests) > before

    assert caplog.records == []


@pytest.mark.parametrize("way", WAYS)
def test_a_hard_budget_refuses_all_of_these(way, provider):
    """Else the walk above would show nothing: each of them is a place that raises before a call."""
    with spent("memory://", "hard"), provider.client(max_retries=0) as client, pytest.raises(BudgetGuardError):
        WAYS[way](client)

    assert [each.path for each in provider.requests if not each.path.endswith("/files")] == []


# -- who has to know a price -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["nobody knows the model", "what it uses has no price"])
def test_a_user_without_a_budget_is_not_asked_for_a_price(way, url, provider):
    """Nothing there is limited in dollars; a budget that the user gets later has to know it at once."""
    manager = BudgetManager("shop", store=url, budgets=[])
    other = BudgetManager("shop", store=manager.store if url == "memory://" else url, budgets=[])
    with provider.client() as client, manager, budgetguard.budget(user="ann"):
        with suppress(openai.APIStatusError):
            WAYS[way](client)
        other.create_budget(5, "ann")
        with pytest.raises(UnpricedModelError):
            WAYS[way](client)

    assert len(provider.requests) == 1
    assert all(entry.cost == 0 and "unpriced" in entry.flags for entry in manager.store.entries())


def test_where_the_store_is_away_an_unknown_user_is_not_taken_for_one_without_a_budget(provider, monkeypatch):
    """Whether they have one is not known then: the call would pass without a limit, and without a word."""
    manager = BudgetManager("shop", store="memory://", budgets=[])

    def away(*_: Any) -> Any:
        raise StoreError("the store is away")

    monkeypatch.setattr(MemoryStore, "terms", away)
    with provider.client() as client, manager, budgetguard.budget(user="ann"), pytest.raises(StoreError):
        _chat(client, UNKNOWN)

    assert provider.requests == []


def test_the_error_names_a_model_of_ones_own_as_one_that_may_be_free(provider):
    """Nobody bills for a server on this machine, but only its owner can say so: a proxy may stand there."""
    manager = BudgetManager("shop", store="memory://", budgets=[Budget("all", 5)])
    with provider.client() as client, manager:
        with pytest.raises(UnpricedModelError) as caught:
            _chat(client, "llama3:8b")
        assert "budgetguard prices free llama3:8b\n" in str(caught.value)
        manager.guard.prices.add("llama3:8b", free=True)
        _chat(client, "llama3:8b")

    assert len(provider.requests) == 1


# -- Settings(unpriced=) -----------------------------------------------------------------------------------------------

HOSTS = {
    "openai": "https://api.openai.com/v1",
    "anthropic": "https://api.anthropic.com/v1",
    "": "https://llm.example/v1",
}
DEAREST = {"openai": (150_000, 600_000), "anthropic": (15_000, 75_000), "": (150_000, 600_000)}
"""Nano-dollars a token in genai-prices 0.2: o1-pro's, Claude 3 Opus's, and the dearest of all."""


def settled(
    host: str, model: str, unpriced: Any, limit: float | str = 50, answered: str | None = None, **usage: Any
) -> tuple[Any, BudgetManager]:
    """The entry of one call of 100 tokens in and 20 out, and its books."""

    def answer(_body: dict[str, Any]) -> dict[str, Any]:
        whole = reply(answered or model, 20)
        whole["usage"].update(usage)
        return whole

    client = openai.OpenAI(api_key="-", base_url=HOSTS[host], max_retries=0, http_client=http_answering(answer))
    settings = Settings(unpriced=unpriced)
    manager = BudgetManager("t", store="memory://", budgets=[Budget("one", limit)], settings=settings)
    budgetguard.guard(client, manager).chat.completions.create(model=model, messages=HI)
    [entry] = manager.store.entries()
    return entry, manager


@pytest.mark.parametrize("host", HOSTS)
def test_an_unknown_model_may_cost_what_the_dearest_of_its_provider_does(host):
    """A new model is rarely dearer than that, so the budget holds; the books say that it is an estimate."""
    entry, manager = settled(host, UNKNOWN, "assume")

    read, wrote = DEAREST[host]
    assert (entry.cost, entry.flags - {"capped"}) == (100 * read + 20 * wrote, {"estimated"})
    [(_, balance)] = manager.guard.balances({}, None)
    assert (balance.settled, balance.held) == (entry.cost, 0)


def test_an_assumed_price_is_held_before_the_call():
    """Else it would only be known when it is too late."""
    with pytest.raises(budgetguard.BudgetExceededError):
        settled("openai", UNKNOWN, "assume", limit="0.01")


@pytest.mark.parametrize(
    ("answered", "usage", "nano"),
    [(None, {"cost": 0.4}, 400_000_000), ("gpt-4o-mini", {}, 100 * 150 + 20 * 600)],
)
def test_what_is_known_after_all_is_not_assumed(answered, usage, nano):
    """A stated cost, and a model of the list that answered instead, are no estimates."""
    entry, _ = settled("openai", UNKNOWN, "assume", answered=answered, **usage)

    assert (entry.cost, entry.flags - {"capped"}) == (nano, set())


def test_a_known_model_is_not_assumed():
    """The setting is about names that are on no list."""
    entry, _ = settled("openai", KNOWN, "assume")

    assert (entry.cost, entry.flags - {"capped"}) == (100 * 150 + 20 * 600, set())


def test_an_unknown_model_may_pass_as_nothing(caplog):
    """It is counted as what it is, a call of unknown cost; and said once of each model, not of each call."""
    with caplog.at_level(logging.WARNING, "budgetguard"):
        entry, manager = settled("openai", UNKNOWN, "count", limit="0.000001")
        assert (entry.cost, entry.flags) == (0, {"unpriced"})
        client = budgetguard.guard(
            openai.OpenAI(api_key="-", max_retries=0, http_client=http_answering(lambda _: reply(UNKNOWN, 20))), manager
        )
        for model in (UNKNOWN, UNKNOWN, "another"):
            client.chat.completions.create(model=model, messages=HI)

    said = [record.getMessage() for record in caplog.records]
    assert [UNKNOWN in line for line in said] == [True, False]
    assert all("not known" in line for line in said)


def test_tokens_and_requests_of_an_unknown_model_count_all_the_same(provider):
    """A price is only needed for dollars."""
    rules = [Budget("calls", 2, unit="requests"), Budget("dollars", 1), Budget("tokens", 100_000, unit="tokens")]
    manager = BudgetManager("t", store="memory://", budgets=rules, settings=Settings(unpriced="count"))
    with provider.client() as client, manager:
        for _ in range(2):
            _chat(client, UNKNOWN, max_tokens=50)
        with pytest.raises(budgetguard.BudgetExceededError) as no:
            _chat(client, UNKNOWN, max_tokens=50)

    assert no.value.unit == "requests"
    used = {account.key.partition("/")[0]: account.settled for account in manager.store.accounts("")}
    assert used["calls"] == 2
    assert used["tokens"] == sum(bill.input_tokens + bill.output_tokens for bill in provider.ledger)
    assert used.get("dollars", 0) == 0


@pytest.mark.parametrize("unpriced", ["assume", "count"])
def test_tokens_without_a_bound_are_refused_whatever_is_said_of_prices(provider, unpriced):
    """The setting speaks of dollars; a hard budget in tokens has to hold beside it."""
    rules = [Budget("tokens", 100_000, unit="tokens")]
    manager = BudgetManager("t", store="memory://", budgets=rules, settings=Settings(unpriced=unpriced))
    with provider.client() as client, manager, pytest.raises(UnpricedModelError, match="no bound"):
        client.post("/chat/completions", cast_to=object, body=iter([b"{}"]))  # type: ignore[type-var]


def test_a_batch_of_an_unknown_model_is_assumed_too(provider):
    """Its file is held at the dearest price, and settled at it."""
    manager = BudgetManager("t", store="memory://", budgets=[Budget("one", 50)], settings=Settings(unpriced="assume"))
    with provider.client() as client, manager:
        batch = _batch(client, UNKNOWN)
        client.batches.retrieve(batch.id)

    [entry] = manager.store.entries()
    assert entry.cost > 0
    assert "estimated" in entry.flags


def test_the_setting_is_read_and_checked():
    """A misspelled one would be the loosest, or the strictest, without a word."""
    with pytest.raises(ConfigError, match="unpriced"):
        Settings(unpriced="ignore")  # type: ignore[arg-type]


def test_no_name_is_compared_for_an_error_that_nobody_reads(monkeypatch):
    """It takes milliseconds: calls that pass without a price must not pay for it."""
    monkeypatch.setattr(names, "advice", lambda *_: pytest.fail("compared"))
    entry, _ = settled("openai", UNKNOWN, "count")

    assert entry.cost == 0
