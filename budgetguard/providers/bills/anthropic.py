"""
Anthropic's bill: `/organizations/cost_report` by description, and `/organizations/usage_report/messages` by model.

Read in platform.claude.com/docs/en/api/admin/cost_report, .../admin/usage_report/retrieve_messages and
.../manage-claude/usage-cost-api, 2026-11-29: amounts are texts in *cents* ("123.45" is $1.2345); model, token type,
service tier and context window are null for what is no token; `cost_type` is tokens, web_search, code_execution or
session_usage; the default workspace is null. Costs of the Priority Tier are not in the cost report.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from .lines import BillLine, BillRequest, BillRow, BillSource, BillUsage
from .reading import atto_of, buckets, count_of, counted, text_of

_DAYS = 31
"""The most days of one page."""
_LONG: Final = "200k-1M"
VERSION: Final = "2023-06-01"


def _requests(since_s: int, until_s: int) -> list[BillRequest]:
    span = (("starting_at", _time(since_s)), ("ending_at", _time(until_s)), ("bucket_width", "1d"))
    both = (*span, ("limit", str(_DAYS)), ("group_by[]", "workspace_id"))
    fields = ("model", "service_tier", "context_window")
    return [
        BillRequest("/organizations/cost_report", (*both, ("group_by[]", "description")), _costs),
        BillRequest(
            "/organizations/usage_report/messages", (*both, *[("group_by[]", name) for name in fields]), _usage
        ),
    ]


def _time(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"


def _costs(page: Any) -> Iterator[BillRow]:
    for day, row in buckets(page, "starting_at"):
        item = text_of(row, "description") or text_of(row, "cost_type") or "(no description)"
        is_tokens = text_of(row, "cost_type") in {"", "tokens"}
        yield BillLine(
            day,
            item,
            atto_of(row.get("amount"), row.get("currency"), places=2),
            text_of(row, "model") if is_tokens else "",
            text_of(row, "workspace_id"),
        )


def _usage(page: Any) -> Iterator[BillRow]:
    for day, row in buckets(page, "starting_at"):
        yield BillUsage(
            day,
            text_of(row, "model"),
            _counts(row),
            tier=text_of(row, "service_tier"),
            long=text_of(row, "context_window") == _LONG,
            project=text_of(row, "workspace_id"),
        )


def _counts(row: Mapping[str, Any]) -> dict[str, int]:
    """Of the input, what is cached and written stands beside the rest; here `input_tokens` is all of it."""
    said = row.get("cache_creation")
    parts = said if isinstance(said, dict) else {}
    long, short = (count_of(parts, f"ephemeral_{kept}_input_tokens") for kept in ("1h", "5m"))
    read = count_of(row, "cache_read_input_tokens")
    return counted(
        input_tokens=count_of(row, "uncached_input_tokens") + read + long + short,
        cache_read_tokens=read,
        cache_write_tokens=long + short,
        cache_write_1h_tokens=long,
        output_tokens=count_of(row, "output_tokens"),
    )


SOURCE: Final = BillSource(
    name="anthropic",
    base="https://api.anthropic.com/v1",
    keys=("ANTHROPIC_ADMIN_KEY", "ANTHROPIC_ADMIN_API_KEY"),
    key_kind="an Admin API key (sk-ant-admin...), which an organization's admin makes at platform.claude.com/settings/"
    "admin-keys; accounts of individuals have none",
    headers=lambda key: {"x-api-key": key, "anthropic-version": VERSION},
    requests=_requests,
    late_h=1,
    unsaid=(
        "Anthropic's cost report has no costs of the Priority Tier: its tokens are counted, and cost nothing there.",
        "Anthropic does not say how many requests there were: calls that went round are told by their tokens alone.",
        "Anthropic's report does not tell Claude Code and the Workbench apart: where they are paid by use, they are "
        "on it, and in no books here.",
        "Anthropic's report does not split fast mode and the region of a request: both show as another price.",
        "Anthropic's days are days of UTC; what was used appears about five minutes later.",
    ),
)
