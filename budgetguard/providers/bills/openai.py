"""
OpenAI's bill: `/organization/costs` by line item, and `/organization/usage/...` by model, batch and service tier.

Read in platform.openai.com/docs/api-reference/usage and in OpenAI's own SDK (`openai` 3.57.0,
`types/admin/organization/usage_costs_response.py`, `usage_completions_params.py`), 2026-11-29. What these do not say
was seen in answers that others have published: amounts that are texts (github.com/steipete/CodexBar/issues/999), and
how line items look (cookbook.openai.com/examples/completions_usage_api). A model's line is "gpt-4o-mini-2024-07-18,
cached input", "gpt-image-1 image, output" or "gpt-5.4-2026-03-05, input, long context"; a fine-tuned one's
"ft-gpt-4o-2024-08-06, input"; "evals | gpt-4o-mini-2024-07-18, input" and "assistants api | file search" are used by
OpenAI's own services, and "web search tool calls" is a tool. Usage and costs do not agree on which of a model's names
has a date. Of the fields that the SDK groups costs by, the API takes `project_id` and `line_item`
(github.com/PostHog/posthog/pull/71784, 2026-07-16).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from ...errors import BillError
from .lines import BillLine, BillRequest, BillRow, BillSource, BillUsage
from .reading import atto_of, buckets, count_of, counted, text_of

_MODES: Final = (" text", " audio", " image", " video")
_SAME: Final = {"whisper": "whisper-1"}
"""Models that a line item calls by another name than requests do."""

_COST_DAYS, _USAGE_DAYS = 180, 31
"""The most days of one page."""


def _requests(since_s: int, until_s: int) -> list[BillRequest]:
    span = (("start_time", str(since_s)), ("end_time", str(until_s)), ("bucket_width", "1d"))
    costs = (*span, ("limit", str(_COST_DAYS)), ("group_by", "line_item"), ("group_by", "project_id"))
    usage = (*span, ("limit", str(_USAGE_DAYS)), ("group_by", "project_id"), ("group_by", "model"))
    tiers = (("group_by", "batch"), ("group_by", "service_tier"))
    return [
        BillRequest("/organization/costs", costs, _costs),
        BillRequest("/organization/usage/completions", (*usage, *tiers), partial(_usage, _completion_counts)),
        BillRequest("/organization/usage/embeddings", usage, partial(_usage, _embedding_counts)),
    ]


def _costs(page: Any) -> Iterator[BillRow]:
    for day, row in buckets(page, "start_time"):
        amount = row.get("amount")
        if amount is not None and not isinstance(amount, dict):
            raise BillError(f"{amount!r} is no amount: the provider's answer is not as documented")
        if amount is None or amount.get("value") is None:
            continue  # a line that costs nothing: the amount is optional
        item = text_of(row, "line_item")
        atto = atto_of(amount["value"], amount.get("currency"))
        yield BillLine(day, item or "(no line item)", atto, model_of(item), text_of(row, "project_id"))


def model_of(item: str) -> str:
    """The model of a line item, as requests name it; "" for a tool, a fee, or one of OpenAI's own services."""
    head, comma, direction = item.partition(",")
    name = head.strip()
    for mode in _MODES:
        name = name.removesuffix(mode)
    is_model = bool(name) and not (" " in name or "|" in name or "training" in direction)
    if not comma and "-" not in name and name not in _SAME:
        is_model = False
    return fold(name) if is_model else ""


def fold(model: str) -> str:
    """A model by one name: fine-tuned ones without whose they are, as the costs have it."""
    if model.startswith("ft-"):
        return f"ft:{model.removeprefix('ft-')}"
    if model.startswith("ft:"):
        return ":".join(model.split(":")[:2])
    return _SAME.get(model, model)


def _usage(counts: Any, page: Any) -> Iterator[BillRow]:
    for day, row in buckets(page, "start_time"):
        yield BillUsage(
            day,
            text_of(row, "model"),
            counts(row),
            count_of(row, "num_model_requests"),
            "batch" if row.get("batch") is True else text_of(row, "service_tier"),
            project=text_of(row, "project_id"),
        )


def _completion_counts(row: Mapping[str, Any]) -> dict[str, int]:
    """`input_tokens` has cached and written ones in it, and every kind of input; those of sound and pictures do not."""
    read = {mode: count_of(row, f"input_cached_{mode}_tokens") for mode in ("audio", "image")}
    kept_long = count_of(row, "input_cache_write_12h_tokens")
    return counted(
        input_tokens=count_of(row, "input_tokens"),
        cache_read_tokens=count_of(row, "input_cached_tokens"),
        cache_write_tokens=count_of(row, "input_cache_write_tokens"),
        cache_write_12h_tokens=kept_long,
        input_audio_tokens=count_of(row, "input_audio_tokens") + read["audio"],
        input_image_tokens=count_of(row, "input_image_tokens") + read["image"],
        cache_audio_read_tokens=read["audio"],
        cache_image_read_tokens=read["image"],
        output_tokens=count_of(row, "output_tokens"),
        output_audio_tokens=count_of(row, "output_audio_tokens"),
        output_image_tokens=count_of(row, "output_image_tokens"),
    )


def _embedding_counts(row: Mapping[str, Any]) -> dict[str, int]:
    return counted(input_tokens=count_of(row, "input_tokens"))


SOURCE: Final = BillSource(
    name="openai",
    base="https://api.openai.com/v1",
    keys=("OPENAI_ADMIN_KEY",),
    key_kind="an admin key (sk-admin-...), which an owner makes at "
    "platform.openai.com/settings/organization/admin-keys",
    headers=lambda key: {"Authorization": f"Bearer {key}"},
    requests=_requests,
    late_h=24,
    unsaid=(
        "OpenAI tells costs by line item, not by key and model: a model is read from the item's name.",
        "OpenAI's costs do not say in which tier (batch, flex, priority) a line's tokens were used; its usage does.",
        "OpenAI counts tokens of completions, Responses and embeddings; of pictures by the piece, speech and minutes "
        "of sound only the cost is compared.",
        "OpenAI says that its usage may not add up to its costs, as both are recorded apart; the costs are the bill.",
        "OpenAI does not say when a day is complete: one that ended less than 24 hours ago is taken to be open.",
        "OpenAI's days are days of UTC, by when a request was made; the books' by when it ended.",
    ),
    fold=fold,
)
