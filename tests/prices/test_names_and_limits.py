"""What is shipped of models beside their prices: other names, how much they write and read, and who is at a host."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

import budgetguard.prices
from budgetguard import PriceBook
from budgetguard.prices.sources import list as pricelist
from tests.support import ROOT

DATA = Path(budgetguard.prices.__file__).parent / "data"
ALIASES = tomllib.loads((DATA / "aliases.toml").read_text("utf-8"))
LIMITS = tomllib.loads((DATA / "limits.toml").read_text("utf-8"))
NOW = 1_795_953_600_000
LARGE = ["openai", "anthropic", "google", "mistral", "x-ai", "deepseek", "cohere", "groq"]

BOOK = PriceBook()


@pytest.mark.parametrize("provider", ALIASES)
def test_another_name_has_the_price_of_its_model(provider: str) -> None:
    """`-latest` and the names of releases are what people write; each was refused as unknown."""
    for name, model in ALIASES[provider].items():
        own, meant = (BOOK.settlement(provider, each, None, None, NOW) for each in (name, model))
        assert list(own.rates()) == list(meant.rates()), name
        assert BOOK.quote(provider, name).context == BOOK.quote(provider, model).context


def test_a_name_that_the_list_has_is_never_an_alias() -> None:
    """The list is newer than the table: what it comes to say of a name holds, and the line is to be deleted."""
    snapshot = pricelist.source()()
    known = [name for provider in ALIASES for name in ALIASES[provider] if pricelist.find(snapshot, provider, name)]
    assert known == []


def test_the_aliases_of_a_borrowed_model_hold_at_azure() -> None:
    """It sells OpenAI's, under their names."""
    assert BOOK.quote("azure", "gpt-sol-latest").model == "gpt-6.1-sol"


@pytest.mark.parametrize("provider", LARGE)
def test_what_current_models_write_and_read_is_known(provider: str) -> None:
    """Without it a hard budget has no bound for a call that states no cap, and no bound for a file in the input."""
    snapshot = pricelist.source()()
    [seller] = [each for each in snapshot.providers if each.id == provider]
    lacking, current = [], 0
    for model in seller.models:
        name = model.id.lower()
        listed = pricelist.find(snapshot, provider, name)
        if model.deprecated or name in NO_CHAT or listed is None or pricelist.without_price(listed):
            continue
        if {"input_tokens", "output_tokens"} <= pricelist.prices(listed, NOW).keys() and "image" not in name:
            current += 1
            quote = BOOK.quote(provider, name)
            if quote.max_output is None or quote.context is None:
                lacking.append((name, quote.max_output, quote.context))
    assert current > 5
    assert lacking == []


NO_CHAT = {
    # Withdrawn long ago, at another size each, or no chat: no list says how much they read and write.
    *("ada", "babbage", "curie", "davinci", "text-davinci-002", "text-davinci-003", "claude-v1", "claude-2"),
    *("claude-3-sonnet", "gpt-4o-mini-2024-07-18.ft-", "ft:gpt-3.5-turbo-", "gpt-4o:extended", "gpt-4o-mini-tts"),
    *("gpt-oss-120b", "gpt-oss-20b", "gpt-oss-safeguard-20b", "gpt-rosalind-discovery", "gpt-rosalind-research"),
    *("gpt-5.5-cyber", "gemini-1.0-pro-vision-001", "gemini-2.5-flash-lite-preview-tts", "gemini-flash-1.5"),
    *("gemini-flash-1.5-8b", "gemini-pro-1.5", "gemma-2-27b-it", "ministral-3b", "ministral-8b", "mistral-embed"),
    *("mistral-small-3.1-24b-instruct", "meta-llama/llama-guard-4-12b"),
}


@pytest.mark.parametrize(
    ("provider", "model", "most"),
    [
        ("anthropic", "claude-opus-5", (128_000, 1_000_000)),
        ("anthropic", "claude-haiku-4-5-20251001", (64_000, 200_000)),
        ("google", "claude-opus-5", (128_000, 1_000_000)),
        ("azure", "gpt-6-astra", (128_000, 1_050_000)),
        ("cohere", "command-a-03-2025", (8_000, 256_000)),
        ("groq", "openai/gpt-oss-120b", (65_536, 131_072)),
        ("mistral", "mistral-large-3", (262_144, 262_144)),
        ("x-ai", "grok-4.20-reasoning", (1_000_000, 1_000_000)),
        ("openai", "gpt-realtime-2", (32_000, 128_000)),
    ],
)
def test_limits_are_found_by_every_name(provider: str, model: str, most: tuple[int, int]) -> None:
    """Dated, borrowed, aliased."""
    quote = BOOK.quote(provider, model)
    assert (quote.max_output, quote.context) == most


HOSTS = {
    "api.openai.com": "openai",
    "eu.api.openai.com": "openai/eu",
    "res.openai.azure.com": "azure",
    "res.services.ai.azure.com": "azure",
    "res.openai.azure.us": "azure",
    "bedrock-runtime.eu-central-1.amazonaws.com": "aws",
    "bedrock-runtime-fips.us-east-1.amazonaws.com": "aws",
    "bedrock-mantle.us-east-1.api.aws": "aws",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "google",
    "us-central1-aiplatform.googleapis.com": "google",
    "aiplatform.eu.rep.googleapis.com": "google",
    "api.groq.com": "groq",
    "api.mistral.ai": "mistral",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "x-ai",
    "us-east-1.api.x.ai": "x-ai/us",
    "api.together.ai": "together",
    "api.together.xyz": "together",
    "api.fireworks.ai": "fireworks",
    "openrouter.ai": "openrouter",
    "api.cerebras.ai": "cerebras",
    "api.minimax.io": "minimax",
    "api.moonshot.ai": "moonshotai",
    "api.moonshot.cn": "moonshotai",
    "api.z.ai": "zai",
    "open.bigmodel.cn": "zhipuai",
    "dashscope-intl.aliyuncs.com": "dashscope",
    "api.perplexity.ai": "perplexity",
    "api.cohere.com": "cohere",
    "integrate.api.nvidia.com": "nvidia_nim",
    "api.deepinfra.com": "deepinfra",
    "api.sambanova.ai": "sambanova",
    "api.writer.com": "writer",
    "ollama.com": "ollama_cloud",
    "api.studio.nebius.ai": "nebius",
    "api.tokenfactory.nebius.com": "nebius",
    "api.novita.ai": "novita",
    "api.hyperbolic.xyz": "hyperbolic",
    "api.lambda.ai": "lambda_ai",
    "api.scaleway.ai": "scaleway",
    "inference.baseten.co": "baseten",
    "api.voyageai.com": "voyageai",
    "localhost:11434": None,
    "ollama.com.example.com": None,
}


@pytest.mark.parametrize("host", HOSTS)
def test_a_host_says_whose_prices_count(host: str) -> None:
    """One that is not known has OpenAI's prices for OpenAI's names, which is wrong where somebody else sells them."""
    path = "/client/v4/accounts/a/ai" if "cloudflare" in host else "/v1/chat/completions"
    assert BOOK.provider(host, path) == HOSTS[host]


def test_a_seller_without_a_list_is_priced_by_litellms_map() -> None:
    """SambaNova and others have no entry on the installed list."""
    book = PriceBook(path=ROOT / "tests/recordings/litellm_prices.json")
    assert "sambanova/Meta-Llama-3.3-70B-Instruct" in json.loads(
        (ROOT / "tests/recordings/litellm_prices.json").read_text()
    )
    seller = book.provider("api.sambanova.ai")
    assert book.tariff(seller, "Meta-Llama-3.3-70B-Instruct", None, NOW).cost({"output_tokens": 10}) == 12_000
