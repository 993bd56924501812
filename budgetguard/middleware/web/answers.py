"""A refusal as a response: 402, shaped as OpenAI's errors, so that clients of any kind stop at the first."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from ...errors import BudgetBusyError, BudgetExceededError, find_budget_error
from ...scopes.context import budget
from ...scopes.refusals import caught_by, is_lost

STATUS = 402
REASON = "Payment Required"


class RefusalAnswer(NamedTuple):
    """The headers and the body of a 402."""

    headers: Mapping[str, str]
    body: bytes


def answer_to(refusal: BudgetExceededError) -> RefusalAnswer:
    """What the client of a request reads whose call was refused: which budget, why, and when to come again."""
    problem = {"message": str(refusal), "type": "budget_exceeded", "param": None, "code": "insufficient_quota"}
    body = json.dumps({"error": problem}).encode()
    headers = {"content-type": "application/json", "content-length": str(len(body)), "x-should-retry": "false"}
    wait_s = _wait_s(refusal)
    if wait_s is not None:
        headers["retry-after"] = str(wait_s)
    return RefusalAnswer(headers, body)


def unanswered(scope: budget | None, error: Exception | None = None) -> BudgetExceededError | None:
    """
    The refusal that became a bare 500: a framework caught it, and the application had nothing to say to it.

    To be asked inside of the scope, where a response of 500 begins. `error` is what it begins for, if that is known.
    """
    refusal = None if scope is None else scope.refusal
    if refusal is not None and caught_by(refusal):
        return refusal
    handled = sys.exception()  # a task group's refusal unwound no frame of the framework's, which handles the group
    return find_budget_error(error or (handled if isinstance(handled, ExceptionGroup) else None))


def refusal_in(error: BaseException, module: str | None) -> BudgetExceededError | None:
    """
    The refusal that leaves as an error: itself, inside the error that a package made of it, or a group of nothing else.

    What the application's own code made of it, that of `module` among it, is for the application.
    """
    refusal = find_budget_error(error)
    if refusal is None or refusal is error or is_lost(refusal, (module or "").partition(".")[0]):
        return refusal
    refusals_alone = isinstance(error, ExceptionGroup) and error.split(BudgetExceededError)[1] is None
    return refusal if refusals_alone else None


def _wait_s(refusal: BudgetExceededError) -> int | None:
    """Whole seconds until there may be room; `None`: never by itself."""
    if refusal.retry_after_s is not None:
        return max(1, math.ceil(refusal.retry_after_s))
    if isinstance(refusal, BudgetBusyError):
        return 1
    if refusal.resets_at is None:
        return None
    return max(1, math.ceil((refusal.resets_at - datetime.now(UTC)).total_seconds()))
