"""
Sharing: how much output a call asks for that states no cap, by what is known of the calls beside it.

At least the least useful answer of its model, or it is not sent; one that is alone may have the last few words. At most
what the model can write. Between the two, a part of the room that depends on how many calls share it
(`budgets/crowds.py`), but no less than answers lately took: an answer is cut where money is short, and not because
others might come.
"""

from __future__ import annotations

from ...budgets.accounts import Cover
from ...budgets.crowds import AMPLE
from ...calls import Answer
from ...prices.useful import Useful
from ...process.tally import Held

FIRST = 8
"""So many of the least useful answers is what a call that is alone asks for before any answer was seen."""

ANY_ANSWER = Useful(1, 1)

FORGETS = 64
"""How many answers it takes to forget two thirds of a large one."""


class Lately:
    """What the answers of one model took lately that no caller had capped, in output tokens. No lock: it is a hint."""

    __slots__ = ("largest", "useful")

    def __init__(self, useful: Useful = ANY_ANSWER) -> None:
        self.useful = useful
        self.largest = 0.0
        """The largest of late, which fades; 0: none was seen. One that was cut counts twice: it was to be larger."""

    def learn(self, answer: Answer, texts: int, times: int = 1) -> None:
        """Take in the usage of an answer of so many texts; `times` more than it had is what it wanted."""
        if answer.usage is None or "output_tokens" not in answer.usage:
            return
        output, largest = answer.usage["output_tokens"] * times // texts, self.largest
        self.largest = output if output > largest else largest - (largest - output) / FORGETS


NOTHING_SEEN = Lately()


def lowered(cuts: tuple[int, int], lately: Lately, accepted: int) -> tuple[int, int]:
    """
    The same for a call whose stated cap is lowered: it is never the last words, for they would not have been asked for.

    `accepted`: the least cap that the API takes; where that is what the model may think, the answer comes on top.
    """
    least = lately.useful.least
    if accepted > least:
        least += accepted
    return max(cuts[0], least), max(cuts[1], least)


def shared(held: Held, cover: Cover, lately: Lately) -> tuple[int, int]:
    """
    Take part in the crowds on all accounts of a call, once; the least output tokens that are useful, and how many it
    asks for whatever its part of the room is.
    """
    ease, parts = AMPLE, []
    for crowd in cover.crowds.values():
        parts.append(crowd.join(held.id, held.pid))
        ease = min(ease, crowd.ease)
    if parts:
        key = tuple(parts)
        held.company = cover.companies.get(key) or cover.company(key)
    for own in held.tallies:
        if own.account.limit is not None and own.account.enforce == "hard":
            own.crowd.join(held.id, held.pid)
            ease = min(ease, own.crowd.ease)
    least, last = lately.useful
    if ease <= 1:
        last = least
    if not lately.largest:
        return last, least * FIRST if ease > 1 else least
    return last, max(least, int(lately.largest * ease))
