"""
What the usage of each API costs: as its provider says it, in our counts, and in money worked out by hand.

`raw` is the usage as it stands in a reply. Where `READERS` has the API, it is read by its dialect, and has to come to
`counts`; the other rows begin with the counts, and say in `raw` what these are made of. The money is counts times
pico-dollars ($1 per million tokens is 1,000,000 pico-dollars a token), at the prices of genai-prices 0.2.3 of
2026-11-29 or of `budgetguard/prices/data/prices.toml`; `test_price_table.py` holds most of these against the list.
"""

# ruff: noqa: E501  (a row is a line)

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from budgetguard import PriceBook, UnpricedModelError
from budgetguard.adapters.anthropic import replies as anthropic
from budgetguard.adapters.bedrock import replies as bedrock
from budgetguard.adapters.cohere import replies as cohere
from budgetguard.adapters.gemini import replies as gemini
from budgetguard.adapters.mistral import replies as mistral
from budgetguard.adapters.openai import replies as openai
from budgetguard.calls import Answer
from budgetguard.prices.tariffs import in_region

NOW = 1_795_953_600_000
BOOK = PriceBook()

SAID = {"content": {"parts": [{"text": "hi"}]}, "finishReason": "STOP"}
"""A candidate of Gemini's."""


def grounded(raw: dict[str, Any]) -> Answer:
    """The reply of `generateContent` with this usage: `queries` are what it asked a search engine, `by` which model."""
    usage = {name: value for name, value in raw.items() if name not in {"queries", "by"}}
    said = {**SAID, "groundingMetadata": {"webSearchQueries": raw["queries"]}} if "queries" in raw else SAID
    return gemini.generated({"modelVersion": raw.get("by"), "candidates": [said], "usageMetadata": usage})


READERS: Mapping[str, Callable[[Any], Answer]] = {
    "chat": lambda raw: openai.chat({"choices": [{"finish_reason": "stop", "message": {"content": "hi"}}], **raw}),
    "responses": lambda raw: openai.responses({"object": "response", "status": "completed", **raw}),
    "embeddings": openai.embeddings,
    "images": lambda raw: openai.images({"data": [{}], **raw}),
    "transcription": openai.transcription,
    "generateContent": grounded,
    "converse": lambda raw: bedrock.converse({"output": {"message": {"content": [{"text": "hi"}]}}, "usage": raw}),
    "cohere": lambda raw: cohere.answer({"usage": raw}),
    "rerank": lambda raw: cohere.searches({"meta": raw}),
    "embed": lambda raw: cohere.embedding({"meta": raw}),
    "ocr": mistral.pages,
    "messages": lambda raw: anthropic.message({"type": "message", "content": [{"type": "text", "text": "hi"}], **raw}),
}


@dataclass(frozen=True)
class Usage:
    """One usage."""

    what: str
    api: str
    provider: str
    model: str
    raw: dict[str, Any]
    counts: dict[str, int]
    pico: int
    """The cost in pico-dollars, worked out by hand."""
    tier: str | None = None
    """Of rows without a reader: what their reply says of the tier."""


def chat(**usage: Any) -> dict[str, Any]:
    return {"usage": usage}


def cached(tokens: int) -> dict[str, int]:
    return {"cached_tokens": tokens}


# fmt: off
ROWS = [
    # OpenAI: prompt_tokens holds the cached ones, completion_tokens the reasoning
    Usage("chat", "chat", "openai", "gpt-5", chat(prompt_tokens=1000, completion_tokens=200, total_tokens=1200), {"input_tokens": 1000, "output_tokens": 200}, 1000 * 1_250_000 + 200 * 10_000_000),
    Usage("chat, cached and reasoning", "chat", "openai", "gpt-5", chat(prompt_tokens=1000, completion_tokens=200, total_tokens=1200, prompt_tokens_details=cached(600), completion_tokens_details={"reasoning_tokens": 150}), {"input_tokens": 1000, "cache_read_tokens": 600, "output_tokens": 200, "output_reasoning_tokens": 150}, 400 * 1_250_000 + 600 * 125_000 + 200 * 10_000_000),
    Usage("chat, flex", "chat", "openai", "gpt-5", {**chat(prompt_tokens=1000, completion_tokens=200, total_tokens=1200), "service_tier": "flex"}, {"input_tokens": 1000, "output_tokens": 200}, 1000 * 625_000 + 200 * 5_000_000),
    Usage("chat, priority", "chat", "openai", "gpt-5", {**chat(prompt_tokens=1000, completion_tokens=200, total_tokens=1200, prompt_tokens_details=cached(600)), "service_tier": "priority"}, {"input_tokens": 1000, "cache_read_tokens": 600, "output_tokens": 200}, 400 * 2_500_000 + 600 * 250_000 + 200 * 20_000_000),
    Usage("chat, spoken", "chat", "openai", "gpt-audio", chat(prompt_tokens=130, completion_tokens=250, total_tokens=380, prompt_tokens_details={"audio_tokens": 100}, completion_tokens_details={"audio_tokens": 200}), {"input_tokens": 130, "input_audio_tokens": 100, "output_tokens": 250, "output_audio_tokens": 200}, 30 * 2_500_000 + 100 * 32_000_000 + 50 * 10_000_000 + 200 * 64_000_000),
    Usage("responses", "responses", "openai", "gpt-6.1-sol", chat(input_tokens=5000, output_tokens=100, total_tokens=5100, input_tokens_details={"cached_tokens": 500, "cache_write_tokens": 4000}, output_tokens_details={"reasoning_tokens": 0}), {"input_tokens": 5000, "cache_read_tokens": 500, "cache_write_tokens": 4000, "output_tokens": 100}, 500 * 2_000_000 + 4000 * 2_500_000 + 500 * 100_000 + 100 * 10_000_000),
    Usage("responses, a write for twelve hours", "responses", "openai", "gpt-6.1-sol", chat(input_tokens=5000, output_tokens=100, total_tokens=5100, input_tokens_details={"cache_write_tokens": 4000, "cache_write_tokens_details": {"ttl_12h_tokens": 4000}}), {"input_tokens": 5000, "cache_write_tokens": 4000, "cache_write_12h_tokens": 4000, "output_tokens": 100}, 1000 * 2_000_000 + 4000 * 5_000_000 + 100 * 10_000_000),
    Usage("responses, a long context", "responses", "openai", "gpt-6.1-sol", chat(input_tokens=272_001, output_tokens=100, total_tokens=272_101), {"input_tokens": 272_001, "output_tokens": 100}, 272_001 * 4_000_000 + 100 * 15_000_000),
    Usage("a batch", "", "openai", "gpt-6.1-sol", chat(input_tokens=1000, output_tokens=100), {"input_tokens": 1000, "output_tokens": 100}, 1000 * 1_000_000 + 100 * 5_000_000, "batch"),
    Usage("a batch that searches: the fee is not halved", "", "openai", "gpt-6.1-sol", chat(input_tokens=1000), {"input_tokens": 1000, "web_searches": 2}, 1000 * 1_000_000 + 2 * 10_000_000_000, "batch"),
    Usage("embeddings", "embeddings", "openai", "text-embedding-3-small", chat(prompt_tokens=8, total_tokens=8), {"input_tokens": 8}, 8 * 20_000),
    Usage("a picture", "images", "openai", "gpt-image-1.5", chat(input_tokens=50, output_tokens=1056, total_tokens=1106, input_tokens_details={"text_tokens": 50, "image_tokens": 0}), {"input_tokens": 50, "output_tokens": 1056, "output_image_tokens": 1056}, 50 * 5_000_000 + 1056 * 32_000_000),
    Usage("transcription by the minute", "transcription", "openai", "whisper-1", {"usage": {"type": "duration", "seconds": 90}}, {"input_audio_seconds": 90}, 90 * 100_000_000),
    Usage("transcription by the token", "transcription", "openai", "gpt-4o-mini-transcribe", {"usage": {"type": "tokens", "input_tokens": 110, "output_tokens": 20, "total_tokens": 130, "input_token_details": {"text_tokens": 10, "audio_tokens": 100}}}, {"input_tokens": 110, "input_audio_tokens": 100, "output_tokens": 20}, 10 * 1_250_000 + 100 * 3_000_000 + 20 * 5_000_000),
    Usage("speech by the character", "", "openai", "tts-1", {}, {"input_characters": 400}, 400 * 15_000_000),
    Usage("realtime: text, sound and a cache", "", "openai", "gpt-realtime-2", chat(input_tokens=200, output_tokens=30), {"input_tokens": 200, "cache_read_tokens": 120, "input_audio_tokens": 150, "cache_audio_read_tokens": 100, "output_tokens": 30, "output_audio_tokens": 20}, 30 * 4_000_000 + 20 * 400_000 + 50 * 32_000_000 + 100 * 400_000 + 10 * 24_000_000 + 20 * 64_000_000),

    # Anthropic: input_tokens leaves the cache out, output_tokens holds the thinking
    Usage("a message", "messages", "anthropic", "claude-opus-5", chat(input_tokens=100, output_tokens=20), {"input_tokens": 100, "output_tokens": 20}, 100 * 5_000_000 + 20 * 25_000_000),
    Usage("reads of a cache", "messages", "anthropic", "claude-opus-5", chat(input_tokens=100, cache_read_input_tokens=900, output_tokens=20), {"input_tokens": 1000, "cache_read_tokens": 900, "output_tokens": 20}, 100 * 5_000_000 + 900 * 500_000 + 20 * 25_000_000),
    Usage("writes for five minutes", "messages", "anthropic", "claude-opus-5", chat(input_tokens=100, cache_creation_input_tokens=400, output_tokens=20, cache_creation={"ephemeral_5m_input_tokens": 400, "ephemeral_1h_input_tokens": 0}), {"input_tokens": 500, "cache_write_tokens": 400, "output_tokens": 20}, 100 * 5_000_000 + 400 * 6_250_000 + 20 * 25_000_000),
    Usage("writes for an hour", "messages", "anthropic", "claude-opus-5", chat(input_tokens=100, cache_creation_input_tokens=400, output_tokens=20, cache_creation={"ephemeral_5m_input_tokens": 0, "ephemeral_1h_input_tokens": 400}), {"input_tokens": 500, "cache_write_tokens": 400, "cache_write_1h_tokens": 400, "output_tokens": 20}, 100 * 5_000_000 + 400 * 10_000_000 + 20 * 25_000_000),
    Usage("both, and reads", "messages", "anthropic", "claude-haiku-4-5", chat(input_tokens=10, cache_read_input_tokens=200, cache_creation_input_tokens=300, output_tokens=5, cache_creation={"ephemeral_5m_input_tokens": 100, "ephemeral_1h_input_tokens": 200}), {"input_tokens": 510, "cache_read_tokens": 200, "cache_write_tokens": 300, "cache_write_1h_tokens": 200, "output_tokens": 5}, 10 * 1_000_000 + 200 * 100_000 + 100 * 1_250_000 + 200 * 2_000_000 + 5 * 5_000_000),
    Usage("thinking", "messages", "anthropic", "claude-opus-5", chat(input_tokens=100, output_tokens=2000, output_tokens_details={"thinking_tokens": 1900}), {"input_tokens": 100, "output_tokens": 2000, "output_reasoning_tokens": 1900}, 100 * 5_000_000 + 2000 * 25_000_000),
    Usage("web searches", "messages", "anthropic", "claude-opus-5", chat(input_tokens=100, output_tokens=20, server_tool_use={"web_search_requests": 3, "web_fetch_requests": 2}), {"input_tokens": 100, "output_tokens": 20, "web_searches": 3}, 100 * 5_000_000 + 20 * 25_000_000 + 3 * 10_000_000_000),
    Usage("fast", "messages", "anthropic", "claude-opus-5", chat(input_tokens=100, output_tokens=20, speed="fast"), {"input_tokens": 100, "output_tokens": 20}, 100 * 10_000_000 + 20 * 50_000_000),
    Usage("in the United States", "messages", "anthropic", "claude-opus-5-5", chat(input_tokens=100, output_tokens=20, inference_geo="us"), {"input_tokens": 100, "output_tokens": 20}, 100 * 4_400_000 + 20 * 22_000_000),
    Usage("bought capacity costs what standard does", "messages", "anthropic", "claude-opus-5", chat(input_tokens=100, output_tokens=20, service_tier="priority"), {"input_tokens": 100, "output_tokens": 20}, 100 * 5_000_000 + 20 * 25_000_000),
    Usage("a line of a batch", "messages", "anthropic", "claude-opus-5", chat(input_tokens=100, cache_creation_input_tokens=400, output_tokens=20, service_tier="batch"), {"input_tokens": 500, "cache_write_tokens": 400, "output_tokens": 20}, 100 * 2_500_000 + 400 * 3_125_000 + 20 * 12_500_000),
    Usage("a long context", "messages", "anthropic", "claude-sonnet-4-5", chat(input_tokens=200_000, cache_read_input_tokens=1, output_tokens=20), {"input_tokens": 200_001, "cache_read_tokens": 1, "output_tokens": 20}, 200_000 * 6_000_000 + 1 * 600_000 + 20 * 22_500_000),
    Usage("Claude at Google", "messages", "google", "claude-opus-5", chat(input_tokens=100, cache_read_input_tokens=900, output_tokens=20), {"input_tokens": 1000, "cache_read_tokens": 900, "output_tokens": 20}, 100 * 5_000_000 + 900 * 500_000 + 20 * 25_000_000),

    # Gemini: usageMetadata; thoughts stand beside the candidates, a tool's prompt beside the prompt
    Usage("generateContent", "generateContent", "google", "gemini-2.5-pro", {"promptTokenCount": 1000, "candidatesTokenCount": 50, "thoughtsTokenCount": 150}, {"input_tokens": 1000, "output_tokens": 200, "output_reasoning_tokens": 150}, 1000 * 1_250_000 + 200 * 10_000_000),
    Usage("a cached prompt", "generateContent", "google", "gemini-2.5-pro", {"promptTokenCount": 1000, "cachedContentTokenCount": 800, "candidatesTokenCount": 50}, {"input_tokens": 1000, "cache_read_tokens": 800, "output_tokens": 50}, 200 * 1_250_000 + 800 * 125_000 + 50 * 10_000_000),
    Usage("a tool's prompt", "generateContent", "google", "gemini-3.8-flash", {"promptTokenCount": 100, "toolUsePromptTokenCount": 400, "candidatesTokenCount": 50}, {"input_tokens": 500, "output_tokens": 50}, 500 * 750_000 + 50 * 3_750_000),
    Usage("above 200,000", "generateContent", "google", "gemini-2.5-pro", {"promptTokenCount": 200_001, "candidatesTokenCount": 50}, {"input_tokens": 200_001, "output_tokens": 50}, 200_001 * 2_500_000 + 50 * 15_000_000),
    Usage("sound in the prompt", "generateContent", "google", "gemini-2.5-flash", {"promptTokenCount": 140, "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 40}, {"modality": "AUDIO", "tokenCount": 100}], "candidatesTokenCount": 10}, {"input_tokens": 140, "input_audio_tokens": 100, "output_tokens": 10}, 40 * 300_000 + 100 * 1_000_000 + 10 * 2_500_000),
    Usage("sound in the cache", "generateContent", "google", "gemini-2.5-flash", {"promptTokenCount": 140, "promptTokensDetails": [{"modality": "AUDIO", "tokenCount": 100}], "cachedContentTokenCount": 60, "cacheTokensDetails": [{"modality": "AUDIO", "tokenCount": 60}], "candidatesTokenCount": 10}, {"input_tokens": 140, "input_audio_tokens": 100, "cache_read_tokens": 60, "cache_audio_read_tokens": 60, "output_tokens": 10}, 40 * 300_000 + 40 * 1_000_000 + 60 * 100_000 + 10 * 2_500_000),
    Usage("a picture out", "generateContent", "google", "gemini-3-pro-image-preview", {"promptTokenCount": 20, "candidatesTokenCount": 1120, "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}]}, {"input_tokens": 20, "output_tokens": 1120, "output_image_tokens": 1120}, 20 * 2_000_000 + 1120 * 120_000_000),
    Usage("Gemini 2 grounded by a search", "generateContent", "google", "gemini-2.5-flash", {"promptTokenCount": 100, "candidatesTokenCount": 10, "by": "gemini-2.5-flash", "queries": ["a", "b"]}, {"input_tokens": 100, "output_tokens": 10, "web_searches": 1}, 100 * 300_000 + 10 * 2_500_000 + 35_000_000_000),
    Usage("Gemini 3 pays for each query", "generateContent", "google", "gemini-3.8-flash", {"promptTokenCount": 100, "candidatesTokenCount": 10, "by": "gemini-3.8-flash", "queries": ["a", "b", "c"]}, {"input_tokens": 100, "output_tokens": 10, "web_searches": 3}, 100 * 750_000 + 10 * 3_750_000 + 3 * 14_000_000_000),
    Usage("Gemini 2 grounded by maps", "", "google", "gemini-2.5-flash", {"promptTokenCount": 100}, {"input_tokens": 100, "map_searches": 1}, 100 * 300_000 + 25_000_000_000),
    Usage("Gemini 3 grounded by maps", "", "google", "gemini-3.8-flash", {"promptTokenCount": 100}, {"input_tokens": 100, "map_searches": 2}, 100 * 750_000 + 2 * 14_000_000_000),
    Usage("Gemini's flex", "", "google", "gemini-3.8-flash", {"promptTokenCount": 100, "candidatesTokenCount": 10}, {"input_tokens": 100, "output_tokens": 10}, 100 * 375_000 + 10 * 1_875_000, "flex"),
    Usage("Vertex's flex", "", "google", "gemini-2.5-pro", {"promptTokenCount": 100, "trafficType": "ON_DEMAND_FLEX"}, {"input_tokens": 100, "output_tokens": 10}, 100 * 625_000 + 10 * 5_000_000, "ON_DEMAND_FLEX"),
    Usage("Vertex's priority", "", "google", "gemini-3.8-flash", {"promptTokenCount": 100, "trafficType": "ON_DEMAND_PRIORITY"}, {"input_tokens": 100, "cache_read_tokens": 50, "output_tokens": 10}, 50 * 1_350_000 + 50 * 135_000 + 10 * 6_750_000, "ON_DEMAND_PRIORITY"),
    Usage("a batch of Gemini's", "", "google", "gemini-2.5-flash", {"promptTokenCount": 100, "candidatesTokenCount": 10}, {"input_tokens": 100, "output_tokens": 10}, 100 * 150_000 + 10 * 1_250_000, "batch"),
    Usage("a batch of Gemini's that reads a cache", "", "google", "gemini-2.5-flash", {"promptTokenCount": 100, "cachedContentTokenCount": 40, "candidatesTokenCount": 10}, {"input_tokens": 100, "cache_read_tokens": 40, "output_tokens": 10}, 60 * 150_000 + 40 * 30_000 + 10 * 1_250_000, "batch"),
    Usage("embedContent", "", "google", "gemini-embedding-001", {"promptTokenCount": 100}, {"input_tokens": 100}, 100 * 150_000),
    Usage("Live", "", "google", "gemini-3.8-live", {"promptTokenCount": 300, "responseTokenCount": 100}, {"input_tokens": 300, "input_audio_tokens": 250, "output_tokens": 100, "output_audio_tokens": 90}, 50 * 750_000 + 250 * 3_000_000 + 10 * 4_500_000 + 90 * 12_000_000),
    Usage("Imagen", "", "google", "imagen-3.0-generate-001", {"predictions": [{}, {}]}, {"images/any": 2}, 2 * 40_000_000_000),
    Usage("Veo, eight seconds in 4k", "", "google", "veo-3.1-generate-001", {}, {"video_seconds/4k": 8}, 8 * 600_000_000_000),
    Usage("Veo of a size that is not listed: the dearest", "", "google", "veo-3.1-lite-generate-001", {}, {"video_seconds/720p": 4}, 4 * 80_000_000_000),

    # Bedrock's Converse: inputTokens leaves the cache out
    Usage("Converse", "converse", "aws", "us.anthropic.claude-opus-5", {"inputTokens": 100, "cacheReadInputTokens": 900, "cacheWriteInputTokens": 0, "outputTokens": 20}, {"input_tokens": 1000, "cache_read_tokens": 900, "output_tokens": 20}, 100 * 5_500_000 + 900 * 550_000 + 20 * 27_500_000),
    Usage("Converse, writes for an hour", "converse", "aws", "us.anthropic.claude-opus-5", {"inputTokens": 100, "cacheWriteInputTokens": 400, "cacheDetails": [{"ttl": "5m", "inputTokens": 100}, {"ttl": "1h", "inputTokens": 300}], "outputTokens": 20}, {"input_tokens": 500, "cache_write_tokens": 400, "cache_write_1h_tokens": 300, "output_tokens": 20}, 100 * 5_500_000 + 100 * 6_875_000 + 300 * 11_000_000 + 20 * 27_500_000),
    Usage("Nova", "converse", "aws", "amazon.nova-pro-v1:0", {"inputTokens": 100, "cacheReadInputTokens": 50, "outputTokens": 20}, {"input_tokens": 150, "cache_read_tokens": 50, "output_tokens": 20}, 100 * 800_000 + 50 * 200_000 + 20 * 3_200_000),
    Usage("Titan's embeddings", "", "aws", "amazon.titan-embed-text-v2:0", {"inputTextTokenCount": 100}, {"input_tokens": 100}, 100 * 20_000),

    # Cohere bills billed_units, not tokens
    Usage("Cohere's chat", "cohere", "cohere", "command-a", {"billed_units": {"input_tokens": 100, "output_tokens": 20}, "tokens": {"input_tokens": 700, "output_tokens": 25}}, {"input_tokens": 100, "output_tokens": 20}, 100 * 2_500_000 + 20 * 10_000_000),
    Usage("a rerank", "rerank", "cohere", "rerank-v3.5", {"billed_units": {"search_units": 3}}, {"rerank_searches": 3}, 3 * 2_000_000_000),
    Usage("a better one", "rerank", "cohere", "rerank-v4.0-pro", {"billed_units": {"search_units": 3}}, {"rerank_searches": 3}, 3 * 2_500_000_000),
    Usage("a rerank by the token", "rerank", "cohere", "rerank-v5.0-fast", {"billed_units": {"input_tokens": 1000}}, {"input_tokens": 1000}, 1000 * 20_000),
    Usage("Cohere's embeddings", "embed", "cohere", "embed-v4.0", {"billed_units": {"input_tokens": 100}}, {"input_tokens": 100}, 100 * 120_000),

    # Mistral
    Usage("Mistral's chat", "chat", "mistral", "mistral-large-2512", chat(prompt_tokens=100, completion_tokens=20, total_tokens=120, num_cached_tokens=60), {"input_tokens": 100, "cache_read_tokens": 60, "output_tokens": 20}, 40 * 500_000 + 60 * 50_000 + 20 * 1_500_000),
    Usage("OCR", "ocr", "mistral", "mistral-ocr-2512", {"usage_info": {"pages_processed": 7}}, {"input_document_pages": 7}, 7 * 2_000_000_000),
    Usage("OCR with annotations", "", "mistral", "mistral-ocr-2512", {"usage_info": {"pages_processed": 7}}, {"input_document_pages": 7, "input_annotated_document_pages": 7}, 7 * 3_000_000_000),
    Usage("a minute of sound", "", "mistral", "voxtral-mini-2602", {"prompt_audio_seconds": 60}, {"input_audio_seconds": 60}, 60 * 50_000_000),

    # Costs that the provider states are the bill
    Usage("OpenRouter", "chat", "openrouter", "openai/gpt-5", chat(prompt_tokens=100, completion_tokens=20, total_tokens=120, cost=0.00095), {"input_tokens": 100, "output_tokens": 20}, 950_000_000),
    Usage("Perplexity's cost is an object", "chat", "perplexity", "sonar-pro", chat(prompt_tokens=100, completion_tokens=20, total_tokens=120, cost={"total_cost": 0.0146}), {"input_tokens": 100, "output_tokens": 20}, 14_600_000_000),
    Usage("xAI's ticks are a ten-billionth of a dollar", "chat", "x-ai", "grok-4.20", chat(prompt_tokens=100, completion_tokens=20, total_tokens=120, cost_in_usd_ticks=37_756_000), {"input_tokens": 100, "output_tokens": 20}, 37_756_000 * 100),

    # Others
    Usage("Perplexity without a stated cost: a fee a call", "", "perplexity", "sonar-pro", chat(prompt_tokens=100, completion_tokens=20), {"input_tokens": 100, "output_tokens": 20}, 100 * 3_000_000 + 20 * 15_000_000 + 14_000_000_000),
    Usage("DeepSeek's cache", "chat", "deepseek", "deepseek-v4-pro", chat(prompt_tokens=100, completion_tokens=20, total_tokens=120, prompt_cache_hit_tokens=60, prompt_cache_miss_tokens=40), {"input_tokens": 100, "cache_read_tokens": 60, "output_tokens": 20}, 40 * 660_000 + 60 * 22_000 + 20 * 1_980_000),
    Usage("Groq bills ten seconds at least", "", "groq", "whisper-large-v3", {}, {"input_audio_seconds": 3}, -(-10 * 111_000_000_000 // 3600)),
    Usage("xAI's pictures by their size", "", "x-ai", "grok-imagine-image-2.0", {}, {"images/2k": 1}, 60_000_000_000),
    Usage("xAI in the United States", "", "x-ai/us", "grok-4.20", chat(prompt_tokens=100, completion_tokens=20), {"input_tokens": 100, "output_tokens": 20}, 100 * 1_375_000 + 20 * 2_750_000),
    Usage("Voyage", "", "voyageai", "voyage-3.5", {"usage": {"total_tokens": 1000}}, {"input_tokens": 1000}, 1000 * 60_000),
]
# fmt: on


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.what)
def test_a_usage_of_an_api_costs_what_it_comes_to_by_hand(row: Usage) -> None:
    """From the words of the provider to the money in the books: a field that is not read is not paid for."""
    read = READERS[row.api](row.raw) if row.api else Answer(usage=row.counts, tier=row.tier)

    assert {kind: count for kind, count in (read.usage or {}).items() if count} == row.counts
    place = in_region(row.provider, read.region) if read.region is not None else row.provider
    booked = read.cost or BOOK.tariff(place, row.model, read.tier, NOW).cost(row.counts) + read.fee
    assert booked == -(-row.pico // 1000)


def test_every_api_has_its_rows() -> None:
    """An API that is not in the table may be billed in any way."""
    assert len(ROWS) >= 60
    assert len({row.what for row in ROWS}) == len(ROWS)
    assert {row.api for row in ROWS} == {"", *READERS}


def test_a_model_on_a_machine_of_ones_own_is_free_only_if_that_is_said() -> None:
    """Ollama's counts are priced as any other's at ollama.com, whose list nobody has."""
    raw = {"prompt_eval_count": 100, "eval_count": 20}
    counts = {"input_tokens": raw["prompt_eval_count"], "output_tokens": raw["eval_count"]}
    assert PriceBook(overrides={"llama3*": {"free": True}}).tariff(None, "llama3:8b", None, NOW).cost(counts) == 0
    with pytest.raises(UnpricedModelError):
        BOOK.quote(BOOK.provider("ollama.com"), "gpt-oss:120b-cloud")
    hosted = PriceBook(overrides={"gpt-oss:120b": {"input": 0.15, "output": 0.6, "provider": "ollama_cloud"}})
    assert hosted.tariff("ollama_cloud", "gpt-oss:120b", None, NOW).cost(counts) == 100 * 150 + 20 * 600
