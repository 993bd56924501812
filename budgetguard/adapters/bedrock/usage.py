"""
What Bedrock says was used: in a reply of Converse, in the headers of a model's own reply, in the metrics of its stream.

All three count the input without what was read from a cache or written to one; here it is all input. (Recorded of a
Claude: `inputTokenCount` 7 beside `cacheReadInputTokenCount` 14486 and `cacheWriteInputTokenCount` 2238.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...calls import Usage, read
from ..common.numbers import fields, number, number_of

TEXT_TOTALS = ("input_tokens", "output_tokens")

_CONVERSE = ("inputTokens", "outputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
_METRICS = ("inputTokenCount", "outputTokenCount", "cacheReadInputTokenCount", "cacheWriteInputTokenCount")
_HEADERS = (
    "x-amzn-bedrock-input-token-count",
    "x-amzn-bedrock-output-token-count",
    "x-amzn-bedrock-cache-read-input-token-count",
    "x-amzn-bedrock-cache-write-input-token-count",
)


def converse_usage(usage: Any) -> dict[str, int] | None:
    """The counts of a reply of Converse; `None` if there are none, or some that make no sense."""
    said = fields(usage)
    counts = _counts(said, _CONVERSE)
    details = said.get("cacheDetails")
    if counts is not None and isinstance(details, list | tuple) and details:
        _add_details(counts, details)
    return counts


def metrics_usage(item: Any) -> dict[str, int] | None:
    """The counts in the last piece of a stream of a model's own JSON; `None` in every other piece."""
    metrics = read(item, "amazon-bedrock-invocationMetrics")
    return None if metrics is None else _counts(fields(metrics), _METRICS)


def header_usage(headers: Mapping[str, Any]) -> dict[str, int] | None:
    """The counts in the headers (with names in lower case) of a model's own reply; `None` if they have none."""
    return _counts(headers, _HEADERS)


def unsaid(counts: Usage, wrote: bool) -> Sequence[str]:
    """What a usage lacks of its two totals. No output is no count of it where something was written."""
    return tuple(kind for kind in TEXT_TOTALS if kind not in counts or (wrote and not counts[kind]))


def _counts(said: Mapping[str, Any], names: Sequence[str]) -> dict[str, int] | None:
    plain, output, cached, written = (number(said.get(name)) for name in names)
    if (plain is None and output is None) or min(plain or 0, output or 0, cached or 0, written or 0) < 0:
        return None
    counts: dict[str, int] = {}
    if plain is not None:
        counts["input_tokens"] = plain + (cached or 0) + (written or 0)
    if cached:
        counts["cache_read_tokens"] = cached
    if written:
        counts["cache_write_tokens"] = written
    if output is not None:
        counts["output_tokens"] = output
    return counts


def _add_details(counts: dict[str, int], details: Sequence[Any]) -> None:
    """Add for how long a cache keeps what was written to it; what is not broken down is kept as long as the longest."""
    short = sum(number_of(detail, "inputTokens") for detail in details if read(detail, "ttl") != "1h")
    long = sum(number_of(detail, "inputTokens") for detail in details if read(detail, "ttl") == "1h")
    total = counts.get("cache_write_tokens", 0)
    if short + long > total:
        counts["input_tokens"] = counts.get("input_tokens", 0) + short + long - total
        counts["cache_write_tokens"] = total = short + long
    if long:
        counts["cache_write_1h_tokens"] = total - short
