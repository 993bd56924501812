"""A ledger's refusal, as the error that the caller reads."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

from ..calls import Call, Host
from ..errors import BudgetBusyError, BudgetExceededError, UnpricedModelError
from ..ledger import Account, Balance, Refusal, Unit, show_amount
from ..money import DOLLAR, Money
from .steering.known import Pause

_LENGTHS_MS = {"week": 604_800_000, "day": 86_400_000, "hour": 3_600_000, "minute": 60_000}


def refuse(
    refusal: Refusal, tags: Mapping[str, str], projected: int, why: str = "", room_in_s: float | None = None
) -> BudgetExceededError:
    """
    The error for a refusal of a call that was projected at this much, or at least at this much, in its unit.

    `room_in_s` is in how many seconds there may be room, if that is known.
    """
    account, balance, unit = refusal.account, refusal.balance, refusal.account.unit
    limit = account.limit or 0
    budget, _, window = account.key.removesuffix(f"#{unit}").rpartition("/")
    resets_at = None if account.end_ms is None else datetime.fromtimestamp(account.end_ms / 1000, UTC)
    text = _text(refusal, projected, why, resets_at)
    scale, amount = _measure(unit)
    return (BudgetBusyError if refusal.busy else BudgetExceededError)(
        balance.settled / scale,
        limit / scale,
        text,
        budget=budget.partition("/")[0],
        user=tags.get("user"),
        window=window,
        spent=amount(balance.settled),
        held=amount(balance.held),
        limit=amount(limit),
        projected=amount(projected),
        resets_at=resets_at,
        unit=unit,
        retry_after_s=room_in_s,
    )


def refuse_paused(pause: Pause, balance: Balance, tags: Mapping[str, str]) -> BudgetExceededError:
    """The error for any call on a budget that somebody has paused; `balance` is that of its account."""
    account, unit = pause.account, pause.account.unit
    limit = account.limit or 0
    stem, _, window = account.key.removesuffix(f"#{unit}").rpartition("/")
    by = f" by {pause.by}" if pause.by else ""
    why = f" ({pause.note})" if pause.note else ""
    resume = f"resume it with `budgetguard budget resume {shlex.quote(pause.target)}`"
    scale, amount = _measure(unit)
    return BudgetExceededError(
        balance.settled / scale,
        limit / scale,
        f"{pause.target} is paused{by}{why}: {resume}",
        budget=stem.partition("/")[0],
        user=tags.get("user"),
        window=window,
        spent=amount(balance.settled),
        held=amount(balance.held),
        limit=amount(limit),
        projected=amount(0),
        unit=unit,
        paused=True,
    )


def _measure(unit: Unit) -> tuple[int, Callable[[int], Money | int]]:
    """How many of what a ledger counts make one of what people do; and what an amount of it is for programs."""
    return (DOLLAR, Money) if unit == "dollars" else (1, int)


def _text(refusal: Refusal, projected: int, why: str, resets_at: datetime | None) -> str:
    """What the error says."""
    account, balance, unit = refusal.account, refusal.balance, refusal.account.unit
    limit = account.limit or 0
    budget, _, window = account.key.removesuffix(f"#{unit}").rpartition("/")
    label, length = budget.partition("#")[0].rstrip("/"), _rolling_length(account) if unit != "dollars" else ""
    if window != "all" and not length:
        label = f"{label}/{window}"
    if unit == "parallel":
        return (
            f"{label}: {balance.held:,} of {show_amount(limit, unit)} are in flight; there is room once one has ended"
        )
    text = f"{label}: call projected at {show_amount(projected, unit)}, "
    available = max(limit - balance.settled - balance.held, 0)
    room = show_amount(available, unit) if unit == "dollars" else f"{available:,}"
    text += f"{room} of {show_amount(limit, unit)}{length} available"
    if balance.held:
        text += f", {show_amount(balance.held, unit)} held by calls in flight"
    text += why
    if resets_at is not None and length:
        text += f"; some of it may be free again at {resets_at:%Y-%m-%d %H:%M:%S} UTC"
    elif resets_at is not None:
        text += f"; it begins again at {resets_at:%Y-%m-%d %H:%M} UTC"
    return text


def _rolling_length(account: Account) -> str:
    """Of what the limit is one, for people: " in a rolling minute"; "" for a period that is not a rolling one."""
    if not account.window or account.start_ms is None or account.end_ms is None:
        return ""
    length_ms = len(account.window) * (account.end_ms - account.start_ms)
    for name, unit_ms in _LENGTHS_MS.items():
        number, rest = divmod(length_ms, unit_ms)
        if not rest:
            return f" in a rolling {name}" if number == 1 else f" in rolling {number} {name}s"
    return " in a rolling period"


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


def least_said(output: int) -> str:
    """For how long an answer a call was refused that states no output cap."""
    if output < 2:
        return ""
    return (
        f"; that is for {output:,} output tokens, the least useful answer of this model: state a cap for a shorter one"
    )


def unbounded(call: Call) -> UnpricedModelError:
    """The error for a call whose tokens have no bound, under a budget that counts them."""
    if call.unread:
        return UnpricedModelError(
            "the body of this call is no JSON object that can be read, so its tokens have no bound: send it as a JSON "
            "object (body={...})"
        )
    return UnpricedModelError(
        f"nothing is known of {call.model!r}, and no output cap can be added to the call, so its tokens have no bound: "
        f"state a cap, or declare the model (PriceBook.add({call.model!r}, max_output=..., input=..., output=...))",
        model=call.model,
    )


def unreadable() -> UnpricedModelError:
    """The error for a call of which not even the model is known."""
    return UnpricedModelError(
        "the body of this call is no JSON object that can be read, so neither its model nor its cost is known: "
        "send it as a JSON object (body={...}), or make a price for every model (PriceBook.add('*', ...))"
    )
