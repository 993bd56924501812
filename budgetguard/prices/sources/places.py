"""
Whose API is at a host, and where that is processed.

The price list knows most hosts. Over it stand those that it has under an older name, those of a region with a
surcharge, and those whose provider it does not have: their models are not OpenAI's, whatever they are called, so that
only a declared price or LiteLLM's map has one for them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from . import list as pricelist

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot

_LOOPBACK = re.compile(r"(localhost|127\.\d+\.\d+\.\d+|\[?::1\]?|0\.0\.0\.0)(:\d+)?\Z")
_REGIONAL: Final = (
    (re.compile(r"([a-z]{2,3})\.api\.openai\.com"), "openai"),
    (re.compile(r"([a-z]{2})(?:-[a-z]+-\d)?\.api\.x\.ai"), "x-ai"),
)

_RENAMED: Final = {"api.together.ai": "api.together.xyz"}
"""Hosts that the list has under the name they had before (docs.together.ai, read 2026-11-29)."""

_ELSEWHERE = (
    # Base URLs in litellm 1.110.2 (litellm/constants.py, litellm/llms) and in the SDKs' own defaults, read 2026-11-29.
    (r"api\.sambanova\.ai", "sambanova"),
    (r"api\.writer\.com", "writer"),
    (r"(.+\.)?ollama\.com", "ollama_cloud"),  # not "ollama": what runs on a machine of one's own is free
    (r"api\.deepinfra\.com", "deepinfra"),
    (r"api\.(studio|tokenfactory)\.nebius\.(ai|com)", "nebius"),
    (r"api\.hyperbolic\.xyz", "hyperbolic"),
    (r"api\.lambda\.ai", "lambda_ai"),
    (r"api\.scaleway\.ai", "scaleway"),
    (r"integrate\.api\.nvidia\.com", "nvidia_nim"),
    (r"dashscope(-[a-z]+)?\.aliyuncs\.com", "dashscope"),
    (r"api\.ai21\.com", "ai21"),
    (r"api\.replicate\.com", "replicate"),
    # The same sellers at hosts that the list's pattern leaves out (AWS, "Chat Completions API"; Azure's other clouds).
    (r"bedrock-runtime(-fips)?\.[a-z0-9-]+\.(amazonaws\.com(\.cn)?|api\.aws)", "aws"),
    (r"bedrock-mantle\.[a-z0-9-]+\.api\.aws", "aws"),
    (r"aws-external-anthropic\.[a-z0-9-]+\.api\.aws", "anthropic"),  # anthropic 2.14, `lib/aws`
    (r".+\.(openai|cognitiveservices|services\.ai)\.azure\.(us|cn)", "azure"),
)
"""Hosts that the list does not have, and who sells there."""


@cache
def _elsewhere() -> Sequence[tuple[re.Pattern[str], str]]:
    """The same, compiled when a host is first looked up: no start waits for it."""
    return tuple((re.compile(pattern + r"(:\d+)?\Z"), seller) for pattern, seller in _ELSEWHERE)


def is_loopback(host: str) -> bool:
    """Whether a host is this machine."""
    return _LOOPBACK.match(host) is not None


def region_of(host: str) -> str | None:
    """The provider and region that a host alone tells of; `None` for one that says no region."""
    for pattern, provider in _REGIONAL:
        if match := pattern.match(host):
            return f"{provider}/{match[1]}"
    return None


def in_region(provider: str | None, region: str) -> str | None:
    """A provider whose prices count, where a request is processed in a region; "": in one without a surcharge."""
    if provider is None:
        return None
    place = provider.partition("/")[0]
    return f"{place}/{region}" if region else place


def provider_at(snapshot: DataSnapshot, host: str, path: str) -> str | None:
    """The id of the provider whose API is at a host, or `None`."""
    found = pricelist.provider_at(snapshot, _RENAMED.get(host, host), path)
    if found is not None:
        return found
    return next((seller for pattern, seller in _elsewhere() if pattern.match(host)), None)
