"""What an attempt came to, and whether another upstream is asked: the one table of both."""

from __future__ import annotations

from typing import Literal, TypeAlias

Outcome: TypeAlias = Literal[
    "answered", "callers_fault", "not_sent", "throttled", "broken", "our_fault", "unknown", "left"
]
"""
What became of one request to an upstream.

`answered`: a success. `callers_fault`: the request is wrong, wherever it is sent. `not_sent`: no connection, so nobody
has seen it. `throttled`: the upstream is there, and has no room for this model now. `broken`: it failed, and said so.
`our_fault`: the operator's key, account, address or model name is not taken. `unknown`: it was sent, and no status
came. `left`: the client went away first, which tells nothing of the upstream.
"""

_THROTTLED = frozenset({429, 498, 503, 529})
"""Too many requests, Groq's full tier, overloaded: Gemini's 503 and Claude's 529 are said of one model, not of all."""
_OUR_FAULT = frozenset({401, 402, 403, 404, 405, 407, 410})
_TIMED_OUT = 408

_GOES_ON = frozenset[Outcome]({"not_sent", "throttled", "broken", "our_fault"})


def outcome_of(status: int) -> Outcome:
    """
    What the status of an upstream's answer says of it.

    A redirect is `our_fault`, as none is followed with a key. A 404 is, too: where the request names a thing of the
    caller's beside the model (a stored response), whoever sent it knows better.
    """
    if 200 <= status < 300:
        return "answered"
    if status in _THROTTLED:
        return "throttled"
    if status in _OUR_FAULT or status < 400:
        return "our_fault"
    return "broken" if status >= 500 or status == _TIMED_OUT else "callers_fault"


def goes_on(outcome: Outcome, *, retry_unknown: bool) -> bool:
    """Whether the next upstream is asked, as long as the client has had no byte. Nothing is paid twice unasked."""
    return outcome in _GOES_ON or (retry_unknown and outcome == "unknown")
