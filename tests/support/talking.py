"""Prices of what tests say over sockets, what a provider charges by them, and the books of a user called ann."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from typing import Any

from budgetguard import BudgetManager
from budgetguard.prices.book import PriceBook
from tests.support.sdk_shapes import wait

REALTIME, EAR, LIVE, TRANSLATE, GEMINI, TEXT = "rt-1", "ear-1", "live-1", "translate-1", "gemini-live-1", "gpt-4o-mini"

PRICES: Any = {
    REALTIME: {
        "input": 4,
        "input_audio": 32,
        "cache_read": 0.4,
        "cache_audio_read": 0.3,
        "output": 16,
        "output_audio": 64,
    },
    EAR: {"input": 1.25, "input_audio": 3, "output": 5},
    LIVE: {"audio_seconds": "0.0008"},
    TRANSLATE: {"audio_seconds": "0.0005"},
    GEMINI: {"input": 0.5, "input_audio": 3, "output": 2, "output_audio": 12},
    TEXT: {"input": 0.15, "output": 0.6},
}

SECOND = base64.b64encode(bytes(48_000)).decode()
"""A second of sound."""


def price(model: str, usage: Mapping[str, Any]) -> int:
    """What the provider charges, in nano-dollars; written apart from the price book, over the same prices."""
    listed = PRICES[model]
    if "seconds" in usage:
        return round(usage["seconds"] * float(listed["audio_seconds"]) * 1e9)
    asked = usage.get("input_tokens", usage.get("promptTokenCount", 0))
    made = usage.get("output_tokens", usage.get("responseTokenCount", 0))
    details = usage.get("input_token_details", {})
    cached = details.get("cached_tokens_details", {})
    sound = details.get("audio_tokens", 0)
    spoken = usage.get("output_token_details", {}).get("audio_tokens", 0)
    spoken += sum(part["tokenCount"] for part in usage.get("responseTokensDetails", ()))
    cached_sound, cached_text = cached.get("audio_tokens", 0), cached.get("text_tokens", 0)
    pico = (asked - sound - cached_text) * listed["input"] + cached_text * listed.get("cache_read", 0)
    pico += (sound - cached_sound) * listed.get("input_audio", 0) + cached_sound * listed.get("cache_audio_read", 0)
    pico += (made - spoken) * listed["output"] + spoken * listed.get("output_audio", 0)
    return -(-round(pico * 1e6) // 1000)


def manager(limit: float | str = 100.0) -> BudgetManager:
    made = BudgetManager("talks", store="memory://", prices=PriceBook(overrides=PRICES))
    made.create_budget(limit, "ann")
    return made


async def until(connection: Any, *kinds: str) -> Any:
    """The first event of one of these types that comes."""
    while True:
        event = await wait(connection.recv())
        if event.type in kinds:
            return event


async def append(connection: Any, seconds: int = 1) -> None:
    await wait(connection.input_audio_buffer.append(audio=SECOND * seconds))
