"""
Google's `usageMetadata`, read as counts.

`promptTokenCount` has what was cached inside, but not what hosted tools added (`toolUsePromptTokenCount`); thoughts are
beside `candidatesTokenCount`. A count of 0 is left out there. Details tell how many tokens were of which modality.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...calls import Usage
from ..common.numbers import number
from .names import constant, listed, said

TEXT_TOTALS = ("input_tokens", "output_tokens")

SEARCHES = "web_searches"

_INPUT = {"AUDIO": "input_audio_tokens", "IMAGE": "input_image_tokens", "VIDEO": "input_video_tokens"}
_CACHED = {
    "AUDIO": "cache_audio_read_tokens",
    "IMAGE": "cache_image_read_tokens",
    "VIDEO": "cache_video_read_tokens",
}
_OUTPUT = {"AUDIO": "output_audio_tokens", "IMAGE": "output_image_tokens", "VIDEO": "output_video_tokens"}
_DETAILS = (
    ("promptTokensDetails", _INPUT),
    ("toolUsePromptTokensDetails", _INPUT),
    ("cacheTokensDetails", _CACHED),
    ("candidatesTokensDetails", _OUTPUT),
    ("responseTokensDetails", _OUTPUT),
)
"""Documents are priced as text."""

_ONE_A_REPLY = ("gemini-1", "gemini-2")
"""Models that bill a grounded reply once; later ones each query (ai.google.dev/gemini-api/docs/pricing, 2026-11)."""


def token_usage(usage: Any) -> dict[str, int] | None:
    """The counts of a reply; `None` if there are none, or some that make no sense. What is not said is not 0."""
    prompt, tools, cached, written, thought, total = (
        number(value)
        for value in (
            said(usage, "promptTokenCount"),
            said(usage, "toolUsePromptTokenCount"),
            said(usage, "cachedContentTokenCount"),
            _written(usage),
            said(usage, "thoughtsTokenCount"),
            said(usage, "totalTokenCount"),
        )
    )
    every = (prompt, tools, cached, written, thought, total)
    if all(count is None for count in every) or min(count or 0 for count in every) < 0:
        return None
    counts: dict[str, int] = {}
    asked = (prompt or 0) + (tools or 0)
    if prompt is not None:
        counts["input_tokens"] = asked
    made = (written or 0) + (thought or 0)
    if prompt is not None and total is not None:
        made = max(made, total - asked)  # what no other count tells of is output: the dearer reading
    if prompt is not None or written is not None or thought is not None:
        counts["output_tokens"] = made
    if cached:
        counts["cache_read_tokens"] = cached
    if thought:
        counts["output_reasoning_tokens"] = thought
    _add_details(usage, counts)
    return counts


def _written(usage: Any) -> Any:
    """What was written: a Live session, and an embedding, call it the response's."""
    count = said(usage, "candidatesTokenCount")
    return said(usage, "responseTokenCount") if count is None else count


def _add_details(usage: Any, counts: dict[str, int]) -> None:
    for name, kinds in _DETAILS:
        for entry in listed(usage, name):
            kind = kinds.get(constant(said(entry, "modality")))
            count = number(said(entry, "tokenCount"))
            if kind is not None and count is not None and count > 0:
                counts[kind] = counts.get(kind, 0) + count


def unsaid(counts: Usage, wrote: bool) -> Sequence[str]:
    """What a usage lacks of its two totals. 0 is no count of either where something was written."""
    return tuple(kind for kind in TEXT_TOTALS if kind not in counts or (wrote and not counts[kind]))


def billed_searches(model: str | None, queries: int) -> int:
    """How many searches a grounded reply is billed for, by its model and the queries that it shows."""
    if queries and model is not None and model.startswith(_ONE_A_REPLY):
        return 1
    return queries


def queries_of(candidate: Any) -> int:
    """The queries that a candidate was grounded with; one for a search or a map whose queries are not shown."""
    grounding = said(candidate, "groundingMetadata")
    if grounding is None:
        return 0
    queries = len(listed(grounding, "webSearchQueries")) + len(listed(grounding, "imageSearchQueries"))
    if queries:
        return queries
    if said(grounding, "searchEntryPoint") is not None:  # what has to be shown beside results of a search
        return 1
    return int(any(said(chunk, "maps") is not None for chunk in listed(grounding, "groundingChunks")))


def tier_of(reply: Any, usage: Any) -> str | None:
    """The tier in which a reply was served, if it says so."""
    for value in (said(usage, "serviceTier"), said(usage, "trafficType"), said(reply, "serviceTier")):
        if name := constant(value):
            return name.lower()
    return None
