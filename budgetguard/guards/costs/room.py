"""
When there will be room for a call that is refused now: asked only then, so that nobody else pays for it.

What is held may be free in a moment. A calendar period begins again at its end. A rolling one gives back what its
oldest buckets took, one after the other: they are read once more, each by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from ...concurrency.interrupts import raise_interruption
from ...concurrency.steps import Step, Steps
from ...errors import StoreError
from ...ledger import Account, Balance, Millis, Refusal, Store, Wanted, grant

BUSY_S = 1.0
"""When to ask again for room that is only held: calls take about as long."""


def room_in_s(store: Store | None, refusal: Refusal, wanted: int, now_ms: Millis) -> Steps[float | None]:
    """In how many seconds there may be room for so much, in the account's unit; `None`: never, or nobody knows."""
    account, buckets = refusal.account, list[Balance]()
    if refusal.busy:
        return BUSY_S
    if account.end_ms is None or account.start_ms is None:
        return None
    if account.window and store is not None:
        read = partial(store.balances, [*account.window, account.key])
        try:
            buckets = yield Step(read, store.blocking)
        except StoreError as error:  # the refusal stands
            raise_interruption(error)
    free_ms = _free_ms(account, wanted, buckets, account.end_ms, account.end_ms - account.start_ms)
    return None if free_ms is None else max(free_ms - now_ms, 0) / 1000


def _free_ms(
    account: Account, wanted: int, buckets: Sequence[Balance], end_ms: Millis, step_ms: Millis
) -> Millis | None:
    """When so many buckets of a rolling period, the oldest first, have left it that there is room; else at its end."""
    limit = account.limit or 0
    most = limit - wanted if account.enforce == "hard" else limit - 1
    if most < 0:
        return None
    taken = sum([bucket.settled + bucket.held for bucket in buckets])
    for place, bucket in enumerate(buckets):
        taken -= bucket.settled + bucket.held
        if taken <= most:
            return end_ms + place * step_ms
    return end_ms


def fits_alone(wanted: Wanted, account: Account, settled: int) -> bool:
    """Whether an account would have room for a hold if nothing else were held on it."""
    limit = account.limit
    if limit is None or account.enforce == "observe":
        return True
    if account.enforce == "soft":
        return settled < limit
    return grant(wanted, limit, settled, 0, account.share) is not None
