"""
What calls cost, worked out by hand.

Each row prices one usage at an amount written out as counts times pico-dollars ($1 per million tokens is 1,000,000
pico-dollars a token), from the price list that it cites: an entry of genai-prices 0.2.3 (`LIST`), or of
`budgetguard/prices/data/prices.toml`, which names its own sources (`SHIPPED`). What a row cites must also stand in the
list that is installed, so that a change of the list is seen here before it is seen on a bill.
"""

# ruff: noqa: E501  (a row is a line)

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

import budgetguard.prices
from budgetguard.prices.book import PriceBook

NOVEMBER = datetime(2026, 11, 22, 17, 0, tzinfo=UTC)
SHIPPED_FILE = Path(budgetguard.prices.__file__).parent / "data" / "prices.toml"

BATCH = {"processing": "batch"}


@dataclass(frozen=True)
class Row:
    """One usage, and what it costs."""

    what: str
    provider: str | None
    model: str
    usage: dict[str, int]
    pico: int
    """The cost in pico-dollars, worked out by hand."""
    listed: dict[str, Any] = field(default_factory=dict)
    """LIST: what the entry says, as genai-prices names it: "0.15", or ("2.5", 272000, "5") with a step."""
    entry: tuple[str, str] | None = None
    """LIST: provider and model of the entry, where they are not those of the call."""
    shipped: dict[str, Any] = field(default_factory=dict)
    """SHIPPED: what the entry says, by the path to it."""
    tier: str | None = None
    context: dict[str, str] = field(default_factory=dict)
    """LIST: how genai-prices names the tier."""
    at: datetime = NOVEMBER
    book: dict[str, Any] = field(default_factory=dict)
    """Arguments of the price book."""


MINI = {"input_mtok": "0.15", "cache_read_mtok": "0.075", "output_mtok": "0.6"}
GPT_4O = {"input_mtok": "2.5", "cache_read_mtok": "1.25", "output_mtok": "10"}
GPT_5_4 = {
    "input_mtok": ("2.5", 272000, "5"),
    "cache_read_mtok": ("0.25", 272000, "0.5"),
    "output_mtok": ("15", 272000, "22.5"),
}
SOL = {
    "input_mtok": ("2", 272000, "4"),
    "cache_write_mtok": ("2.5", 272000, "5"),
    "cache_read_mtok": ("0.1", 272000, "0.2"),
}
OPUS = {
    "input_mtok": "5",
    "cache_write_mtok": "6.25",
    "cache_write_1h_mtok": "10",
    "cache_read_mtok": "0.5",
    "output_mtok": "25",
}
HAIKU = {"input_mtok": ("0.1", 100000, "0.5"), "output_mtok": ("0.5", 100000, "2.5")}
REALTIME = {
    "input_mtok": "4",
    "cache_read_mtok": "0.4",
    "output_mtok": "16",
    "input_audio_mtok": "32",
    "cache_audio_read_mtok": "0.4",
    "output_audio_mtok": "64",
}

# fmt: off
ROWS = [
    # Chat at OpenAI
    Row("plain", "openai", "gpt-4o-mini", {"input_tokens": 1000, "output_tokens": 200}, 1000 * 150_000 + 200 * 600_000, MINI),
    Row("one token rounds up to a nano-dollar", "openai", "gpt-5-nano", {"input_tokens": 1}, 1 * 50_000, {"input_mtok": "0.05"}),
    Row("nothing", "openai", "gpt-4o-mini", {}, 0, MINI),
    Row("zeros", "openai", "gpt-4o-mini", {"input_tokens": 0, "output_tokens": 0}, 0, MINI),
    Row("a dated name", "openai", "gpt-4o-mini-2024-07-18", {"input_tokens": 10, "output_tokens": 10}, 10 * 150_000 + 10 * 600_000, MINI, ("openai", "gpt-4o-mini")),
    Row("cached input is a part of input", "openai", "gpt-4o-mini", {"input_tokens": 1000, "cache_read_tokens": 400, "output_tokens": 0}, 600 * 150_000 + 400 * 75_000, MINI),
    Row("all input cached", "openai", "gpt-4o", {"input_tokens": 2048, "cache_read_tokens": 2048, "output_tokens": 5}, 2048 * 1_250_000 + 5 * 10_000_000, GPT_4O),
    Row("reasoning is a part of output", "openai", "o4-mini", {"input_tokens": 75, "output_tokens": 1186, "output_reasoning_tokens": 1024}, 75 * 1_100_000 + 1186 * 4_400_000, {"input_mtok": "1.1", "output_mtok": "4.4"}),
    Row("three answers (n)", "openai", "gpt-4o", {"input_tokens": 9, "output_tokens": 3 * 12}, 9 * 2_500_000 + 36 * 10_000_000, GPT_4O),
    Row("the oldest model", "openai", "gpt-4", {"input_tokens": 8, "output_tokens": 9}, 8 * 30_000_000 + 9 * 60_000_000, {"input_mtok": "30", "output_mtok": "60"}),
    Row("a price with a fraction of a cent", "openai", "gpt-5.6-luna", {"input_tokens": 100, "cache_read_tokens": 100, "output_tokens": 1}, 100 * 20_000 + 1 * 1_200_000, {"cache_read_mtok": ("0.02", 272000, "0.04"), "output_mtok": ("1.2", 272000, "1.8")}),
    Row("legacy completions", "openai", "gpt-3.5-turbo-instruct", {"input_tokens": 5, "output_tokens": 16}, 5 * 1_500_000 + 16 * 2_000_000, {"input_mtok": "1.5", "output_mtok": "2"}),
    Row("an unknown host, OpenAI's name", None, "gpt-4o", {"input_tokens": 1000, "output_tokens": 100}, 1000 * 2_500_000 + 100 * 10_000_000, GPT_4O, ("openai", "gpt-4o")),
    Row("a prefix", None, "openai/gpt-4o-mini", {"input_tokens": 1000}, 1000 * 150_000, MINI, ("openai", "gpt-4o-mini")),
    # Writes to the cache
    Row("a write to the cache is a part of input", "openai", "gpt-6.1-sol", {"input_tokens": 5000, "cache_write_tokens": 4000, "cache_read_tokens": 500}, 500 * 2_000_000 + 4000 * 2_500_000 + 500 * 100_000, SOL),
    Row("a write for twelve hours costs two", "openai", "gpt-6.1-sol", {"input_tokens": 4000, "cache_write_tokens": 4000, "cache_write_12h_tokens": 4000}, 4000 * 2 * 2_500_000, SOL, shipped={"longer.openai.cache_write_12h": 2}),
    Row("five minutes and an hour", "anthropic", "claude-opus-5", {"input_tokens": 3000, "cache_write_tokens": 2500, "cache_write_1h_tokens": 500, "output_tokens": 10}, 500 * 5_000_000 + 2000 * 6_250_000 + 500 * 10_000_000 + 10 * 25_000_000, OPUS),
    Row("five minutes alone", "anthropic", "claude-opus-5", {"input_tokens": 3000, "cache_write_tokens": 3000, "cache_write_5m_tokens": 3000}, 3000 * 6_250_000, OPUS),
    # Long inputs
    Row("at the step", "openai", "gpt-5.4", {"input_tokens": 272_000, "output_tokens": 1000}, 272_000 * 2_500_000 + 1000 * 15_000_000, GPT_5_4),
    Row("one above the step: every token costs more", "openai", "gpt-5.4", {"input_tokens": 272_001, "output_tokens": 1000}, 272_001 * 5_000_000 + 1000 * 22_500_000, GPT_5_4),
    Row("cached input counts towards the step", "openai", "gpt-5.4", {"input_tokens": 272_001, "cache_read_tokens": 272_000, "output_tokens": 1}, 1 * 5_000_000 + 272_000 * 500_000 + 1 * 22_500_000, GPT_5_4),
    Row("at Anthropic's step", "anthropic", "claude-haiku-5-5", {"input_tokens": 100_000, "output_tokens": 100}, 100_000 * 100_000 + 100 * 500_000, HAIKU),
    Row("above Anthropic's step", "anthropic", "claude-haiku-5-5", {"input_tokens": 100_001, "output_tokens": 100}, 100_001 * 500_000 + 100 * 2_500_000, HAIKU),
    Row("above Google's step", "google", "gemini-2.5-pro", {"input_tokens": 200_001, "output_tokens": 100}, 200_001 * 2_500_000 + 100 * 15_000_000, {"input_mtok": ("1.25", 200000, "2.5"), "output_mtok": ("10", 200000, "15")}),
    Row("xAI's step is at 200,000", "x-ai", "grok-4.3", {"input_tokens": 200_000, "output_tokens": 1}, 200_000 * 2_500_000 + 1 * 5_000_000, {"input_mtok": ("1.25", 199999, "2.5"), "output_mtok": ("2.5", 199999, "5")}),
    # Service tiers
    Row("the default tier, by name", "openai", "gpt-4o", {"input_tokens": 1000}, 1000 * 2_500_000, GPT_4O, tier="default"),
    Row("priority", "openai", "gpt-4o", {"input_tokens": 1000, "cache_read_tokens": 400, "output_tokens": 10}, 600 * 4_250_000 + 400 * 2_125_000 + 10 * 17_000_000, {"input_mtok": "4.25", "cache_read_mtok": "2.125", "output_mtok": "17"}, tier="priority", context={"service_tier": "priority"}),
    Row("fast", "openai", "gpt-5", {"input_tokens": 1000, "output_tokens": 10}, 1000 * 2_500_000 + 10 * 20_000_000, {"input_mtok": "2.5", "output_mtok": "20"}, tier="fast", context={"service_tier": "fast"}),
    Row("flex", "openai", "gpt-5", {"input_tokens": 1000, "cache_read_tokens": 200, "output_tokens": 10}, 800 * 625_000 + 200 * 62_500 + 10 * 5_000_000, {"input_mtok": "0.625", "cache_read_mtok": "0.0625", "output_mtok": "5"}, tier="flex", context={"service_tier": "flex"}),
    Row("batch", "openai", "gpt-4o-mini", {"input_tokens": 1000, "output_tokens": 10}, 1000 * 75_000 + 10 * 300_000, {"input_mtok": "0.075", "output_mtok": "0.3"}, tier="batch", context=BATCH),
    Row("cached input has no batch price here", "openai", "gpt-4o-mini", {"input_tokens": 1000, "cache_read_tokens": 1000}, 1000 * 75_000, {"cache_read_mtok": "0.075"}, tier="batch", context=BATCH),
    Row("batch above the step", "openai", "gpt-5.4", {"input_tokens": 300_000, "output_tokens": 10}, 300_000 * 2_500_000 + 10 * 11_250_000, {"input_mtok": ("1.25", 272000, "2.5"), "output_mtok": ("7.5", 272000, "11.25")}, tier="batch", context=BATCH),
    Row("fast at Anthropic", "anthropic", "claude-opus-5", {"input_tokens": 1000, "output_tokens": 10}, 1000 * 10_000_000 + 10 * 50_000_000, {"input_mtok": "10", "output_mtok": "50"}, tier="fast", context={"speed": "fast"}),
    Row("batch at Anthropic", "anthropic", "claude-opus-5", {"input_tokens": 1000, "output_tokens": 10}, 1000 * 2_500_000 + 10 * 12_500_000, {"input_mtok": "2.5", "output_mtok": "12.5"}, tier="batch", context=BATCH),
    Row("flex where there is none costs the standard price", "openai", "gpt-4o", {"input_tokens": 1000}, 1000 * 2_500_000, GPT_4O, tier="flex", shipped={"tiers.flex": 1}),
    Row("priority where there is none costs 2.5 times", "openai", "gpt-4-turbo", {"input_tokens": 1000, "output_tokens": 10}, 1000 * 25_000_000 + 10 * 75_000_000, {"input_mtok": "10", "output_mtok": "30"}, tier="priority", shipped={"tiers.priority": 2.5}),
    Row("ultrafast costs six times", "openai", "gpt-6-astra", {"input_tokens": 1000, "output_tokens": 10}, 1000 * 60_000_000 + 10 * 300_000_000, {"input_mtok": ("10", 272000, "20"), "output_mtok": ("50", 272000, "75")}, tier="ultrafast", shipped={"tiers.ultrafast": 6}),
    # Dates and hours
    Row("o3 on the day before it fell", "openai", "o3", {"input_tokens": 100, "output_tokens": 10}, 100 * 10_000_000 + 10 * 40_000_000, {"input_mtok": "10", "output_mtok": "40"}, at=datetime(2025, 6, 9, 23, 59, 59, 999000, tzinfo=UTC)),
    Row("o3 from midnight on (UTC)", "openai", "o3", {"input_tokens": 100, "output_tokens": 10}, 100 * 2_000_000 + 10 * 8_000_000, {"input_mtok": "2", "output_mtok": "8"}, at=datetime(2025, 6, 10, tzinfo=UTC)),
    Row("Mistral Large 4 before it rose", "mistral", "mistral-large-4", {"input_tokens": 100, "output_tokens": 10}, 100 * 680_000 + 10 * 2_090_000, {"input_mtok": "0.68", "output_mtok": "2.09"}, at=datetime(2026, 10, 19, 23, 59, 59, tzinfo=UTC)),
    Row("Mistral Large 4 while it was up", "mistral", "mistral-large-4", {"input_tokens": 100, "output_tokens": 10}, 100 * 1_360_000 + 10 * 4_180_000, {"input_mtok": "1.36", "output_mtok": "4.18"}, at=datetime(2026, 10, 20, tzinfo=UTC)),
    Row("DeepSeek at a quiet hour", "deepseek", "deepseek-flash", {"input_tokens": 1000, "cache_read_tokens": 600, "output_tokens": 10}, 400 * 150_000 + 600 * 3_000 + 10 * 600_000, {"input_mtok": "0.15", "cache_read_mtok": "0.003", "output_mtok": "0.6"}, at=datetime(2026, 11, 22, 0, 59, 59, tzinfo=UTC)),
    Row("DeepSeek at a busy hour", "deepseek", "deepseek-flash", {"input_tokens": 1000, "cache_read_tokens": 600, "output_tokens": 10}, 400 * 300_000 + 600 * 6_000 + 10 * 1_200_000, {"input_mtok": "0.3", "cache_read_mtok": "0.006", "output_mtok": "1.2"}, at=datetime(2026, 11, 22, 1, 0, tzinfo=UTC)),
    Row("DeepSeek after a busy hour", "deepseek", "deepseek-flash", {"input_tokens": 1000, "output_tokens": 10}, 1000 * 150_000 + 10 * 600_000, {"input_mtok": "0.15", "output_mtok": "0.6"}, at=datetime(2026, 11, 22, 10, 0, tzinfo=UTC)),
    Row("DeepSeek's old night price", "deepseek", "deepseek-chat", {"input_tokens": 1000, "output_tokens": 10}, 1000 * 135_000 + 10 * 550_000, {"input_mtok": "0.135", "output_mtok": "0.55"}, at=datetime(2026, 11, 22, 16, 30, tzinfo=UTC)),
    # Sound
    Row("spoken input and output", "openai", "gpt-audio", {"input_tokens": 130, "input_audio_tokens": 100, "output_tokens": 250, "output_audio_tokens": 200}, 30 * 2_500_000 + 100 * 32_000_000 + 50 * 10_000_000 + 200 * 64_000_000, {"input_mtok": "2.5", "output_mtok": "10", "input_audio_mtok": "32", "output_audio_mtok": "64"}),
    Row("speech on gpt-4o, which the list has as text", "openai", "gpt-4o-audio-preview-2025-06-03", {"input_tokens": 130, "input_audio_tokens": 100, "output_tokens": 250, "output_audio_tokens": 200}, 30 * 2_500_000 + 100 * 40_000_000 + 50 * 10_000_000 + 200 * 80_000_000, {"input_mtok": "2.5", "output_mtok": "10", "input_audio_mtok": None, "output_audio_mtok": None}, ("openai", "gpt-4o-audio-preview"), shipped={"models.gpt-4o-audio-preview*.input_audio": 40, "models.gpt-4o-audio-preview*.output_audio": 80}),
    Row("speech on gpt-4o-mini", "openai", "gpt-4o-mini-audio-preview", {"input_tokens": 100, "input_audio_tokens": 100, "output_tokens": 0}, 100 * 10_000_000, {"input_audio_mtok": None}, shipped={"models.gpt-4o-mini-audio*.input_audio": 10}),
    Row("cached speech", "openai", "gpt-realtime", {"input_tokens": 200, "cache_read_tokens": 120, "input_audio_tokens": 150, "cache_audio_read_tokens": 100, "output_tokens": 30, "output_audio_tokens": 20}, 30 * 4_000_000 + 20 * 400_000 + 50 * 32_000_000 + 100 * 400_000 + 10 * 16_000_000 + 20 * 64_000_000, REALTIME),
    Row("transcription by the token", "openai", "gpt-4o-transcribe", {"input_tokens": 110, "input_audio_tokens": 100, "output_tokens": 20}, 10 * 2_500_000 + 100 * 6_000_000 + 20 * 10_000_000, {"input_mtok": "2.5", "output_mtok": "10", "input_audio_mtok": "6"}),
    Row("transcription by the second", "openai", "whisper-1", {"input_audio_seconds": 61}, 61 * 100_000_000, {"input_audio_hours": "0.36"}),
    Row("at Groq at least ten seconds are billed", "groq", "whisper-large-v3-turbo", {"input_audio_seconds": 3}, -(-10 * 40_000_000_000 // 3600), {"input_audio_hours": "0.04"}),
    Row("speech by the character", "openai", "tts-1", {"input_characters": 4096}, 4096 * 15_000_000, {"input_mchars": "15"}),
    Row("better speech by the character", "openai", "tts-1-hd", {"input_characters": 11}, 11 * 30_000_000, {"input_mchars": "30"}),
    Row("speech by the token", "openai", "gpt-4o-mini-tts", {"input_tokens": 20, "output_tokens": 400, "output_audio_tokens": 400}, 20 * 600_000 + 400 * 12_000_000, {"input_mtok": "0.6", "output_mtok": "12"}),
    # Pictures and films
    Row("pictures by the token", "openai", "gpt-image-1", {"input_tokens": 323, "input_image_tokens": 300, "output_tokens": 4160, "output_image_tokens": 4160}, 23 * 5_000_000 + 300 * 10_000_000 + 4160 * 40_000_000, {"input_mtok": "5", "input_image_mtok": "10", "output_mtok": "40"}),
    Row("text and pictures out", "openai", "gpt-image-1.5", {"input_tokens": 50, "output_tokens": 1100, "output_image_tokens": 1056}, 50 * 5_000_000 + 44 * 10_000_000 + 1056 * 32_000_000, {"input_mtok": "5", "output_mtok": "10", "output_image_mtok": "32"}),
    Row("two pictures of DALL-E 3", "openai", "dall-e-3", {"images/standard/1024x1024": 2}, 2 * 40_000_000_000, shipped={"models.dall-e-3.images/standard/1024x1024": 0.04}),
    Row("a large one", "openai", "dall-e-3", {"images/hd/1792x1024": 1}, 120_000_000_000, shipped={"models.dall-e-3.images/hd/1792x1024": 0.12}),
    Row("of a size that is not listed: the dearest", "openai", "dall-e-3", {"images/hd/4096x4096": 1}, 120_000_000_000, shipped={"models.dall-e-3.images/hd/1792x1024": 0.12}),
    Row("ten small ones of DALL-E 2", "openai", "dall-e-2", {"images/standard/256x256": 10}, 10 * 16_000_000_000, shipped={"models.dall-e-2.images/standard/256x256": 0.016}),
    Row("DALL-E 3 at Azure", "azure", "dall-e-3", {"images/hd/1024x1024": 1}, 88_000_000_000, shipped={"models.azure-dall-e-3.images/hd/1024x1024": 0.088}),
    Row("eight seconds of film", "openai", "sora-2", {"video_seconds/1280x720": 8}, 8 * 100_000_000_000, shipped={"models.sora-2.video_seconds/1280x720": 0.10}),
    Row("a better film", "openai", "sora-2-pro", {"video_seconds/1792x1024": 4}, 4 * 500_000_000_000, shipped={"models.sora-2-pro.video_seconds/1792x1024": 0.50}),
    # Cohere's searches and embeddings; what Ollama runs
    Row("searches among documents", "cohere", "rerank-v3.5", {"rerank_searches": 3}, 3 * 2_000_000_000, shipped={"models.rerank-v3.5.rerank_searches": 0.002}),
    Row("searches by older models", "cohere", "rerank-english-v3.0", {"rerank_searches": 1}, 2_000_000_000, shipped={"models.rerank-english-v3.0.rerank_searches": 0.002}),
    Row("in other languages", "cohere", "rerank-multilingual-v3.0", {"rerank_searches": 1}, 2_000_000_000, shipped={"models.rerank-multilingual-v3.0.rerank_searches": 0.002}),
    Row("embeddings of text", "cohere", "embed-english-v3.0", {"input_tokens": 10}, 10 * 100_000, shipped={"models.embed-english-v3.0.input": 0.10}),
    Row("embeddings in other languages", "cohere", "embed-multilingual-v3.0", {"input_tokens": 10}, 10 * 100_000, shipped={"models.embed-multilingual-v3.0.input": 0.10}),
    Row("a model of one's own", "ollama", "llama3.2:1b", {"input_tokens": 10, "output_tokens": 10}, 0, shipped={"models.*.free": True}),
    # Tools
    Row("web searches", "openai", "gpt-5", {"input_tokens": 100, "output_tokens": 10, "web_searches": 3}, 100 * 1_250_000 + 10 * 10_000_000 + 3 * 10_000_000_000, {"web_searches_kcount": "10"}),
    Row("a web search where the model has no fee", "openai", "gpt-4.1-nano", {"input_tokens": 100, "web_searches": 1}, 100 * 100_000 + 10_000_000_000, {"web_searches_kcount": None}, shipped={"fees.openai.web_searches": 0.01}),
    Row("a searching model", "openai", "gpt-4o-mini-search-preview", {"input_tokens": 10, "output_tokens": 10, "web_searches": 1}, 10 * 150_000 + 10 * 600_000 + 25_000_000_000, MINI, ("openai", "gpt-4o-mini"), shipped={"models.gpt-4o-mini-search-preview*.web_searches": 0.025}),
    Row("searches in files", "openai", "gpt-4o", {"input_tokens": 10, "storage_searches": 4}, 10 * 2_500_000 + 4 * 2_500_000_000, {"storage_searches_kcount": "2.5"}),
    Row("a container", "openai", "gpt-4o", {"input_tokens": 10, "code_executions": 1}, 10 * 2_500_000 + 30_000_000_000, GPT_4O, shipped={"fees.openai.code_executions": 0.03}),
    Row("a container at Azure", "azure", "gpt-4o", {"input_tokens": 10, "code_executions": 1}, 10 * 2_500_000 + 33_000_000_000, GPT_4O, ("openai", "gpt-4o"), shipped={"fees.azure.code_executions": 0.033}),
    Row("fees are the same in a dearer tier", "openai", "gpt-4-turbo", {"input_tokens": 10, "web_searches": 1}, 10 * 25_000_000 + 10_000_000_000, {"input_mtok": "10"}, tier="priority", shipped={"fees.openai.web_searches": 0.01}),
    Row("Google's searches", "google", "gemini-2.5-flash", {"input_tokens": 100, "input_audio_tokens": 40, "output_tokens": 10, "web_searches": 1}, 60 * 300_000 + 40 * 1_000_000 + 10 * 2_500_000 + 35_000_000_000, {"input_mtok": "0.3", "input_audio_mtok": "1", "output_mtok": "2.5", "web_searches_kcount": "35"}),
    Row("a search in the United States", "anthropic/us", "claude-opus-5", {"input_tokens": 100, "web_searches": 2}, 100 * 5_500_000 + 2 * 10_000_000_000, {"input_mtok": "5", "web_searches_kcount": "10"}, ("anthropic", "claude-opus-5"), {"regions.anthropic/us": 1.1}),
    Row("a batch at Anthropic, of a model without a price for it", "anthropic", "claude-opus-4-1", {"input_tokens": 100, "output_tokens": 10}, 100 * 7_500_000 + 10 * 37_500_000, {"input_mtok": "15", "output_mtok": "75"}, shipped={"tiers.anthropic.batch": 0.5}, tier="batch"),
    Row("a long context at Anthropic, reads and writes among it", "anthropic", "claude-sonnet-4-5", {"input_tokens": 200_001, "cache_read_tokens": 100_000, "cache_write_tokens": 50_000, "cache_write_1h_tokens": 20_000, "output_tokens": 10}, 50_001 * 6_000_000 + 100_000 * 600_000 + 30_000 * 7_500_000 + 20_000 * 12_000_000 + 10 * 22_500_000, {"input_mtok": ("3", 200000, "6"), "output_mtok": ("15", 200000, "22.5")}),
    Row("Anthropic's searches", "anthropic", "claude-opus-5", {"input_tokens": 100, "web_searches": 2}, 100 * 5_000_000 + 2 * 10_000_000_000, {"web_searches_kcount": "10"}),
    Row("Perplexity has a fee a call", "perplexity", "sonar", {"input_tokens": 100, "output_tokens": 10}, 100 * 1_000_000 + 10 * 1_000_000 + 12_000_000_000, {"input_mtok": "1", "output_mtok": "1", "requests_kcount": "12"}),
    # Bedrock
    Row("Bedrock's profile of a region", "aws", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", {"input_tokens": 100, "cache_read_tokens": 40, "cache_write_tokens": 50, "cache_write_1h_tokens": 20, "output_tokens": 10}, 10 * 3_300_000 + 40 * 330_000 + 30 * 4_125_000 + 20 * 6_600_000 + 10 * 16_500_000, {"input_mtok": "3.3", "cache_read_mtok": "0.33", "cache_write_mtok": "4.125", "cache_write_1h_mtok": "6.6", "output_mtok": "16.5"}),
    Row("Bedrock's profile of all", "aws", "global.anthropic.claude-sonnet-4-5-20250929-v1:0", {"input_tokens": 100, "output_tokens": 10}, 100 * 3_000_000 + 10 * 15_000_000, {"input_mtok": "3", "output_mtok": "15"}),
    Row("an hour in a cache of Bedrock's", "aws", "us.anthropic.claude-sonnet-4-20250514-v1:0", {"input_tokens": 100, "cache_write_tokens": 50, "cache_write_1h_tokens": 20}, 50 * 3_000_000 + 30 * 3_750_000 + 20 * 6_000_000, {"input_mtok": "3", "cache_write_mtok": "3.75"}, shipped={"longer.aws.cache_write_1h": 1.6}),
    Row("Nova, with a cache", "aws", "amazon.nova-pro-v1:0", {"input_tokens": 100, "cache_read_tokens": 40, "output_tokens": 10}, 60 * 800_000 + 40 * 200_000 + 10 * 3_200_000, {"input_mtok": "0.8", "cache_read_mtok": "0.2", "output_mtok": "3.2"}),
    Row("Llama in capacity that was bought", "aws", "meta.llama3-8b-instruct-v1:0", {"input_tokens": 100, "output_tokens": 10}, 100 * 300_000 + 10 * 600_000, {"input_mtok": "0.3", "output_mtok": "0.6"}, tier="reserved", shipped={"tiers.aws.reserved": 1}),
    Row("Titan's embeddings", "aws", "amazon.titan-embed-text-v2:0", {"input_tokens": 1000, "output_tokens": 0}, 1000 * 20_000, {"input_mtok": "0.02"}),
    # Embeddings and the like
    Row("embeddings", "openai", "text-embedding-3-small", {"input_tokens": 8191, "output_tokens": 0}, 8191 * 20_000, {"input_mtok": "0.02"}),
    Row("large embeddings", "openai", "text-embedding-3-large", {"input_tokens": 5}, 5 * 130_000, {"input_mtok": "0.13"}),
    Row("moderation is free", "openai", "omni-moderation-latest", {"input_tokens": 1000}, 0, shipped={"models.omni-moderation*.free": True}),
    Row("pages", "mistral", "mistral-ocr-2512", {"input_document_pages": 7, "input_annotated_document_pages": 2}, 5 * 2_000_000_000 + 2 * 3_000_000_000, {"input_document_kpages": "2", "input_annotated_document_kpages": "3"}),
    # Fine-tuned models
    Row("fine-tuned, dated", "openai", "ft:gpt-4o-mini-2024-07-18:acme::abc", {"input_tokens": 100, "output_tokens": 10}, 100 * 300_000 + 10 * 1_200_000, {"input_mtok": "0.3", "output_mtok": "1.2"}, ("openai", "ft:gpt-4o-mini-2024-07-18:acme::abc")),
    Row("fine-tuned, undated", "openai", "ft:gpt-4o-mini:acme::abc", {"input_tokens": 100, "cache_read_tokens": 50, "output_tokens": 10}, 50 * 300_000 + 50 * 150_000 + 10 * 1_200_000, shipped={"models.ft:gpt-4o-mini*.cache_read": 0.15}),
    Row("fine-tuned gpt-4.1", "openai", "ft:gpt-4.1-mini-2025-04-14:acme::abc", {"input_tokens": 100, "output_tokens": 10}, 100 * 800_000 + 10 * 3_200_000, shipped={"models.ft:gpt-4.1-mini*.input": 0.80}),
    # Other hosts
    Row("Azure has OpenAI's prices", "azure", "gpt-4o", {"input_tokens": 1000, "output_tokens": 10}, 1000 * 2_500_000 + 10 * 10_000_000, GPT_4O, ("openai", "gpt-4o")),
    Row("a deployment at Azure", "azure", "our-chat", {"input_tokens": 1000, "output_tokens": 10}, 1000 * 150_000 + 10 * 600_000, MINI, ("openai", "gpt-4o-mini"), book={"deployments": {"our-chat": "gpt-4o-mini"}}),
    Row("processing in the EU", "openai/eu", "gpt-4o", {"input_tokens": 1000, "output_tokens": 10}, 1000 * 2_750_000 + 10 * 11_000_000, GPT_4O, ("openai", "gpt-4o"), shipped={"regions.openai/eu": 1.1}),
    Row("OpenRouter", "openrouter", "anthropic/claude-opus-5", {"input_tokens": 100, "cache_read_tokens": 60, "output_tokens": 10}, 40 * 5_000_000 + 60 * 500_000 + 10 * 25_000_000, {"input_mtok": "5", "cache_read_mtok": "0.5", "output_mtok": "25"}),
    Row("OpenRouter, on a day of its own", "openrouter", "deepseek/deepseek-chat", {"input_tokens": 100, "output_tokens": 10}, 100 * 257_400 + 10 * 1_028_700, {"input_mtok": "0.2574", "output_mtok": "1.0287"}),
    Row("OpenRouter's free models", "openrouter", "deepseek/deepseek-r1:free", {"input_tokens": 100, "output_tokens": 10}, 0, {"input_mtok": None}),
    Row("Groq", "groq", "llama-3.3-70b-versatile", {"input_tokens": 100, "output_tokens": 10}, 100 * 590_000 + 10 * 790_000, {"input_mtok": "0.59", "output_mtok": "0.79"}),
    Row("Mistral", "mistral", "mistral-large-2512", {"input_tokens": 100, "cache_read_tokens": 20, "output_tokens": 10}, 80 * 500_000 + 20 * 50_000 + 10 * 1_500_000, {"input_mtok": "0.5", "cache_read_mtok": "0.05", "output_mtok": "1.5"}),
    Row("12 % off", "openai", "gpt-4o-mini", {"input_tokens": 1000, "output_tokens": 200}, 1000 * 132_000 + 200 * 528_000, MINI, book={"discounts": {"openai": 0.12}}),
    Row("a third off rounds up once", "openai", "gpt-5-nano", {"input_tokens": 1}, -(-50_000 * 2 // 3), {"input_mtok": "0.05"}, book={"discounts": {"openai": "0.333333333333333333"}}),
]
# fmt: on


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_a_usage_costs_what_it_comes_to_by_hand(row: Row) -> None:
    """The books are kept in these amounts."""
    book = PriceBook(**row.book)

    tariff = book.tariff(row.provider, row.model, row.tier, int(row.at.timestamp() * 1000))

    assert tariff.cost(row.usage) == -(-row.pico // 1000)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_a_quote_is_never_below_the_cost(row: Row) -> None:
    """What is held before the call covers it, at whatever hour of the day it ends."""
    book = PriceBook(**row.book, clock=lambda: row.at.timestamp())

    assert book.quote(row.provider, row.model, row.tier).cost(row.usage) >= -(-row.pico // 1000)


@pytest.mark.parametrize("row", [row for row in ROWS if row.listed], ids=lambda row: row.what)
def test_what_a_row_cites_stands_on_the_installed_list(row: Row) -> None:
    """A list with other prices must not pass for the one that the amounts were worked out from."""
    from genai_prices.data_snapshot import get_snapshot

    provider_id, model_name = row.entry or (row.provider, row.model)
    provider = next(provider for provider in get_snapshot().providers if provider.id == provider_id)
    model = provider.find_model(model_name)
    assert model is not None, f"genai-prices {version('genai-prices')} has no {provider_id}/{model_name} any more"
    prices = model.get_prices(row.at, row.context or None)

    for key, expected in row.listed.items():
        assert _plain(getattr(prices, key)) == _as_listed(expected), (
            f"{provider_id}/{model_name} {key}: genai-prices {version('genai-prices')} has another price than 0.2.3, "
            "from which this row was worked out. Look up why, and work the row out again."
        )


@pytest.mark.parametrize("row", [row for row in ROWS if row.shipped], ids=lambda row: row.what)
def test_what_a_row_cites_stands_in_the_shipped_file(row: Row) -> None:
    """The same for the prices of our own, which name their sources in the file."""
    table = tomllib.loads(SHIPPED_FILE.read_text(encoding="utf-8"))

    for path, expected in row.shipped.items():
        assert _at(table, path) == expected


def test_the_table_is_long_enough() -> None:
    """Every kind of usage that is billed in its own way has a row, most of them several."""
    assert len(ROWS) >= 60
    assert len({row.what for row in ROWS}) == len(ROWS)


def _at(table: Any, path: str) -> Any:
    """The value at a path of names, which may have dots in them."""
    if path == "":
        return table
    name = max((name for name in table if path == name or path.startswith(f"{name}.")), key=len)
    return _at(table[name], path[len(name) + 1 :])


def _plain(price: Any) -> Any:
    if price is None:
        return None
    if hasattr(price, "tiers"):
        return (price.base, *(part for tier in price.tiers for part in (tier.start, tier.price)))
    return price


def _as_listed(expected: Any) -> Any:
    if isinstance(expected, tuple):
        return tuple(Decimal(part) if isinstance(part, str) else part for part in expected)
    return None if expected is None else Decimal(expected)
