"""
Whether a budget is so near its limit that a fallback is asked at once, and what is said once one is.

What a store says with each hold decides, so it is exact over all processes. What it last said was settled, which only
grows in a period, spares the hold that would be given back again.
"""

from __future__ import annotations

from collections.abc import Iterator

from ...ledger import Account, Hold
from .fallback import Degraded, Fallback, Refusable, scoped

_MOST_LEVELS = 10_000


def look_before(it: Refusable) -> None:
    """Raise `Degraded` before anything is held, where that can be known by now."""
    fallback = it.fallback
    if fallback is None or not fallback.looks or it.plan.unheld:
        return
    for tally, falls in scoped(it.asked.scope):
        if falls.degrade_at is not None:
            balance = tally.balance
            if falls.near(tally.account.limit, balance.settled + balance.held):
                _degrade(fallback, falls.models)
    levels = it.parts.levels
    for account in _watched(it):
        falls = it.plan.cover.fallbacks[account.key]
        if falls.near(account.limit, levels.get(account.key, 0)):
            _degrade(fallback, falls.models)


def look_after(it: Refusable) -> None:
    """Raise `Degraded` by what the store said to the hold, beside which others are; else note which model is sent."""
    fallback, hold = it.fallback, it.held.hold
    if fallback is None:
        return
    taken, levels = {balance.key: balance for balance in it.held.balances}, it.parts.levels
    for account in _watched(it) if hold is not None and taken else ():
        balances = [taken[key] for key in (account.key, *account.window) if key in taken]
        settled, held = sum(each.settled for each in balances), sum(each.held for each in balances)
        if len(levels) >= _MOST_LEVELS:
            levels.clear()
        levels[account.key] = settled
        falls = it.plan.cover.fallbacks[account.key]
        if fallback.looks and falls.near(account.limit, settled + held - _mine(it, hold, account)):
            _degrade(fallback, falls.models)
    if fallback.model:
        _note(it, fallback)


def _watched(it: Refusable) -> Iterator[Account]:
    """The accounts whose rule says from which part of the limit on a fallback is asked."""
    cover = it.plan.cover
    for account in cover.accounts if cover.fallbacks else ():
        falls = cover.fallbacks.get(account.key)
        if falls is not None and falls.degrade_at is not None:
            yield account


def _mine(it: Refusable, hold: Hold | None, account: Account) -> int:
    """What the call itself holds of an account."""
    if account.unit == "dollars":
        return it.held.amount
    return it.held.units.get(account.unit, 0 if hold is None else hold.wanted(account.unit).amount)


def _degrade(fallback: Fallback, models: tuple[str, ...]) -> None:
    fallback.looks = False
    fallback.add(models)
    if fallback.left:
        raise Degraded


def _note(it: Refusable, fallback: Fallback) -> None:
    """Count a call that is sent to another model, and say so once for each two."""
    fallback.first = fallback.told = None  # with the frames that it came through
    for own in () if fallback.sent else it.held.tallies:
        own.fallbacks += 1
    fallback.sent = True
    it.parts.notices.warn_once(
        f"fallback {fallback.asked} {fallback.model}",
        "a budget has no room for %r, or is near its limit: %r is asked in its place, here and from now on wherever "
        "that is so; the entries of such calls are flagged 'fallback'",
        fallback.asked,
        fallback.model,
    )
