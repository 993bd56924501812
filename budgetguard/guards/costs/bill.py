"""
The bill of one call: what its answer leaves open is completed, and what no store can book is put within bounds.

Unknown is not free: what cannot be counted leaves the usage unknown, and so costs what was held.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import NamedTuple

from ...calls import Answer, Call, Listener
from ...concurrency.interrupts import raise_interruption
from ...concurrency.steps import Step, Steps
from ...money import MAX_AMOUNT, Nano, format_nano
from ...prices.estimates import count_heard
from .projection import Projection

log = logging.getLogger("budgetguard")


class Beside(NamedTuple):
    """What is known of the bill beside the answer."""

    lost: int = 0
    """Earlier attempts that may have been billed without an answer."""
    stated: Nano = 0
    """The cost that a proxy stated in a header."""
    estimated: bool = False
    """Whether the usage was completed by what could be counted, or the cost put within bounds."""
    input_unknown: bool = False
    """Whether the input was counted, and so can have cost no more than was held."""
    attempts: int = 1
    """How many requests were sent, or a batch asked for."""


NOTHING_BESIDE = Beside()


def completed(
    call: Call, answer: Answer, projection: Projection | None, beside: Beside, *, unheld: bool
) -> Steps[tuple[Answer, Beside]]:
    """
    Complete a usage with what can be counted: the output by what was written, the input as before the call.

    What a model reasoned unseen cannot be: the usage is then unknown. `unheld`: nothing was to be held for the call.
    """
    heard, lacks = answer.heard, answer.lacks
    usage = dict(answer.usage or {})
    total = usage.pop("total_tokens", None)
    if call.max_output == 0 and "input_tokens" in usage:  # only to show the prompt's log probabilities
        return answer._replace(usage={**usage, "output_tokens": usage.get("output_tokens", 0)}), beside
    beside = beside._replace(estimated=True)
    if "output_tokens" in lacks and call.thinks and total is None and not heard.running:
        return at_most(call, answer, beside)
    if "input_tokens" in lacks:
        if not usage.get("input_tokens"):  # a 0 that is no count
            usage.pop("input_tokens", None)
        if projection is not None:
            if not projection.exact:
                yield Step(projection.count, blocking=True)
            usage = {**projection.usage(0), **usage}
        elif not unheld:
            return answer._replace(usage=None), beside
        beside = beside._replace(input_unknown=total is None)
    if "output_tokens" in lacks:
        said, written = usage.get("output_tokens", 0), 0
        if heard.pieces:
            written = yield Step(partial(count_heard, heard, answer.model or call.model), blocking=True)
        if call.max_output is not None:
            written = min(written, call.max_output * call.choices)
        if total is not None:
            usage["output_tokens"] = min(max(total - usage.get("input_tokens", 0), written), total)
            usage["input_tokens"] = total - usage["output_tokens"]
        else:
            usage["output_tokens"] = said + written if heard.running else max(said, written)
    return answer._replace(usage=usage), beside


def at_most(call: Call, answer: Answer, beside: Beside) -> tuple[Answer, Beside]:
    """An answer of unknown length: all that was asked for, where the input is known, else all that was held."""
    most = call.max_output
    if not answer.exact or most is None:
        return answer._replace(usage=None), beside
    usage = {**(answer.usage or {}), "output_tokens": most * call.choices}
    return answer._replace(usage=usage, lacks=()), beside._replace(estimated=True)


def within_bounds(cost: Nano, most: Nano, call_id: str, model: str) -> Nano:
    """What is booked of a cost that no store can book; it is logged."""
    booked = min(most or MAX_AMOUNT, MAX_AMOUNT)
    log.error(
        "call %s is said to have cost %s, which no store can book: it is booked at the most that was held, %s; "
        "check the price of %r, and what its server says of usage",
        call_id,
        format_nano(cost),
        format_nano(booked),
        model,
    )
    return booked


def end_of(listener: Listener | None, call_id: str) -> Answer:
    """What a stream said of its cost."""
    if listener is None:
        return Answer()
    try:
        return listener.end()
    except Exception as error:
        raise_interruption(error)
        log.exception("the stream of call %s could not be read", call_id)
        return Answer()


def answering(call: Call, named: str | None) -> str:
    """
    Which of the models that may answer an answer is of, by the name that it has: as it was asked for, with a date, or
    behind a prefix; else the one asked for.
    """
    if named is None or named in call.others:
        return named or call.model
    bare = _bare(named)
    near = [model for model in (call.model, *call.others) if bare.startswith(_bare(model))]
    return max(near, key=lambda model: len(_bare(model)), default=call.model)


def _bare(model: str) -> str:
    return model.rpartition("/")[2].lower()
