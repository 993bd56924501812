"""A ledger's refusal, as the error that the caller reads."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from ..calls import Call, Host
from ..errors import BudgetBusyError, BudgetExceededError, UnpricedModelError
from ..ledger import Refusal
from ..money import DOLLAR, Money, Nano, format_nano


def refuse(refusal: Refusal, tags: Mapping[str, str], projected: Nano, why: str = "") -> BudgetExceededError:
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
    text += why
    if resets_at is not None:
        text += f"; it begins again at {resets_at:%Y-%m-%d %H:%M} UTC"
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


def why_so_much(call: Call, host: Host) -> str:
    """Why a call is projected at the most that there is, and what to do about it; nothing where no words are needed."""
    if call.unread:
        return "; its body is no JSON that can be read, so the most is assumed: send it as a JSON object"
    caps = sorted(name for name, least in host.refuses.items() if name.endswith("_tokens") and not least)
    if call.cap is not None or call.max_output is not None or not caps:
        return ""
    return (
        f"; {host.name} refuses the output cap that would lower it ({', '.join(caps)}), so the model's maximum is "
        "assumed: state a cap that it understands, or make the budget soft"
    )


def unreadable() -> UnpricedModelError:
    """The error for a call of which not even the model is known."""
    return UnpricedModelError(
        "the body of this call is no JSON object that can be read, so neither its model nor its cost is known: "
        "send it as a JSON object (body={...}), or make a price for every model (PriceBook.add('*', ...))"
    )
