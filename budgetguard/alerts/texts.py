"""The alerts that are about no threshold, as sentences."""

from __future__ import annotations

from ..budgets.news import RefusedCall
from ..budgets.rules import escape
from ..ledger import Millis, show_amount
from .alert import DAY_MS, AccountName, Alert, day_of, rolling_ms, stem_of, until_ms

_HOUR_MS: Millis = 3_600_000
_TURN_MS: Millis = 600_000
"""Within this time, one process of a fleet says that the store is back."""


def refused_text(call: RefusedCall) -> str:
    """What a call was refused for."""
    refusal, unit = call.refusal, call.refusal.account.unit
    room = max((refusal.account.limit or 0) - refusal.balance.settled - refusal.balance.held, 0)
    left = show_amount(room, unit)
    return f"a call of {call.model} that needs {show_amount(call.wanted, unit)} was refused, {left} left"


def refusals_alert(call: RefusedCall) -> Alert:
    """That calls of a subject begin to be refused: once a period (a day, where that has no end) for each limit."""
    account, balance, unit = call.refusal.account, call.refusal.balance, call.refusal.account.unit
    window, end_ms, length_ms = AccountName.of(account).window, until_ms(account), rolling_ms(account)
    if length_ms is not None:
        length_ms = max(length_ms, _HOUR_MS)
        window = f"{call.at_ms // length_ms}r{length_ms}"
        end_ms = (call.at_ms // length_ms + 1) * length_ms
    elif account.end_ms is None:
        window, end_ms = day_of(call.at_ms), (call.at_ms // DAY_MS + 1) * DAY_MS
    text = f"calls are refused: {show_amount(balance.settled, unit)} of {show_amount(account.limit or 0, unit)} spent"
    return Alert.of_account(
        "refusals",
        account,
        f"{text}; {refused_text(call)}",
        f"refusals/{stem_of(account)}/{window}#{unit}/{account.limit}",
        (call.at_ms, end_ms),
        settled=balance.settled,
        held=balance.held,
    )


def unpriced_alert(model: str, assumed: bool, at_ms: Millis) -> Alert:
    """That a model has no known price: once a day."""
    what = "the dearest of its provider is assumed" if assumed else "what it costs is not counted"
    name = f"unpriced/{escape(model)}/{day_of(at_ms)}"
    text = f"the price of {model!r} is not known: {what}; budgetguard prices set gives it one"
    return Alert("unpriced", text, name, at_ms, (at_ms // DAY_MS + 1) * DAY_MS)


def away_alert(error: str, at_ms: Millis) -> Alert:
    """That the store is away."""
    return Alert("away", f"the store of budgets cannot be reached: {error}", f"away/{at_ms}", at_ms)


def back_alert(after_s: float, at_ms: Millis) -> Alert:
    """That it is back."""
    slot = at_ms // _TURN_MS
    text = f"the store of budgets is back after {after_s:,.0f} s"
    return Alert("away", text, f"back/{slot}", at_ms, (slot + 1) * _TURN_MS)
