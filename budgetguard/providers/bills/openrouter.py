"""
OpenRouter's bill: `/activity`, by model and endpoint, of the last 30 days that are over.

Read in openrouter.ai/docs/api/api-reference/analytics/get-user-activity and in its own SDK (`openrouter` 1.3.84,
`components/activityitem.py`), 2026-11-29: `usage` is the credits spent, in dollars, as a JSON number; what calls with
one's own key cost at the provider is `byok_usage_inference`, and is not OpenRouter's to bill. There are no pages.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from .lines import ATTO_PER_NANO, BillLine, BillRequest, BillRow, BillSource, BillUsage
from .reading import atto_of, count_of, counted, day_of, listed, text_of


def _requests(since_s: int, until_s: int) -> list[BillRequest]:
    """All of it, as a day is asked for alone or not at all; the others are left out when it is read."""
    first, end = day_of(since_s), day_of(until_s)
    return [BillRequest("/activity", (), partial(_activity, first, end), partial(_byok, first, end))]


def _rows(first: str, end: str, page: Any) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for row in listed(page):
        day = day_of(row.get("date"))
        if first <= day < end:
            yield day, row


def _activity(first: str, end: str, page: Any) -> Iterator[BillRow]:
    for day, row in _rows(first, end, page):
        model = text_of(row, "model_permaslug") or text_of(row, "model")
        item = text_of(row, "provider_name") or text_of(row, "model")
        yield BillLine(day, item, atto_of(row.get("usage")), model, text_of(row, "workspace_id"))
        usage = counted(
            input_tokens=count_of(row, "prompt_tokens"),
            cache_read_tokens=min(count_of(row, "cached_tokens"), count_of(row, "prompt_tokens")),
            output_tokens=count_of(row, "completion_tokens"),
        )
        calls = count_of(row, "requests")
        yield BillUsage(day, model, usage, calls, project=text_of(row, "workspace_id"))


def _byok(first: str, end: str, page: Any) -> str:
    """What was paid to providers themselves, as a sentence; "" where nothing was."""
    paid = sum(atto_of(row.get("byok_usage_inference") or 0) for _, row in _rows(first, end, page))
    if not paid:
        return ""
    cents = paid // (ATTO_PER_NANO * 10**7)
    shown = f"${cents // 100:,}.{cents % 100:02d}"
    return f"Calls with keys of your own cost {shown} more at their providers, which is on those bills."


SOURCE: Final = BillSource(
    name="openrouter",
    base="https://openrouter.ai/api/v1",
    keys=("OPENROUTER_MANAGEMENT_KEY", "OPENROUTER_PROVISIONING_KEY"),
    key_kind="a management key (once called provisioning key), which is made at openrouter.ai/settings/management-keys",
    headers=lambda key: {"Authorization": f"Bearer {key}"},
    requests=_requests,
    late_h=1,
    unsaid=(
        "OpenRouter tells the last 30 days that are over, and nothing of today.",
        "OpenRouter's activity has no users and keys: only models, endpoints and days of UTC.",
        "OpenRouter's fees for buying credits are not in its activity.",
    ),
    fees_apart=False,
    days=30,
)
