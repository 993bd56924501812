"""
What a client is told of a call that is not answered: each refusal in the words of the API that it speaks.

A refusal by a budget is 402, which no SDK takes for a passing fault; what is only busy, or a rate, is 429, with the
time to wait. Never a 500 that SDKs try again.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import msgspec

from ....errors import (
    AmountError,
    BudgetBusyError,
    BudgetExceededError,
    BudgetGuardError,
    StoreError,
    UnknownUserError,
    UnpricedModelError,
    UnscopedCallError,
)
from ....guards.fallbacks.fallback import Fallback
from ...problems import INVALID, Refused
from ..config.model import Api, GatewayOptions

log = logging.getLogger("budgetguard.server")

EXCEEDED: Final = "budget_exceeded"
NO_RETRY: Final = (b"x-should-retry", b"false")
_CLAUDE_KINDS: Final = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}
_GOOGLE_STATUSES: Final = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    402: "RESOURCE_EXHAUSTED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    413: "INVALID_ARGUMENT",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


class Budgeted(Refused):
    """A refusal by a budget, with what is said of it."""

    def __init__(self, refused: Refused, facts: Mapping[str, Any], error: BudgetExceededError) -> None:
        super().__init__(
            refused.status,
            refused.message,
            refused.kind,
            param=refused.param,
            code=refused.code,
            headers=refused.headers,
        )
        self.facts = facts
        self.error = error
        self.others: Sequence[str] = ()
        """The models that its budget names, if it names any."""
        self.tell: Callable[[], None] | None = None
        """Tells whoever hears of refusals, once it is known that nothing else is sent."""

    def final(self) -> Budgeted:
        """The same, as nothing else is sent: whoever hears of refusals is told of it."""
        if self.tell is not None:
            self.tell()
            self.tell = None
        return self

    def with_more(self, said: str) -> Budgeted:
        """The same, with more words."""
        self.message = f"{self.message}; {said}"
        return self


def refusal_of(error: BudgetGuardError, options: GatewayOptions, fallback: Fallback | None = None) -> Refused:
    """What our own error is to a client, and what its charge knows of other models."""
    if isinstance(error, BudgetExceededError):
        refused = _exceeded(error, options)
        if fallback is not None:
            refused.others, refused.tell = fallback.left, fallback.told
        return refused
    if isinstance(error, UnpricedModelError):
        return Refused(400, str(error), "unpriced_model", param="model", code="unpriced_model", headers=(NO_RETRY,))
    if isinstance(error, AmountError):
        return Refused(400, "an amount is beyond what can be booked", "store_error", code="absurd_amount")
    if isinstance(error, StoreError):
        log.error("store", extra={"problem": str(error)})
        told = "the store of budgets does not answer, so nothing was sent: try again"
        return Refused(503, told, "store_error", code="store_unavailable", headers=((b"retry-after", b"1"),))
    if isinstance(error, UnknownUserError | UnscopedCallError):
        told = "this key may not call: it does not say whose its calls are, or its user has no budget"
        return Refused(403, told, "permission_error", headers=(NO_RETRY,))
    log.error("unexpected", exc_info=error)
    return Refused(500, "something went wrong here; the log says what", "server_error", headers=(NO_RETRY,))


def cooling(model: str, retry_after_s: float) -> Refused:
    """What a client is told where every upstream of a model asked for a pause."""
    wait_s = max(1, round(retry_after_s))
    return Refused(
        429,
        f"every upstream of {model!r} asked for a pause: try again in {wait_s} s",
        "rate_limit_error",
        code="upstream_cooling",
        headers=((b"retry-after", b"%d" % wait_s),),
    )


def _exceeded(error: BudgetExceededError, options: GatewayOptions) -> Budgeted:
    facts = _facts(error, options)
    named = options.tell == "name"
    if error.paused:  # whatever its unit: no time helps
        told = f"the budget {error.budget!r} is paused" if named else str(error)
        paused = Refused(options.over_status, told, EXCEEDED, code="budget_paused", headers=(NO_RETRY,))
        return Budgeted(paused, facts, error)
    told = f"the budget {error.budget!r} has no room for this call" if named else str(error)
    if isinstance(error, BudgetBusyError) or error.unit == "parallel":
        told = f"{told}; it is only held by calls in flight: try again in a moment"
        busy = Refused(429, told, "budget_busy", code="budget_busy", headers=((b"retry-after", b"1"),))
        return Budgeted(busy, facts, error)
    wait_s = _wait_s(error)
    if error.unit != "dollars" and wait_s is not None:
        headers = ((b"retry-after", b"%d" % wait_s),)
        rate = Refused(429, told, "rate_limit_error", code="rate_limit_exceeded", headers=headers)
        return Budgeted(rate, facts, error)
    over = Refused(options.over_status, told, EXCEEDED, code="insufficient_quota", headers=(NO_RETRY,))
    return Budgeted(over, facts, error)


def _wait_s(error: BudgetExceededError) -> int | None:
    """Whole seconds until there may be room; `None` where nobody knows."""
    said = getattr(error, "retry_after_s", None)
    if said is None and error.resets_at is not None:
        said = (error.resets_at - datetime.now(UTC)).total_seconds()
    return None if said is None else max(1, math.ceil(said))


def _facts(error: BudgetExceededError, options: GatewayOptions) -> dict[str, Any]:
    facts: dict[str, Any] = {"name": error.budget}
    if options.tell == "amounts":
        amounts = {"spent": error.spent, "held": error.held, "limit": error.limit, "projected": error.projected}
        facts |= {name: float(amount) for name, amount in amounts.items() if amount is not None}
        facts["unit"] = error.unit
        if error.resets_at is not None:
            facts["resets_at"] = error.resets_at.isoformat()
    return facts


def body_of(api: Api, refused: Refused, request_id: str) -> bytes:
    """The body of a refusal, as the API has it."""
    facts = refused.facts if isinstance(refused, Budgeted) else None
    message = refused.message
    if api == "anthropic":
        kind = _CLAUDE_KINDS.get(refused.status, "api_error")
        error: dict[str, Any] = {"type": kind, "message": message}
        if facts:
            error["budget"] = facts
        return msgspec.json.encode({"type": "error", "error": error, "request_id": request_id})
    if api == "gemini":
        error = {"code": refused.status, "message": message, "status": _GOOGLE_STATUSES.get(refused.status, "INTERNAL")}
        details = {
            "@type": "type.googleapis.com/google.rpc.ErrorInfo",
            "reason": (refused.code or refused.kind).upper(),
        }
        error["details"] = [{**details, "metadata": {key: str(value) for key, value in (facts or {}).items()}}]
        return msgspec.json.encode({"error": error})
    error = {"message": message, "type": refused.kind or INVALID, "param": refused.param, "code": refused.code}
    if facts:
        error["budget"] = facts
    return msgspec.json.encode({"error": error})


def event_of(api: Api, refused: Refused, request_id: str) -> bytes:
    """The same as an event, where the status of a stream is out already."""
    name = b"event: error\n" if api == "anthropic" else b""
    return name + b"data: " + body_of(api, refused, request_id) + b"\n\n"
