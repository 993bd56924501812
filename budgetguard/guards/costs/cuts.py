"""
Answers that ended at an output cap of ours: they are counted, said once, and raised where the caller asked for that.
"""

from __future__ import annotations

from typing import Protocol

from ...calls import Answer, Call
from ...errors import AnswerCutError
from ...process.tally import Held
from ..admission import Asked, Bounds
from ..parts import Parts
from ..plan import CallPlan


class Cuttable(Protocol):
    """A call whose request may have been given a cap, and its answer."""

    parts: Parts
    asked: Asked
    call: Call
    plan: CallPlan
    bounds: Bounds
    held: Held
    answer: Answer | None


def note_cut(it: Cuttable) -> None:
    """Count an answer that was cut."""
    if it.answer is not None:
        it.plan.lately.learn(it.answer, it.call.choices, 2)
    it.parts.notices.note_cut(it.bounds.cap or 0, _advice(it))
    for own in it.held.tallies:
        own.cut += 1


def raise_cut(it: Cuttable, response: object = None) -> None:
    """Raise `AnswerCutError`, with what the SDK returned, if the answer was cut and the caller wants that."""
    answer, scope, cap = it.answer, it.asked.scope, it.bounds.cap or 0
    if answer is None or not answer.cut or not it.bounds.capped:
        return
    wanted = (None if scope is None else scope.on_cut) or it.parts.settings.on_cut
    if wanted == "raise":
        text = f"the answer was cut at {cap:,} output tokens, all that its budget had room for, and is paid for"
        raise AnswerCutError(f"{text}: {_advice(it)}", answer=response, cap=cap)


def _advice(it: Cuttable) -> str:
    """What to do if that must not be: a cap that was stated, and lowered, can be refused instead."""
    if it.call.max_output is not None:
        return "raise the budget, or have such calls refused: Settings(stated_caps='refuse')"
    return "state an output cap that is enough, or raise the budget"
