"""`completion(model="provider/model")`, over sockets to a provider that keeps its own bill."""

from __future__ import annotations

import logging
import time
from contextlib import suppress

import pytest

import budgetguard
from budgetguard import BudgetExceededError, BudgetManager, ConfigError, PriceBook, acompletion, completion, completions
from budgetguard.errors import UnpricedModelError
from budgetguard.guards import Settings
from budgetguard.prices.sources import list as pricelist
from budgetguard.providers.table import providers

MESSAGES = [{"role": "user", "content": "hi there"}]
OWN = "a-model-of-our-own"
BOOK = PriceBook()
BOOK.add(OWN, input=1, output=2, max_output=400)


@pytest.fixture(autouse=True)
def nothing_set(monkeypatch):
    """No key of the machine's reaches a test, and what OpenAI's account is called must not reach others."""
    for provider in providers().values():
        for name in provider.variables:
            monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_ORG_ID", "org-mine")
    monkeypatch.setenv("OPENAI_PROJECT_ID", "proj-mine")


@pytest.fixture
def books(shared_provider):
    asked = Settings(usage_hosts=frozenset({shared_provider.base_url.split("/")[2]}))
    manager = BudgetManager("t", store="memory://", prices=BOOK, settings=asked, budgets=[budgetguard.Budget("all", 1)])
    with manager:
        yield manager


def listed(provider):
    """A model that the price list has at a provider, and that is billed by the token."""
    for name in sorted(pricelist.names(pricelist.source()(), provider)):
        if name.isascii() and not set(name) & set("*/"):
            with suppress(UnpricedModelError):
                quote = BOOK.quote(provider, name)
                if quote.provider == provider and 0 < quote.cost({"input_tokens": 1000, "output_tokens": 1000}) < 10**8:
                    return name
    return OWN


@pytest.mark.parametrize("name", providers())
def test_a_provider_is_asked_with_its_key_and_its_prices_count(name, shared_provider, books, monkeypatch):
    """One line reaches it, wherever its variable says that it is, and costs what it costs there."""
    row, model = providers()[name], OWN
    if row.prices is not None:
        model = listed(row.prices)
    monkeypatch.setenv(f"{name.upper()}_API_BASE", shared_provider.base_url)
    monkeypatch.setenv(row.keys[0], f"key-of-{name}")
    answer = completion(f"{name}/{model}", MESSAGES, max_tokens=50)
    sent = shared_provider.requests[-1]
    [entry] = books.store.entries()

    assert sent.body["model"] == row.prefix + model
    assert sent.headers["authorization"] == f"Bearer key-of-{name}"
    if name != "openai":
        assert "mine" not in str(sent.headers)
    used = {"input_tokens": answer.usage.prompt_tokens, "output_tokens": answer.usage.completion_tokens}
    assert entry.provider == (row.prices if name != "openai" and row.prices else "")
    tariff = BOOK.tariff(entry.provider or None, model, None, int(time.time() * 1000))
    assert entry.cost == tariff.cost(used) > 0


async def test_async_calls_and_streams_count(shared_provider, books, monkeypatch):
    """In every shape that a plain model name has."""
    monkeypatch.setenv("MISTRAL_API_BASE", shared_provider.base_url)
    monkeypatch.setenv("MISTRAL_API_KEY", "k")
    await acompletion(f"mistral/{OWN}", MESSAGES)
    async for _ in await acompletion(f"mistral/{OWN}", MESSAGES, stream=True):
        pass
    list(completion(f"mistral/{OWN}", MESSAGES, stream=True))
    entries = list(books.store.entries())

    assert len({entry.cost for entry in entries}) == 1
    assert len(entries) == 3
    assert not any(entry.flags for entry in entries)


def test_what_does_not_fit_is_refused_before_anything_is_sent(shared_provider, books, monkeypatch):
    """The budget is one, whoever answers."""
    monkeypatch.setenv("GROQ_API_BASE", shared_provider.base_url)
    monkeypatch.setenv("GROQ_API_KEY", "k")
    sent = len(shared_provider.requests)
    with budgetguard.budget(limit=0.000001), pytest.raises(BudgetExceededError):
        completion(f"groq/{OWN}", MESSAGES)
    assert len(shared_provider.requests) == sent


def test_a_missing_key_names_the_variable_and_openais_is_not_sent_instead(shared_provider, monkeypatch):
    """The SDK would take OpenAI's key from the environment, and hand it to somebody else."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-openai")
    monkeypatch.setenv("GROQ_API_BASE", shared_provider.base_url)
    sent = len(shared_provider.requests)
    with pytest.raises(ConfigError, match="set GROQ_API_KEY, or pass api_key="):
        completion("groq/llama-3.1-8b-instant", MESSAGES)
    assert len(shared_provider.requests) == sent


def test_a_callers_key_is_sent_and_never_said(shared_provider, books, monkeypatch, caplog):
    """It counts above the variable, also as a function; no error and no log has it."""
    caplog.set_level(logging.DEBUG, "budgetguard")
    monkeypatch.setenv("XAI_API_KEY", "of-the-environment")
    url = shared_provider.base_url
    completion(f"xai/{OWN}", MESSAGES, base_url=url, api_key="key-secret")
    assert shared_provider.requests[-1].headers["authorization"] == "Bearer key-secret"
    completion(f"xai/{OWN}", MESSAGES, base_url=url, api_key=lambda: "key-secret-2")
    assert shared_provider.requests[-1].headers["authorization"] == "Bearer key-secret-2"
    with budgetguard.budget(limit=0), pytest.raises(BudgetExceededError) as refused:
        completion(f"xai/{OWN}", MESSAGES, base_url=url, api_key="key-secret")
    with pytest.raises(ConfigError) as unknown:
        completion("xaii/grok-4", MESSAGES, api_key="key-secret")
    assert "secret" not in f"{caplog.text} {refused.value!r} {unknown.value!r}"


def test_what_is_for_openai_alone_is_sent_to_nobody_else(shared_provider, books, monkeypatch):
    """The SDK adds the headers of this variable, a gateway's token often, to the requests of every client."""
    monkeypatch.setenv("OPENAI_CUSTOM_HEADERS", "X-Gateway-Token: secret")
    completion(f"groq/{OWN}", MESSAGES, base_url=shared_provider.base_url, api_key="k")
    assert "x-gateway-token" not in {name.lower() for name in shared_provider.requests[-1].headers}


def test_a_key_with_an_end_of_line_is_sent_without_and_shown_nowhere(shared_provider, books, monkeypatch):
    """As it was read from a file: no header has it, so the SDK retried, and the key stood in the traceback."""
    for own in ({"api_key": "key-secret\n"}, {}):
        monkeypatch.setenv("GROQ_API_KEY", "key-secret\r\n")
        completion(f"groq/{OWN}", MESSAGES, base_url=shared_provider.base_url, **own)
        assert shared_provider.requests[-1].headers["authorization"] == "Bearer key-secret"
    asked, _, _ = completions._split("groq/x", {"api_key": "key-secret"})
    assert "secret" not in repr(asked)


def test_a_name_with_a_slash_of_its_own_is_sent_as_it_is_to_a_server_that_was_named(
    shared_provider, books, monkeypatch
):
    """Servers of open models name them as their makers do."""
    model = "meta-llama/Llama-3-70b"
    BOOK.add(model, input=1, output=2)
    completion(model, MESSAGES, base_url=shared_provider.base_url, api_key="k")
    assert shared_provider.requests[-1].body["model"] == model
    for variable in ("OPENAI_BASE_URL", "OPENAI_API_BASE"):
        monkeypatch.setenv(variable, shared_provider.base_url)
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        completion(model, MESSAGES)
        completion(f"openai/{model}", MESSAGES)
        assert [each.body["model"] for each in shared_provider.requests[-2:]] == [model, model]
        monkeypatch.delenv(variable)


def test_a_changed_variable_is_seen(shared_provider, books, monkeypatch):
    """The client of the first call is not kept for ever."""
    monkeypatch.setenv("GROQ_API_BASE", shared_provider.base_url)
    for key in ("first", "second"):
        monkeypatch.setenv("GROQ_API_KEY", key)
        completion(f"groq/{OWN}", MESSAGES)
        assert shared_provider.requests[-1].headers["authorization"] == f"Bearer {key}"
