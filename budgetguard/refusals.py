"""A ledger's refusal, as the error that the caller reads."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from .errors import BudgetBusyError, BudgetExceededError
from .ledger import Refusal
from .money import DOLLAR, Money, Nano, format_nano


def refuse(refusal: Refusal, tags: Mapping[str, str], projected: Nano, advice: str = "") -> BudgetExceededError:
    """The error for a refusal of a call that was projected at this cost, or at least at this cost."""
    account, balance = refusal.account, refusal.balance
    limit = account.limit or 0
    budget, _, window = account.key.rpartition("/")
    available = max(limit - balance.settled - balance.held, 0)
    resets_at = None if account.end_ms is None else datetime.fromtimestamp(account.end_ms / 1000, UTC)
    label = budget.rstrip("/") if window == "all" else f"{budget.rstrip('/')}/{window}"
    room = f"{format_nano(available)} of {format_nano(limit)} available"
    text = f"{label}: call projected at {format_nano(projected)}, {room}"
    if balance.held:
        text += f", {format_nano(balance.held)} held by calls in flight"
    if resets_at is not None:
        text += f"; it begins again at {resets_at:%Y-%m-%d %H:%M} UTC"
    text += advice
    return (BudgetBusyError if refusal.busy else BudgetExceededError)(
        balance.settled / DOLLAR,
        limit / DOLLAR,
        text,
        budget=budget.partition("/")[0],
        user=tags.get("user"),
        window=window,
        spent=Money(balance.settled),
        held=Money(balance.held),
        limit=Money(limit),
        projected=Money(projected),
        resets_at=resets_at,
    )
