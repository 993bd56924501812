"""Names that the price list does not have: what they are taken for, and what is said of those that nobody knows."""

from __future__ import annotations

import ast
import shlex
from typing import Any

import pytest

from budgetguard import ConfigError, PriceBook, UnpricedModelError
from budgetguard.prices.sources.names import is_own

NOON_MS = 1_795_348_800_000
"""At noon of 22 November 2026."""

USAGE = {"input_tokens": 1_000, "output_tokens": 1_000}


def error_of(model: str, provider: str | None = None, host: str = "", **said: Any) -> UnpricedModelError:
    with pytest.raises(UnpricedModelError) as caught:
        PriceBook(**said).quote(provider, model)
    caught.value.host = host
    return caught.value


# -- dates -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "model", "family"),
    [
        ("openai", "gpt-4o-mini-2031-11-01", "gpt-4o-mini"),
        (None, "gpt-4o-mini-20311101", "gpt-4o-mini"),
        (None, "openai/gpt-4o-mini-2031-11-01", "gpt-4o-mini"),
        ("openai", "gpt-4o-mini-1230", "gpt-4o-mini"),
        ("anthropic", "claude-sonnet-4-5@20310101", "claude-sonnet-4-5"),
    ],
)
def test_a_dated_name_is_its_familys(provider: str | None, model: str, family: str) -> None:
    """Providers date what they sell, and a list is older than the newest date."""
    assert PriceBook().quote(provider, model).model == family


def test_a_dated_name_of_ones_own_model_is_its_familys_too() -> None:
    """What was declared for the family is the best that is known of it."""
    book = PriceBook(overrides={"my-model": {"input": 1, "output": 2}})
    assert book.tariff(None, "my-model-2031-11-01", None, NOON_MS).cost(USAGE) == 3_000_000


@pytest.mark.parametrize(
    "model",
    [
        "gpt-4o-mini-2031-13-01",
        "gpt-4o-mini-0999",
        "gpt-4o-mini-1024",
        "gpt-4o-mini-12",
        "gpt-4o-mini-turbo",
        "nobodys-2031-11-01",
        "ft:gpt-7-mini:acme::abc-1230",
    ],
)
def test_what_is_no_date_is_no_familys(model: str) -> None:
    """A size, a version or a fine-tune is another model, at another price."""
    error_of(model, "openai")


def test_a_dated_name_that_the_list_has_is_its_own() -> None:
    """The older snapshot of gpt-4o costs twice what the family does."""
    book = PriceBook()
    dated, family = (book.tariff("openai", name, None, NOON_MS).cost(USAGE) for name in ("gpt-4o-2024-05-13", "gpt-4o"))
    assert (dated, family) == (20_000_000, 12_500_000)


# -- aliases -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("host", [None, "openai", "azure", "groq"])
def test_an_alias_may_name_the_provider_of_its_model(host: str | None) -> None:
    """A proxy answers for many providers: what is meant is that one's model, wherever the call goes."""
    book = PriceBook(deployments={"best": "anthropic/claude-opus-5"})
    assert book.quote(host, "best").model == "claude-opus-5"


def test_an_alias_of_nothing_names_what_it_leads_to() -> None:
    """That is where the typing error is."""
    text = str(error_of("best", deployments={"best": "claude-opus-five"}))
    assert "'claude-opus-five'" in text
    assert "'best' is another name" in text


# -- the error ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "provider", "meant"),
    [
        ("gpt-4o-mni", "openai", "gpt-4o-mini"),
        ("gpt-4o-mni", None, "gpt-4o-mini"),
        ("claude-hiku-4-5", None, "claude-haiku-4-5"),
        ("my-modle", None, "my-model"),
        ("gtp-4o", "no-such-provider", "gpt-4o"),
    ],
)
def test_a_misspelled_name_is_told_what_it_may_mean(model: str, provider: str | None, meant: str) -> None:
    """Of the list's names, and of one's own."""
    text = str(error_of(model, provider, overrides={"my-model": {"input": 1, "output": 2}}))
    assert repr(meant) in text.partition("?")[0].partition("Did you mean")[2]


def test_nothing_is_meant_by_what_is_like_no_name() -> None:
    """A guess that is none would only confuse."""
    assert "Did you mean" not in str(error_of("grandmother-7b"))


@pytest.mark.parametrize("provider", ["anthropic", "aws", "azure", "google", "groq", "mistral", None])
@pytest.mark.parametrize("model", ["grandmother-7b", "gemini-pro-x", "mistral-large-x", "amazon.nova-x-v1:0"])
def test_the_line_for_another_name_names_a_model_that_is_sold_there(provider: str | None, model: str) -> None:
    """Whoever copies it has a price then, not one of another provider's, nor the next error."""
    [line] = [line for line in str(error_of(model, provider)).splitlines() if "'alias_of'" in line]
    aliases = ast.literal_eval(line.partition("prices=")[2].removesuffix(")"))
    PriceBook(overrides=aliases).quote(provider, model)
    assert provider in {None, "azure"} or aliases[model]["alias_of"] != "gpt-4o"


@pytest.mark.parametrize("model", ["grandmother-7b", 'a"b\\c', "org/modèle:été", "it's a model", "-x", "x\ty"])
def test_the_error_has_the_lines_to_add(model: str) -> None:
    """Whoever reads it can copy them, into a program or a shell; the zeros must be replaced by a price."""
    error = error_of(model, host="localhost")
    lines = [line.strip() for line in str(error).splitlines() if line.startswith("    ")]

    calls = [ast.parse(line, mode="eval").body for line in lines if line.startswith("budgetguard.patch(")]
    said = [ast.literal_eval(call.keywords[0].value) for call in calls if isinstance(call, ast.Call)]
    assert said == [
        {model: {"free": True}},
        {model: {"input": "0.00", "output": "0.00"}},
        {model: {"alias_of": "gpt-4o"}},
    ]
    with pytest.raises(ConfigError, match="free = true"):
        PriceBook(overrides=said[1])
    for each in (said[0], said[2]):
        PriceBook(overrides=each).quote(None, model)
    commands = [shlex.split(line.replace("-- ", "")) for line in lines if line.startswith("budgetguard prices")]
    if model.isprintable():
        assert [words[2:4] for words in commands] == [["free", model], ["set", model], ["alias", model]]
    assert error.model == model


@pytest.mark.parametrize(
    ("own", "provider", "billed"),
    [("mistral:7b", "mistral", "mistral-large-latest"), ("gpt-oss:20b", "cerebras", "gpt-oss-120b")],
)
def test_what_is_offered_as_free_is_that_model_alone(own: str, provider: str, billed: str) -> None:
    """Its vendor bills for others of the family, and a budget would not hold for them."""
    line = next(line for line in str(error_of(own, host="localhost")).splitlines() if "'free'" in line)
    (entry,) = [
        ast.literal_eval(call.value) for call in ast.walk(ast.parse(line.strip())) if isinstance(call, ast.keyword)
    ]
    book = PriceBook(overrides=entry)
    assert book.quote(None, own).free
    assert not book.quote(provider, billed).free


@pytest.mark.parametrize(
    ("host", "own"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("[::1]", True),
        ("host.docker.internal", True),
        ("gpu.local", True),
        ("10.1.2.3", True),
        ("172.16.0.9", True),
        ("192.168.1.20", True),
        ("api.openai.com", False),
        ("8.8.8.8", False),
        ("172.32.0.1", False),
        ("local", False),
        ("", False),
    ],
)
def test_a_host_of_ones_own_is_offered_as_free(host: str, own: bool) -> None:
    """Nobody bills for it. It is only offered: what stands there may ask a provider that does."""
    assert is_own(host) == own
    text = str(error_of("llama3:8b", host=host))
    assert ("budgetguard prices free llama3:8b\n" in text) == own
    with pytest.raises(UnpricedModelError):
        PriceBook().quote(PriceBook().provider(host), "llama3:8b")


# -- the dearest -------------------------------------------------------------------------------------------------------


def test_the_dearest_is_no_cheaper_than_any_model_of_its_provider() -> None:
    """That is what a model is taken for which nobody knows."""
    book = PriceBook()
    quote, tariff = book.dearest("anthropic")
    for model in ("claude-opus-5", "claude-sonnet-4-5", "claude-haiku-4-5", "claude-3-opus-latest"):
        known = book.tariff("anthropic", model, None, NOON_MS).cost(USAGE)
        assert known <= tariff.cost(USAGE) <= quote.cost(USAGE)


def test_the_dearest_in_a_tier_is_no_cheaper_than_standard() -> None:
    """Half a price that is a guess would be half a guess."""
    book = PriceBook()
    standard, flex, priority = (book.dearest("openai", tier)[1].cost(USAGE) for tier in (None, "flex", "priority"))
    assert standard == flex < priority
    assert book.dearest("openai/eu")[1].cost(USAGE) > standard
