"""The head of an answer: what of the upstream's a client gets, and what the gateway says beside it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, TypeAlias

from .....money import DOLLAR, Nano
from .....process.tally import Held
from ....keys import OwnerRules
from ...config.model import GatewayOptions
from ...litellm.headers import CallFacts, headers
from ...seen import Facts
from ..attempts import UpstreamAnswer
from ..offers import BookedCharge

Header: TypeAlias = tuple[bytes, bytes]

_PASSED: Final = frozenset(
    {
        b"content-type",
        b"content-encoding",
        b"content-disposition",
        b"retry-after",
        b"retry-after-ms",
        b"x-should-retry",
        b"openai-processing-ms",
        b"openai-version",
        b"request-id",
        b"anthropic-ratelimit-requests-remaining",
    }
)
"""The headers of an upstream's answer that the client gets."""


def passed(answered: UpstreamAnswer) -> list[Header]:
    """The upstream's headers that the client gets."""
    found = []
    for name, value in answered.reply.headers:
        lower = name.lower()
        if lower in _PASSED:
            found.append((lower, answered.shown(value)))
        elif lower == b"x-request-id":
            found.append((b"x-budgetguard-upstream-request", answered.shown(value)))
    return found


def own_headers(
    facts: Facts, charge: BookedCharge | None, options: GatewayOptions, owners: Iterable[OwnerRules]
) -> list[Header]:
    """What the gateway says of a call in the head of its answer."""
    model = facts.model.encode("latin-1", "replace")
    own = [(b"x-request-id", facts.request_id.encode()), (b"x-budgetguard-model", model)]
    if facts.fallback_of:
        own.append((b"x-budgetguard-fallback", facts.fallback_of.encode("latin-1", "replace") + b" -> " + model))
    if charge is not None:
        own.append((b"x-budgetguard-call", charge.id.encode()))
    if facts.upstream:
        own.append((b"x-budgetguard-upstream", facts.upstream.encode("latin-1", "replace")))
        own.append((b"x-budgetguard-attempts", b"%d" % facts.attempts))
    if facts.cost is not None:
        own.append((b"x-budgetguard-cost", f"{facts.cost / DOLLAR:.9f}".encode()))
        left = None if charge is None or options.tell == "name" else remaining(charge.held, facts.cost)
        if left is not None:
            own.append((b"x-budgetguard-remaining", f"{left / DOLLAR:.9f}".encode()))
    if options.litellm is not None and charge is not None:
        there = f"{facts.upstream}/{facts.model_there}" if facts.upstream else ""
        known = CallFacts(charge.id, there, facts.model, facts.cost, retries=max(facts.attempts - 1, 0))
        own += headers(known, owners)
    return own


def remaining(held: Held, cost: Nano) -> Nano | None:
    """
    What the tightest of a call's budgets in dollars has left after it, as the books stood when it was admitted.

    `None` where none has a limit, or the store was not asked: a part of it is leased.
    """
    if held.hold is None:
        return None
    rooms = [
        account.limit - balance.settled - balance.held + held.amount - cost
        for account, balance in zip(held.hold.accounts, held.balances, strict=False)
        if account.limit is not None and account.unit == "dollars"
    ]
    return max(min(rooms), 0) if rooms else None


async def send_whole(send: Any, status: int, body: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """An answer in one piece."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})
