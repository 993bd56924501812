"""LiteLLM's map of prices as a price file: `litellm_prices.json` is 66 entries of litellm 1.110.2's, as they stand there."""

# ruff: noqa: E501  (a row is a line)

from __future__ import annotations

import json
import logging
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from budgetguard import ConfigError, PriceBook, UnpricedModelError
from budgetguard.config import load_config
from budgetguard.prices.sources.published.litellm import read_map, read_price
from tests.support import ROOT

MAP = ROOT / "tests/recordings/litellm_prices.json"
NOW = 1_795_953_600_000


@pytest.fixture(scope="module")
def book() -> PriceBook:
    """One for all tests that only ask: a map takes a quarter of a second."""
    return PriceBook(path=MAP)


# fmt: off
ROWS = [
    # provider, model, tier, usage, pico-dollars: the map's price a token times 10**12, times the tokens
    ("openai", "gpt-4o", None, {"input_tokens": 1000, "cache_read_tokens": 400, "output_tokens": 10}, 600 * 2_500_000 + 400 * 1_250_000 + 10 * 10_000_000),
    ("openai", "gpt-4o", "batch", {"input_tokens": 1000, "output_tokens": 10}, 1000 * 1_250_000 + 10 * 5_000_000),
    ("openai", "gpt-4o", "priority", {"input_tokens": 1000, "cache_read_tokens": 400, "output_tokens": 10}, 600 * 4_250_000 + 400 * 2_125_000 + 10 * 17_000_000),
    ("openai", "gpt-4o", "flex", {"input_tokens": 1000}, 1000 * 2_500_000),
    ("openai/eu", "gpt-4o", None, {"input_tokens": 1000}, 1000 * 2_750_000),
    ("openai", "gpt-6-astra", None, {"input_tokens": 272_001, "output_tokens": 1}, 272_001 * 20_000_000 + 75_000_000),
    ("openai", "gpt-6-astra", "ultrafast", {"input_tokens": 1000, "cache_write_tokens": 800, "cache_write_12h_tokens": 300}, 200 * 60_000_000 + 500 * 75_000_000 + 300 * 150_000_000),
    ("openai", "gpt-6-astra", "flex", {"input_tokens": 300_000, "output_tokens": 1}, 300_000 * 10_000_000 + 37_500_000),
    ("openai", "sora-2", None, {"video_seconds/1280x720": 8}, 8 * 100_000_000_000),
    ("openai", "tts-1", None, {"input_characters": 500}, 500 * 15_000_000),
    ("azure", "dall-e-3", None, {"images/standard/1024x1024": 2}, 2 * 44_000_000_000),
    ("azure", "dall-e-3", None, {"images/hd/1792x1024": 1}, 132_000_000_000),
    ("anthropic", "claude-opus-5", None, {"input_tokens": 3000, "cache_write_tokens": 2500, "cache_write_1h_tokens": 500, "output_tokens": 10}, 500 * 5_000_000 + 2000 * 6_250_000 + 500 * 10_000_000 + 10 * 25_000_000),
    ("x-ai", "grok-4.20-reasoning", None, {"input_tokens": 200_001, "output_tokens": 1}, 200_001 * 2_500_000 + 5_000_000),
    ("anthropic", "claude-haiku-5-5", "batch", {"input_tokens": 100_001, "output_tokens": 1}, 100_001 * 250_000 + 1_250_000),
    ("aws", "us.anthropic.claude-opus-5", None, {"input_tokens": 1000}, 1000 * 5_500_000),
    ("aws", "amazon.rerank-v1:0", None, {"rerank_searches": 3}, 3 * 1_000_000_000),
    ("aws", "amazon.nova-canvas-v1:0", None, {"images/standard/1024x1024": 1}, 60_000_000_000),
    ("aws", "claude-fable-latest", None, {"input_tokens": 1000, "output_tokens": 10}, 1000 * 10_000_000 + 10 * 50_000_000),
    ("google", "gemini-2.5-pro", "flex", {"input_tokens": 200_001, "cache_read_tokens": 1}, 200_000 * 1_250_000 + 250_000),
    ("google", "gemini-2.5-flash", None, {"input_tokens": 100, "input_audio_tokens": 40, "output_tokens": 10, "web_searches": 1, "map_searches": 1}, 60 * 300_000 + 40 * 1_000_000 + 10 * 2_500_000 + 35_000_000_000 + 25_000_000_000),
    ("google", "veo-3.1-generate-001", None, {"video_seconds/4k": 4}, 4 * 600_000_000_000),
    ("mistral", "mistral-large-3", None, {"input_tokens": 100, "cache_read_tokens": 20, "output_tokens": 10}, 80 * 500_000 + 20 * 50_000 + 10 * 1_500_000),
    ("mistral", "mistral-ocr-latest", None, {"input_document_pages": 7, "input_annotated_document_pages": 2}, 5 * 4_000_000_000 + 2 * 5_000_000_000),
    ("dashscope", "qwen-flash", None, {"input_tokens": 256_001, "output_tokens": 1}, 256_001 * 250_000 + 2_000_000),
    ("perplexity", "sonar-deep-research", None, {"input_tokens": 100, "output_tokens": 30, "output_reasoning_tokens": 20, "output_citation_tokens": 5}, 100 * 2_000_000 + 5 * 8_000_000 + 20 * 3_000_000 + 5 * 2_000_000),
    ("sambanova", "Meta-Llama-3.3-70B-Instruct", None, {"input_tokens": 1000}, 1000 * 600_000),
    (None, "gpt-4o", None, {"input_tokens": 1000}, 1000 * 2_500_000),
]
# fmt: on


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row[1]} {row[2]} {'+'.join(row[3])}")
def test_a_price_of_the_map_is_the_price(row: Any, book: PriceBook) -> None:
    """Whoever runs LiteLLM's proxy sees the same amounts here as there: by the token, the step, the tier, the piece."""
    provider, model, tier, usage, pico = row
    assert book.tariff(provider, model, tier, NOW).cost(usage) == -(-pico // 1000)
    assert book.quote(provider, model, tier).cost(usage) >= -(-pico // 1000)


def test_the_map_says_how_much_a_model_can_write_and_read(book: PriceBook) -> None:
    """An output cap and a bound are taken from it, as prices are."""
    assert (book.quote("openai", "gpt-6-astra").max_output, book.quote("openai", "gpt-6-astra").context) == (
        128_000,
        922_000,
    )


def test_what_the_map_does_not_know_has_its_listed_price(book: PriceBook) -> None:
    """A map in place of the list would take away what only the list knows."""
    usage = {"input_tokens": 1000}
    assert book.tariff("groq", "llama-3.3-70b-versatile", None, NOW).cost(usage) == 590_000
    assert book.tariff("openai", "omni-moderation-latest", None, NOW).free


def test_what_cannot_be_read_is_told_and_never_free(caplog: pytest.LogCaptureFixture) -> None:
    """A price of 0 there may be one that nobody looked up: a budget that takes it for free holds nothing."""
    with caplog.at_level(logging.WARNING, "budgetguard"), pytest.raises(UnpricedModelError):
        PriceBook(path=MAP).quote("llamafile", "llama3")
    [told] = [record.getMessage() for record in caplog.records]
    assert "models have no price that can be read" in told
    assert "embed-multilingual-light-v3.0 is left out: input = 100 cannot be" in told
    assert "is 0.1 meant?" in told
    assert "None of these is free" in told


def test_one_price_that_is_not_read_leaves_the_others() -> None:
    """And it is counted: a picture in the input by the piece is none of our kinds."""
    read = read_map(json.loads(MAP.read_text()))
    assert "amazon.nova-2-multimodal-embeddings-v1:0" in read.partly
    assert {"bedrock/guardrails", "llamafile/llama3", "omni-moderation-latest"} <= set(read.unpriced)
    assert not {"sample_spec", "fallback_generalizations"} & {*read.unpriced, *read.partly}


def test_a_tier_without_a_step_has_the_standard_ones() -> None:
    """Half of a long input is not half of a short one."""
    entry = {
        "input_cost_per_token": 2e-6,
        "input_cost_per_token_above_200k_tokens": 4e-6,
        "input_cost_per_token_batches": 1e-6,
        "output_cost_per_token": 8e-6,
    }
    read = read_price(entry)
    assert read.tiers["batch"]["input_tokens"] == ((-1, 1_000_000), (200_000, 2_000_000))


def test_a_models_price_may_be_said_in_litellms_words() -> None:
    """Who comes from LiteLLM has it in this form; it was taken for a misspelled one."""
    given = {
        "mine": {
            "input_cost_per_token": 0.0000025,
            "output_cost_per_token": 1e-05,
            "input_cost_per_token_priority": 5e-06,
            "max_output_tokens": 4096,
            "litellm_provider": "openai",
            "mode": "chat",
        }
    }
    book = PriceBook(overrides=given)
    usage = {"input_tokens": 1000, "output_tokens": 100}
    assert book.tariff("openai", "mine", None, NOW).cost(usage) == 3_500_000
    assert book.tariff("openai", "mine", "priority", NOW).cost(usage) == 6_000_000
    assert book.quote(None, "mine").max_output == 4096
    with pytest.raises(ConfigError, match=r"input_cost_per_parsec.*cannot be read"):
        PriceBook(overrides={"mine": {"input_cost_per_token": 1e-6, "input_cost_per_parsec": 1}})


def test_own_prices_stand_over_the_map(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a price file that names it, in a program, and from the environment."""
    (tmp_path / "map.json").write_bytes(MAP.read_bytes())
    (tmp_path / "prices.toml").write_text('list = "map.json"\n[models.mine]\ninput = 1\noutput = 2\n')
    monkeypatch.setenv("BUDGETGUARD_PRICE_LIST", str(MAP))
    books = [
        PriceBook(path=tmp_path / "prices.toml"),
        PriceBook(overrides={"mine": {"input": 1, "output": 2}}, path=MAP),
        load_config().price_book({"mine": {"input": 1, "output": 2}}),
    ]
    for book in books:
        assert book is not None
        assert book.tariff(None, "mine", None, NOW).cost({"input_tokens": 1000}) == 1_000_000
        assert book.tariff("mistral", "mistral-large-3", None, NOW).cost({"input_tokens": 1000}) == 500_000


@pytest.mark.parametrize("text", ["[", "{}", '{"a": 1}', "[1]", '[{"id": "x"}]'])
def test_what_is_no_list_is_refused_with_its_name(text: str, tmp_path: Path) -> None:
    """Before the first call, and with what would be one."""
    path = tmp_path / "odd.json"
    path.write_text(text)
    with pytest.raises(ConfigError, match=r"odd\.json"):
        PriceBook(path=path).quote("openai", "gpt-4o")


@pytest.mark.parametrize(
    "more",
    [
        {"input_cost_per_token": "1e-999999999"},
        {"input_cost_per_token": "1e999999999"},
        {"max_output_tokens": float("inf"), "input_cost_per_token_above_" + "9" * 5000 + "k_tokens": 1e-6},
        *(
            {"tiered_pricing": rows}
            for rows in (["x"], [{"range": None}], [{"range": []}], [{"range": [float("inf")]}])
        ),
    ],
)
def test_whatever_stands_in_an_entry_the_map_is_read(more: dict[str, Any]) -> None:
    """A slip in one of 4,000 entries neither hangs the program that loads the map, nor takes it down."""
    plain = {"litellm_provider": "openai", "input_cost_per_token": 1e-6, "output_cost_per_token": 1e-6}
    found = read_map({"slip": {**plain, **more}, "other": plain})
    assert found.models[-1].name == "other"
    assert "slip" in found.partly


def test_a_thousandth_of_the_listed_price_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Dollars per thousand for dollars per token: a budget over such a price would mean three hundred times as much."""
    slip = {"litellm_provider": "openai", "input_cost_per_token": 2.5e-9, "output_cost_per_token": 1e-8}
    (tmp_path / "map.json").write_text(json.dumps({"gpt-4o": slip}))
    book = PriceBook(path=tmp_path / "map.json")
    assert book.tariff("openai", "gpt-4o", None, NOW).cost({"input_tokens": 1000}) == 2_500_000
    assert "gpt-4o is left out" in caplog.text


def test_a_list_that_is_not_there_is_refused_at_once() -> None:
    """Not with the first call."""
    for stated in ("nowhere.json", "instaled"):
        with pytest.raises(ConfigError, match=r"no such file; write 'installed', 'updated'"):
            PriceBook(price_list=stated)
    with pytest.raises(ConfigError, match="nowhere"):
        PriceBook(path="nowhere.json")


@pytest.mark.skipif(find_spec("litellm") is None, reason="litellm is not installed here")
def test_the_map_of_the_installed_litellm_is_read() -> None:
    """A release that renames its words is noticed here, not on a bill."""
    spec = find_spec("litellm")
    assert spec is not None
    assert spec.origin is not None
    path = Path(spec.origin).with_name("model_prices_and_context_window_backup.json")
    read = read_map(json.loads(path.read_text("utf-8")))
    assert len(read.models) > 3_000
    assert len(read.unpriced) < len(read.models) / 8
    assert len(read.partly) < len(read.models) / 25
