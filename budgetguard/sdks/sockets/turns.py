"""
A turn: the charge of what one message asked for over a socket, until its end is heard.

It outlives the sending of its message, as an unread stream outlives its call, and ends as one does: by the event that
has its bill; by that of a refusal, which costs nothing; or with the socket, however that ends. Then it costs what was
held, for nobody knows how far the answer came.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING
from weakref import ref

from ...calls import Answer
from ...concurrency.reaper import REAPER, Reaper
from ...process.state import PROCESS

if TYPE_CHECKING:
    from ...concurrency.steps import Steps
    from ...guards.charge import Charge
    from ...process.keeper import Living


class TalkTurn:
    """One of them. Without a charge, another call pays for it, or nobody asked for it to be counted."""

    __slots__ = ("_last", "_open", "_socket", "charge", "id", "opening_id")

    unread = True

    def __init__(
        self, charge: Charge | None, opening_id: str | None, last: Callable[[], Answer | None], socket: object
    ) -> None:
        """`last`: what it came to where its socket ends. `socket`: with what it ends, if nobody says so."""
        self.charge = charge
        self.opening_id = opening_id
        """The client's own id of the message."""
        self.id: str | None = None
        """That of the answer, once it has begun."""
        self._last = last
        self._open = [True]
        self._socket = ref(socket)

    def begin(self) -> None:
        """Its message is about to be sent: from now on it ends by what is heard."""
        charge = self.charge
        if charge is not None:
            PROCESS.reaper.start()
            PROCESS.open[id(self)] = self
            PROCESS.open.pop(id(charge), None)
            charge.state = "watched"

    def undo(self) -> None:
        """Its message was not sent: whoever sent it ends the charge."""
        if self._claim() and self.charge is not None:
            PROCESS.open.pop(id(self), None)
            self.charge.failed(free=True)

    @property
    def missed(self) -> bool:
        """Whether its socket is gone, and nobody could say so."""
        return bool(self._open) and self._socket() is None

    def living(self) -> Sequence[Living]:
        """What is to be kept while nobody has heard its end."""
        return () if self.charge is None else self.charge.living()

    def ended(self, answer: Answer) -> Steps[None] | None:
        """Take in its answer, once: how the charge ends, then."""
        if not self._claim() or self.charge is None:
            return None
        self.charge.observe(answer)
        return self._close(self.charge)

    def refused(self) -> Steps[None] | None:
        """Take in that it was not begun, once: how the charge ends, then."""
        if not self._claim() or self.charge is None:
            return None
        self.charge.failed(free=True, sent=1)
        return self._close(self.charge)

    def abandon(self) -> None:
        """End it here and now: its socket is gone."""
        steps = self.ended(self._last() or Answer())
        if self.charge is not None and steps is not None:
            self.charge.parts.shell.run(steps)

    def _claim(self) -> bool:
        try:
            return self._open.pop()  # atomic: the reaper and whoever reads may both be here
        except IndexError:
            return False

    def _close(self, charge: Charge) -> Steps[None]:
        PROCESS.open.pop(id(self), None)
        return charge.close()


def drop(turns: Sequence[TalkTurn], reaper: Reaper = REAPER) -> None:
    """Have turns end soon, in another thread: their socket was forgotten."""
    for turn in turns:
        reaper.put(turn.abandon)
