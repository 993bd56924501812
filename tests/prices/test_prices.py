"""The price book: what it knows, what it refuses to guess, and what a price file may say."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import cache
from math import ceil, inf, nan
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from budgetguard.errors import ConfigError, UnpricedModelError
from budgetguard.prices.book import PriceBook
from budgetguard.prices.kinds import TOKEN_KINDS, UNIT_KINDS, words
from budgetguard.prices.tariffs import Quote, Tariff, flat, worst

NOON = datetime(2026, 11, 22, 12, 0, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)


def book(**arguments: Any) -> PriceBook:
    return PriceBook(clock=NOON.timestamp, **arguments)


def cost(prices: PriceBook, model: str, usage: dict[str, int], *, provider: str | None = None) -> int:
    return prices.tariff(provider, model, None, NOON_MS).cost(usage)


# -- models that are not known ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("provider", [None, "openai", "azure", "groq", "no-such-provider"])
def test_an_unknown_model_has_no_price(provider: str | None) -> None:
    """Unknown is not free."""
    with pytest.raises(UnpricedModelError):
        book().quote(provider, "grandmother-7b")
    with pytest.raises(UnpricedModelError):
        book().tariff(provider, "grandmother-7b", None, NOON_MS)


def test_a_model_that_is_listed_without_a_price_is_unknown_too() -> None:
    """The list has names with "moderation" in them, and some models of a subscription, at no price at all."""
    with pytest.raises(UnpricedModelError):
        book().quote("openai", "my-moderation-writer")
    with pytest.raises(UnpricedModelError):
        book().quote("github-copilot", "gpt-4o")
    with pytest.raises(UnpricedModelError):
        book().quote(None, "gemma-3-27b-it")


def test_an_unknown_fine_tune_is_not_priced_as_its_base() -> None:
    """Fine-tuned models cost more than what they were made from."""
    with pytest.raises(UnpricedModelError):
        book().quote("openai", "ft:gpt-7-mini:acme::abc")


def test_a_count_without_a_price_is_an_error_with_the_line_to_add() -> None:
    """A model may be known, and what was used of it not."""
    tariff = book().tariff("openai", "text-embedding-3-small", None, NOON_MS)

    with pytest.raises(UnpricedModelError) as caught:
        tariff.cost({"input_tokens": 5, "images/hd/1024x1024": 1})
    assert '"images/hd/1024x1024" = 0.00' in str(caught.value)
    with pytest.raises(UnpricedModelError, match=r'"output" = 0\.00'):
        tariff.cost({"input_tokens": 5, "output_tokens": 1})
    assert tariff.cost({"input_tokens": 5, "output_tokens": 0}) == 100


# -- names -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("provider", "model", "listed"),
    [
        (None, "gpt-4o", "gpt-4o"),
        (None, "GPT-4o", "gpt-4o"),
        (None, " gpt-4o ", "gpt-4o"),
        (None, "openai/gpt-4o", "gpt-4o"),
        (None, "azure/gpt-4o", "gpt-4o"),
        ("openai", "openai/gpt-4o", "gpt-4o"),
        ("azure", "gpt-35-turbo", "gpt-3.5-turbo"),
        (None, "claude-opus-5", "claude-opus-5"),
        (None, "anthropic/claude-opus-5", "claude-opus-5"),
        (None, "openrouter/openai/gpt-4o", "openai/gpt-4o"),
        ("google", "models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("google", "publishers/google/models/gemini-2.5-flash", "gemini-2.5-flash"),
        ("openai", "gpt-5.2-20251211", "gpt-5.2"),
        (None, "groq/llama-3.3-70b-versatile", "llama-3.3-70b-versatile"),
    ],
)
def test_a_model_is_found_by_the_names_people_use(provider: str | None, model: str, listed: str) -> None:
    """Proxies put the provider before the name; Azure spells some names in its own way."""
    assert book().quote(provider, model).model == listed


def test_a_prefix_that_is_no_provider_is_not_dropped() -> None:
    """`somebody/gpt-4o` is somebody's model, not OpenAI's."""
    with pytest.raises(UnpricedModelError):
        book().quote(None, "somebody/gpt-4o")


@pytest.mark.parametrize(
    ("host", "path", "provider"),
    [
        ("api.openai.com", "/v1/chat/completions", "openai"),
        ("API.OpenAI.com", "", "openai"),
        ("eu.api.openai.com", "", "openai/eu"),
        ("acme.openai.azure.com", "", "azure"),
        ("api.anthropic.com", "", "anthropic"),
        ("openrouter.ai", "/api/v1", "openrouter"),
        ("api.deepseek.com", "", "deepseek"),
        ("router.huggingface.co", "/groq/v1", "huggingface_groq"),
        ("localhost", "", None),
        ("127.0.0.1:8080", "", None),
        ("[::1]", "", None),
        ("llm.example.com", "", None),
    ],
)
def test_the_host_tells_the_provider(host: str, path: str, provider: str | None) -> None:
    """The same name costs differently at different hosts."""
    prices = book()
    assert prices.provider(host, path) == provider
    assert prices.provider(host, path) == provider


def test_deployments_are_other_names() -> None:
    """Azure's deployments say nothing of the model that they are."""
    prices = book(deployments={"Our-Chat": "gpt-4o-mini", "their-chat": "our-chat"})

    assert prices.quote("azure", "our-chat").model == "gpt-4o-mini"
    assert prices.quote("azure", "THEIR-CHAT").model == "gpt-4o-mini"
    assert prices.quote("azure", "our-chat").max_output == 16384


def test_a_pattern_may_match_the_name_that_it_stands_for() -> None:
    """An alias that covers its own target must not be followed forever."""
    prices = book(overrides={"gpt-4o*": {"alias_of": "gpt-4o"}})

    assert prices.quote("openai", "gpt-4o-our-own").model == "gpt-4o"


# -- what is declared ------------------------------------------------------------------------------------------------


def test_declared_prices_need_no_list() -> None:
    """A program that uses only models of its own does not load the half second of genai-prices."""
    code = (
        "import sys, budgetguard.prices as p\n"
        "assert not {'genai_prices', 'pydantic', 'openai', 'tomllib'} & set(sys.modules), 'on import'\n"
        "book = p.PriceBook(overrides={'mine*': {'input': 1, 'output': 2}})\n"
        "assert book.provider('localhost') is None\n"
        "assert book.quote(None, 'mine-1').cost({'input_tokens': 1, 'output_tokens': 1}) == 3000\n"
        "assert 'genai_prices' not in sys.modules, 'on use'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_declared_price_replaces_the_list() -> None:
    """Also its cached input and its tiers: half of one price and half of another is nobody's price."""
    prices = book(overrides={"gpt-4o": {"input": "1", "output": 2}})

    assert cost(prices, "gpt-4o", {"input_tokens": 1000, "cache_read_tokens": 900}, provider="openai") == 1_000_000
    assert prices.tariff("openai", "gpt-4o", "flex", NOON_MS).cost({"input_tokens": 1000}) == 1_000_000


def test_a_declared_fee_or_limit_adds_to_the_list() -> None:
    """They are not a price."""
    prices = book(overrides={"gpt-4o": {"web_searches": 0.05, "max_output": 100, "context": 1000}})

    assert cost(prices, "gpt-4o", {"input_tokens": 1000, "web_searches": 1}, provider="openai") == 52_500_000
    assert prices.quote("openai", "gpt-4o").max_output == 100
    assert prices.quote("openai", "gpt-4o").context == 1000


def test_a_declared_price_keeps_the_fees_of_the_tools_at_the_provider() -> None:
    """A price for tokens does not make the web free, nor forbidden."""
    prices = book(overrides={"gpt-4o": {"input": 1, "output": 2}})

    assert cost(prices, "gpt-4o", {"input_tokens": 1000, "web_searches": 1}, provider="openai") == 11_000_000
    with pytest.raises(UnpricedModelError):
        cost(prices, "gpt-4o", {"input_tokens": 1000, "web_searches": 1}, provider="groq")


def test_a_declared_price_of_pictures_alone_is_enough_for_pictures() -> None:
    """A model need not have tokens; where the list has it, its tokens keep their price."""
    prices = book(overrides={"painter": {"images/hd/1x1": 0.5}, "gpt-4o": {"images/hd/1x1": 0.5}})

    assert cost(prices, "painter", {"images/hd/1x1": 2}) == 1_000_000_000
    assert cost(prices, "gpt-4o", {"images/hd/1x1": 2, "input_tokens": 1}) == 1_000_002_500
    with pytest.raises(UnpricedModelError, match="input_tokens"):
        cost(prices, "painter", {"input_tokens": 1})


def test_an_unlisted_region_has_the_surcharge_of_the_dearest() -> None:
    """A host of a new region is not free of it."""
    prices = book()

    assert prices.provider("jp.api.openai.com") == "openai/jp"
    assert cost(prices, "gpt-4o", {"input_tokens": 1000}, provider="openai/jp") == 2_750_000


def test_a_declared_price_may_be_for_one_provider() -> None:
    """The others keep theirs."""
    prices = book(overrides={"gpt-4o": {"provider": "azure", "input": 3, "output": 3}})

    assert cost(prices, "gpt-4o", {"input_tokens": 1}, provider="azure") == 3000
    assert cost(prices, "gpt-4o", {"input_tokens": 1}, provider="openai") == 2500


def test_exact_names_come_before_patterns() -> None:
    """A rule may have an exception, in whatever order they stand."""
    prices = book(overrides={"mine*": {"free": True}, "mine-large": {"input": 1, "output": 1}})

    assert prices.quote(None, "mine-small").free
    assert not prices.quote(None, "mine-large").free


def test_free_models_cost_nothing_whatever_they_use() -> None:
    """Declared free passes every budget."""
    quote = book(overrides={"gemma*": {"free": True}}).quote(None, "gemma3-270m")

    assert quote.free
    assert quote.cost({"input_tokens": 10**9, "web_searches": 5, "never-heard-of": 1}) == 0
    assert quote.output_pico(10) == 0


def test_prices_are_added_in_code() -> None:
    """And count from the next call on, the last one first."""
    prices = book()
    with pytest.raises(UnpricedModelError):
        prices.quote(None, "mine")

    prices.add("mine", input=0.15, output="0.60", cache_read=0.075, max_output=512, context=4096)
    assert cost(prices, "mine", {"input_tokens": 100, "cache_read_tokens": 50, "output_tokens": 10}) == 17_250
    assert (prices.quote(None, "mine").max_output, prices.quote(None, "mine").context) == (512, 4096)

    prices.add("mine", free=True)
    assert prices.quote(None, "mine").free

    prices.add("also-mine", alias_of="mine")
    assert prices.quote(None, "also-mine").free


def test_a_model_with_a_price_of_its_own_is_known_as_such() -> None:
    """The answer of a server of one's own may call itself gpt-3.5-turbo: what was asked for counts."""
    prices = book(
        overrides={"gemma*": {"free": True}, "gpt-4o": {"max_output": 100}, "o3": {"provider": "azure", "input": 1}},
        deployments={"ours": "gemma3", "theirs": "gpt-4o-mini"},
    )

    assert prices.declares(None, "gemma3-270m")
    assert prices.declares("openai", "ours")
    assert prices.declares("azure", "o3")
    assert not prices.declares("openai", "o3")
    assert not prices.declares("openai", "theirs")
    assert not prices.declares("openai", "gpt-4o")
    assert not book().declares("openai", "gpt-4o")


def test_a_float_means_the_number_that_it_prints_as() -> None:
    """0.1 dollars are ten cents, not a hair more."""
    prices = book(overrides={"m": {"input": 0.1, "output": 0.7}})

    assert cost(prices, "m", {"input_tokens": 10**6}) == 100_000_000
    assert cost(prices, "m", {"output_tokens": 10**6}) == 700_000_000


def test_a_discount_is_taken_off_the_list_of_one_provider() -> None:
    """Not off what was declared, which is what one pays."""
    prices = book(discounts={"openai": "0.12"}, overrides={"mine": {"input": 1, "output": 1}})

    assert cost(prices, "gpt-4o", {"input_tokens": 1000, "web_searches": 1}, provider="openai") == 11_000_000
    assert cost(prices, "gpt-4o", {"input_tokens": 1000}, provider="azure") == 2_500_000
    assert cost(prices, "mine", {"input_tokens": 1000}, provider="openai") == 1_000_000


def test_all_of_a_price_can_be_discounted() -> None:
    """Somebody has credits."""
    assert cost(book(discounts={"openai": 1}), "gpt-4o", {"input_tokens": 1000}, provider="openai") == 0


def test_a_discount_at_a_provider_that_does_not_exist_is_an_error() -> None:
    """A slip of the pen would otherwise only show on the bill."""
    with pytest.raises(ConfigError, match="opnai"):
        book(discounts={"opnai": 0.12}).quote("openai", "gpt-4o")


# -- price files -----------------------------------------------------------------------------------------------------

GOOD_FILE = """
[models."my-model"]
input = 0.15
output = "0.60"
cache_read = 0.075
web_searches = 0.01
max_output = 16384
context = 128000

[models."gemma*"]
free = true

[models.other]
name = "my-model"
provider = "azure"
input = 1
output = 1

[deployments]
"my-gpt4o-deployment" = "gpt-4o"

[discounts]
openai = 0.12

[tiers]
turbo = 3
"""


def test_a_price_file_says_all_of_it(tmp_path: Path) -> None:
    """The example of the documentation, as written."""
    path = tmp_path / "prices.toml"
    path.write_text(GOOD_FILE)
    prices = PriceBook.load(path)

    assert cost(prices, "my-model", {"input_tokens": 100, "output_tokens": 10, "web_searches": 1}) == 10_021_000
    assert cost(prices, "my-model", {"input_tokens": 100}, provider="azure") == 100_000
    assert prices.quote(None, "my-model").max_output == 16384
    assert prices.quote(None, "gemma3-270m").free
    assert prices.quote("azure", "my-gpt4o-deployment").model == "gpt-4o"
    assert cost(prices, "gpt-4o", {"input_tokens": 1000}, provider="openai") == 2_200_000
    assert prices.tariff(None, "my-model", "turbo", NOON_MS).cost({"input_tokens": 100}) == 45_000


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("models = 3", r"\[models\]"),
        ("[model.x]\ninput = 1", r"'model'.*'models'"),
        ("[models.x]\ninput = 'cheap'", "input = 'cheap'"),
        ("[models.x]\ninput = -1", "input = -1 is negative"),
        ("[models.x]\ninput = nan", "not finite"),
        ("[models.x]\ninput = inf", "not finite"),
        ("[models.x]\ninput = true", "input = True"),
        ("[models.x]\ninput = 1e30", "proportion"),
        ("[models.x]\ninput = '1e999999999'", "proportion"),
        ("[models.x]\ninput = '1e-999999999'", "proportion"),
        ("[models.x]\ninput = 0\noutput = 0", "free = true"),
        ("[models.x]\ninputs = 1", r"'inputs'.*'input'"),
        ("[models.x]\nweb_search = 1", r"'web_search'.*'web_searches'"),
        ("[models.x]\nfree = 1", "free = 1"),
        ("[models.x]\nfree = true\ninput = 1", "free, and has prices"),
        ("[models.x]\nalias_of = 'y'\ninput = 1", "alias of 'y', and"),
        ("[models.x]\nalias_of = ''", "alias_of = ''"),
        ("[models.x]\nmax_output = 1.5", "max_output = 1.5"),
        ("[models.x]\nmax_output = 0", "max_output = 0"),
        ("[models.x]\ncontext = '1k'", "context = '1k'"),
        ("[models.x]\nprovider = 3", "provider = 3"),
        ("[models.x]", "says nothing"),
        ("[models.' ']\ninput = 1", "needs a name"),
        ("[models]\nx = 3", "is no table"),
        ("[deployments]\nx = 3", "'x'"),
        ("[deployments]\na = 'b'\nb = 'A'", "circle"),
        ("[deployments]\na = 'a'", "circle"),
        ("[discounts]\nopenai = 1.5", "'openai' = 1.5 is above 1"),
        ("[discounts]\nopenai = -0.1", "negative"),
        ("[discounts]\nopenai = nan", "not finite"),
        ("[discounts]\nopenai = '12%'", "'12%' is no number"),
        ("[tiers]\nturbo = 'x'", "'turbo'"),
        ("[models.x\ninput = 1", "not TOML"),
        ("input = 1\ninput = 2", "not TOML"),
    ],
)
def test_a_defect_in_a_price_file_is_one_error_that_names_it(tmp_path: Path, text: str, named: str) -> None:
    """File, key, and what to write there."""
    path = tmp_path / "prices.toml"
    path.write_text(text)

    with pytest.raises(ConfigError, match=named) as caught:
        PriceBook.load(path)
    assert str(caught.value).startswith(str(path))


def test_a_price_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    """Not there, a directory, or not text."""
    binary = tmp_path / "prices.bin"
    binary.write_bytes(b"\xff\xfe\x00")

    for path in (tmp_path / "missing.toml", tmp_path, binary, "nul\0"):
        with pytest.raises(ConfigError, match="price file"):
            PriceBook.load(path)


@pytest.mark.parametrize(
    "arguments",
    [
        {"overrides": {"x": {"input": -1}}},
        {"overrides": {3: {"input": 1}}},
        {"overrides": {"x": {"input": nan}}},
        {"discounts": {"openai": inf}},
        {"deployments": {"a": 3}},
        {"tiers": {"priority": "dear"}},
        {"auto_tier": "warp"},
    ],
)
def test_arguments_are_checked_as_a_file_is(arguments: dict[str, Any]) -> None:
    """A price book is made whole, or not at all."""
    with pytest.raises(ConfigError):
        book(**arguments)


def test_a_wrong_price_in_code_changes_nothing() -> None:
    """Nothing by halves."""
    prices = book(overrides={"mine": {"input": 1, "output": 1}})

    with pytest.raises(ConfigError, match=r"add\('mine'\) output"):
        prices.add("mine", input=5, output="x")
    with pytest.raises(ConfigError, match="no kind of price"):
        prices.add("mine", inptu=5)
    with pytest.raises(ConfigError, match="circle"):
        prices.add("mine", alias_of="mine")
    assert cost(prices, "mine", {"input_tokens": 1}) == 1000


# -- the worst case --------------------------------------------------------------------------------------------------


def test_a_quote_is_of_the_dearest_hour_of_the_day() -> None:
    """The answer may come at another hour than the question."""
    quiet = PriceBook(clock=datetime(2026, 11, 22, 12, tzinfo=UTC).timestamp)

    assert quiet.quote("deepseek", "deepseek-flash").cost({"input_tokens": 1000}) == 300_000


def test_a_quote_sees_a_dated_change_coming() -> None:
    """A call in flight at midnight is charged at the price of the next day."""
    eve = datetime(2026, 10, 19, 12, 0, 1, tzinfo=UTC)
    prices = PriceBook(clock=eve.timestamp)

    assert prices.quote("mistral", "mistral-large-4").cost({"input_tokens": 1000}) == 1_360_000


def test_a_quote_is_made_anew_when_a_price_falls() -> None:
    """Yesterday's price must not refuse today's calls."""
    now = [datetime(2026, 10, 28, 23, 0, tzinfo=UTC).timestamp()]
    prices = PriceBook(clock=lambda: now[0])
    assert prices.quote("mistral", "mistral-large-4").cost({"input_tokens": 1000}) == 1_360_000

    now[0] += 3600

    assert prices.quote("mistral", "mistral-large-4").cost({"input_tokens": 1000}) == 700_000


def test_plain_input_is_quoted_as_a_write_to_the_cache() -> None:
    """The provider decides what it writes to its cache."""
    quote = book().quote("openai", "gpt-6.1-sol", "default")

    assert quote.cost({"input_tokens": 1000}) == 2_500_000


def test_plain_output_is_quoted_as_the_dearest_output() -> None:
    """A model that can speak may answer in speech."""
    quote = book().quote("openai", "gpt-audio")

    assert quote.cost({"input_tokens": 0, "output_tokens": 10}) == 640_000
    assert quote.output_pico(1) == 64_000_000


def test_the_price_of_one_more_output_token_depends_on_the_input() -> None:
    """It turns room in a budget into an output cap."""
    quote = book().quote("openai", "gpt-5.4", "default")

    assert quote.output_pico(272_000) == 15_000_000
    assert quote.output_pico(272_001) == 22_500_000
    assert book(discounts={"openai": "0.333"}).quote("openai", "gpt-5-nano").output_pico(0) == 266_800


@pytest.mark.parametrize(
    ("provider", "model", "max_output"),
    [
        ("openai", "gpt-4o", 16384),
        ("openai", "gpt-4o-2024-05-13", 4096),
        ("openai", "gpt-4.1-mini", 32768),
        ("openai", "gpt-5", 128000),
        ("openai", "gpt-5-chat-latest", 16384),
        ("openai", "o3", 100000),
        ("openai", "gpt-5-mini-2025-08-07", 128000),
        ("openai", "ft:gpt-4o-mini:acme::abc", 16384),
        ("azure", "gpt-4o", 16384),
        (None, "openai/gpt-4o", 16384),
        ("openrouter", "openai/gpt-4o", 16384),
        ("anthropic", "claude-opus-5", 128000),
        ("google", "gemini-2.5-flash", 65536),
        ("deepseek", "deepseek-flash", 393216),
    ],
)
def test_the_most_output_of_a_model_is_known(provider: str | None, model: str, max_output: int) -> None:
    """Where the caller states no cap, this is what a call can use."""
    assert book().quote(provider, model).max_output == max_output


def test_the_shipped_limits_are_of_models_on_the_list() -> None:
    """A name that has changed would be silently without its limit."""
    from genai_prices.data_snapshot import get_snapshot

    from budgetguard.prices.sources.shipped import shipped

    providers = {provider.id: provider for provider in get_snapshot().providers}
    for provider, limits in shipped().limits.items():
        for model, most in limits.items():
            ids = {listed.id.lower() for listed in providers[provider].models}
            assert model in ids or providers[provider].find_model(model) is not None, f"{provider}/{model}"
            assert most > 0


# -- caching ---------------------------------------------------------------------------------------------------------


@given(
    asked=st.integers(-5, 10**12),
    written=st.integers(-5, 10**12),
    rates=st.tuples(st.fractions(0, 10**9), st.fractions(0, 10**9)),
)
def test_a_plain_call_costs_what_the_sum_over_its_kinds_is(asked: int, written: int, rates: Any) -> None:
    """It is priced without a look at the kinds that it does not have."""
    prices = {"input_tokens": flat(rates[0]), "output_tokens": flat(rates[1]), "cache_read_tokens": flat(Fraction(1))}
    tariff = Tariff(prices, provider="p", model="m")
    plain = {"input_tokens": asked, "output_tokens": written}
    exact = (max(asked, 0) * rates[0] + max(written, 0) * rates[1]) / 1000
    assert tariff.cost(plain) == tariff.cost({**plain, "cache_read_tokens": 0}) == ceil(exact)


def test_cards_are_compiled_once() -> None:
    """The hot path is a look into a dictionary."""
    prices = book()

    assert prices.quote("openai", "gpt-4o") is prices.quote("openai", "gpt-4o")
    tariff = prices.tariff("openai", "gpt-4o", None, NOON_MS)
    assert prices.tariff("openai", "gpt-4o", None, NOON_MS + 1) is tariff


def settled(prices: PriceBook, asked: str, answered: str | None) -> str:
    return prices.settlement("openai", asked, answered, None, NOON_MS).model


def test_an_answer_costs_what_the_model_that_answered_costs() -> None:
    """A router answers with another model than the one asked for."""
    assert settled(book(), "gpt-4o", "gpt-4o-mini-2024-07-18") == "gpt-4o-mini"
    assert settled(book(), "gpt-4o", None) == "gpt-4o"


def test_an_answer_by_an_unknown_name_costs_what_was_asked_for() -> None:
    """Servers answer with file names and deployments; the model asked for had a price before the call."""
    assert settled(book(), "gpt-4o", "/models/blob-7") == "gpt-4o"
    with pytest.raises(UnpricedModelError, match="grandmother"):
        settled(book(), "grandmother-7b", "/models/blob-7")


def test_a_price_of_ones_own_holds_whatever_name_the_answer_has() -> None:
    """It was declared for the name that the program uses."""
    prices = book(overrides={"mine": {"input": 1, "output": 2}})

    assert settled(prices, "mine", "gpt-4o") == "mine"


def test_a_settlement_is_looked_up_once_until_prices_are_added() -> None:
    """The second call of a program is quick, and sees what was declared since."""
    prices = book()
    first = prices.settlement("openai", "gpt-4o", "blob-7", None, NOON_MS)

    assert prices.settlement("openai", "gpt-4o", "blob-7", None, NOON_MS + 1) is first
    prices.add("blob-7", input=1, output=2)
    assert settled(prices, "gpt-4o", "blob-7") == "blob-7"


def test_cards_are_dropped_when_the_list_changes() -> None:
    """genai-prices can update itself in a running program."""
    from genai_prices import data_snapshot, types

    prices = book()
    assert cost(prices, "gpt-4o", {"input_tokens": 1}, provider="openai") == 2500
    bundled = data_snapshot.get_snapshot()
    openai = next(provider for provider in bundled.providers if provider.id == "openai")
    match = types.ClauseEquals("gpt-4o")
    model = types.ModelInfo("gpt-4o", match, prices=types.ModelPrice(input_mtok=types.Decimal(7)))
    dearer = types.Provider("openai", "OpenAI", openai.api_pattern, models=[model])
    try:
        data_snapshot.set_custom_snapshot(data_snapshot.DataSnapshot([dearer], from_auto_update=True))
        assert cost(prices, "gpt-4o", {"input_tokens": 1}, provider="openai") == 7000
        assert prices.quote("openai", "gpt-4o").cost({"input_tokens": 1}) == 7000
    finally:
        data_snapshot.set_custom_snapshot(None)
    assert cost(prices, "gpt-4o", {"input_tokens": 1}, provider="openai") == 2500


def test_names_from_outside_do_not_fill_the_memory() -> None:
    """A pattern matches as many names as somebody cares to invent."""
    prices = book(overrides={"mine-*": {"free": True}})

    for number in range(10_000):
        prices.quote(None, f"mine-{number}")

    assert len(prices._cards().quotes) < 5000


# -- contradictions --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("usage", "nano"),
    [
        ({"input_tokens": 50, "cache_read_tokens": 100}, 50 * 2500 + 100 * 1250),
        ({"cache_read_tokens": 100}, 100 * 1250),
        ({"output_tokens": 10, "output_reasoning_tokens": 30}, (10 + 30) * 10_000),
        ({"output_reasoning_tokens": 30}, 30 * 10_000),
        ({"input_audio_tokens": 30, "input_image_tokens": 20}, 50 * 2500),
        ({"input_tokens": -5, "output_tokens": 1}, 10_000),
        ({"input_tokens": 10, "cache_read_tokens": -5}, 10 * 2500),
    ],
)
def test_counts_that_contradict_each_other_are_read_the_dearer_way(usage: dict[str, int], nano: int) -> None:
    """Some providers leave the cached tokens out of the input: they are charged beside it, and nothing raises."""
    assert cost(book(), "gpt-4o", usage, provider="openai") == nano


def test_input_that_is_counted_apart_reaches_the_step_for_long_inputs() -> None:
    """Tokens that a provider counts beside the input were sent all the same."""
    usage = {"input_tokens": 1000, "cache_read_tokens": 300_000}

    assert cost(book(), "gpt-5.4", usage, provider="openai") == 1000 * 5000 + 300_000 * 500


def test_the_worst_of_prices_does_not_fall_with_more_input() -> None:
    """A projection is of more input than there will be."""
    falling = {"input_tokens": ((-1, Fraction(5)), (100, Fraction(3)), (200, Fraction(9)))}

    assert worst([falling]) == {"input_tokens": ((-1, Fraction(5)), (200, Fraction(9)))}
    assert worst([falling, {"input_tokens": flat(Fraction(6))}]) == {
        "input_tokens": ((-1, Fraction(6)), (200, Fraction(9)))
    }


def test_the_worst_of_prices_counts_a_part_at_the_price_of_its_whole() -> None:
    """Where one list has a price for speech and another has not, the other charges it as input."""
    speech = {"input_tokens": flat(Fraction(1)), "input_audio_tokens": flat(Fraction(2))}

    assert worst([speech, {"input_tokens": flat(Fraction(3))}]) == {
        "input_tokens": flat(Fraction(3)),
        "input_audio_tokens": flat(Fraction(3)),
    }


# -- what holds for every usage --------------------------------------------------------------------------------------

MODELS = [
    ("openai", "gpt-4o"),
    ("openai", "gpt-5.4"),
    ("openai", "gpt-6.1-sol"),
    ("openai", "gpt-audio"),
    ("openai", "gpt-realtime"),
    ("openai", "gpt-image-1.5"),
    ("openai", "text-embedding-3-small"),
    ("openai", "whisper-1"),
    ("anthropic", "claude-opus-5"),
    ("anthropic", "claude-haiku-5-5"),
    ("anthropic", "claude-sonnet-4-5"),
    ("google", "gemini-2.5-pro"),
    ("google", "gemini-2.5-flash"),
    ("deepseek", "deepseek-chat"),
    ("deepseek", "deepseek-v4-pro"),
    ("mistral", "mistral-large-4"),
    ("groq", "whisper-large-v3"),
    ("groq", "openai/gpt-oss-20b"),
    ("perplexity", "sonar-pro"),
    ("perplexity", "sonar-deep-research"),
    ("x-ai", "grok-4.3"),
    ("openrouter", "anthropic/claude-opus-5"),
]
TIERS = [None, "default", "flex", "priority", "batch", "fast"]
MOMENTS = st.integers(0, 5000).map(lambda quarter: NOON + timedelta(minutes=15 * (quarter - 2500)))
PRICES = PriceBook(clock=NOON.timestamp)


@cache
def listed(provider: str, model: str) -> Any:
    from genai_prices.data_snapshot import get_snapshot

    seller = next(seller for seller in get_snapshot().providers if seller.id == provider)
    return seller, seller.find_model(model)


def kinds_of(model: Any, at: datetime, context: dict[str, str] | None = None) -> list[str]:
    from genai_prices.data_units import unit_data

    kinds = {unit["price_key"]: kind for kind, unit in unit_data.items()}
    prices = model.get_prices(at, context)
    return [kinds[key] for key, value in vars(prices).items() if value is not None and key != "requests_kcount"]


@st.composite
def consistent_usages(draw: st.DrawFn, kinds: list[str]) -> dict[str, int]:
    """Counts in which every whole has its parts in it: what is not in any part is drawn, and added up."""
    counts = st.one_of(st.integers(0, 50), st.integers(0, 400_000))
    own = {kind: draw(counts) for kind in kinds}
    return {
        whole: sum(count for part, count in own.items() if words(part) >= words(whole)) for whole in own if whole in own
    }


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_costs_are_those_of_genai_prices(data: st.DataObject) -> None:
    """To the rounding, for consistent usages, wherever it has a price for the tier."""
    from genai_prices import Usage

    provider, name = data.draw(st.sampled_from(MODELS))
    seller, model = listed(provider, name)
    at = data.draw(MOMENTS)
    tier = data.draw(st.sampled_from(TIERS))
    context = None if tier is None else {"service_tier": tier, "processing": tier, "speed": tier}
    usage = data.draw(consistent_usages(kinds_of(model, at, context)))

    ours = PRICES.tariff(provider, name, tier, int(at.timestamp() * 1000)).cost(usage)
    theirs = model.calc_price(Usage(**usage), seller, genai_request_timestamp=at, price_context=context).total_price

    rounded = ceil(Fraction(theirs) * 10**9)
    if tier in {"flex", "priority", "fast"} and model.get_prices(at, context) == model.get_prices(at):
        cheaper = Fraction(1, 2) if (provider, tier) == ("google", "flex") else 1
        assert ours >= rounded * cheaper  # the list has no price for the tier, and takes the standard one
    else:
        assert abs(ours - rounded) <= 1  # its decimals end after 28 digits


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_quote_is_above_the_cost_at_any_time_of_the_next_hours(data: st.DataObject) -> None:
    """Whatever is held covers what the same usage costs when it is settled."""
    provider, name = data.draw(st.sampled_from(MODELS))
    _, model = listed(provider, name)
    start = data.draw(MOMENTS)
    settled = start + data.draw(st.timedeltas(timedelta(0), timedelta(hours=12)))
    tier = data.draw(st.sampled_from(TIERS))
    answered = data.draw(st.sampled_from([tier, None, "flex"]))
    usage = data.draw(consistent_usages(kinds_of(model, settled)))

    quote = PriceBook(clock=start.timestamp).quote(provider, name, tier)
    tariff = PRICES.tariff(provider, name, answered, int(settled.timestamp() * 1000))

    assert quote.cost(usage) >= tariff.cost(usage)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_plain_tokens_are_quoted_above_whatever_they_turn_out_to_be(data: st.DataObject) -> None:
    """
    A request says how much text there is, not what will be cached, thought or spoken of it.

    Only what it does show (sounds and pictures that go in, a cache that is to keep for hours) is projected apart.
    """
    provider, name = data.draw(st.sampled_from(MODELS))
    _, model = listed(provider, name)
    usage = data.draw(consistent_usages(kinds_of(model, NOON)))
    hidden = {kind for kind in usage if "cache" in kind and not kind.endswith(("1h_tokens", "12h_tokens"))}
    hidden |= {kind for kind in usage if kind.startswith("output_") and kind.endswith("_tokens")} - {"output_tokens"}
    projected = {kind: count for kind, count in usage.items() if kind not in hidden}

    assert PRICES.quote(provider, name).cost(projected) >= PRICES.tariff(provider, name, None, NOON_MS).cost(usage)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_more_of_anything_never_costs_less(data: st.DataObject) -> None:
    """Also beyond the steps for long inputs: a token more is a token more in all that it is part of."""
    provider, name = data.draw(st.sampled_from(MODELS))
    _, model = listed(provider, name)
    usage = data.draw(consistent_usages(kinds_of(model, NOON)))
    kind = data.draw(st.sampled_from(sorted(usage)))
    more = data.draw(st.integers(0, 400_000))
    larger = {each: count + (more if words(each) <= words(kind) else 0) for each, count in usage.items()}

    for priced in (PRICES.tariff(provider, name, None, NOON_MS), PRICES.quote(provider, name)):
        assert priced.cost(larger) >= priced.cost(usage)


@settings(max_examples=300, deadline=None)
@given(
    st.sampled_from([pair for pair in MODELS if pair[1] not in {"whisper-1", "whisper-large-v3"}]),
    st.dictionaries(st.sampled_from(sorted(kind for kind in TOKEN_KINDS if kind.startswith(("input", "cache")))),
                    st.integers(-5, 400_000)),
)  # fmt: skip
def test_no_counts_of_input_are_free_or_raise(pair: tuple[str, str], usage: dict[str, int]) -> None:
    """However they contradict each other: the answer is there, and somebody has to pay for it."""
    spent = PRICES.tariff(*pair, None, NOON_MS).cost(usage)

    assert spent > 0 if any(count > 0 for count in usage.values()) else spent >= 0


# -- kinds -----------------------------------------------------------------------------------------------------------


def test_kinds_are_nested_as_in_genai_prices() -> None:
    """Their names say it: a test saves the import."""
    from genai_prices.data_units import unit_data

    assert set(unit_data) <= TOKEN_KINDS | UNIT_KINDS
    for part, one in unit_data.items():
        for whole, other in unit_data.items():
            inside = part != whole and other["dimensions"].items() <= one["dimensions"].items()
            assert (words(whole) < words(part)) == inside, (part, whole)


def test_every_price_of_a_tariff_can_be_shown() -> None:
    """For the table that people see."""
    tariff = Tariff(
        {"input_tokens": ((-1, Fraction(5)), (100, Fraction(7))), "output_tokens": flat(Fraction(1, 3))},
        provider="somebody",
        model="m",
    )

    assert sorted(tariff.rates()) == [
        ("input_tokens", -1, Fraction(5)),
        ("input_tokens", 100, Fraction(7)),
        ("output_tokens", -1, Fraction(1, 3)),
    ]


def test_a_quote_is_a_tariff() -> None:
    """One function prices the projection and the true cost."""
    assert Quote.cost is Tariff.cost
