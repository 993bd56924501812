"""What a scope is told of its own limit: `budget(limit=..., warn_at=..., on_warning=...)`."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from functools import partial

from ..budgets.news import Mark, RefusedCall
from ..concurrency.errands import Errands
from ..ledger import Balance
from .alert import Alert, at_threshold
from .sinks.base import Log
from .texts import refused_text

log = logging.getLogger("budgetguard")


class ScopeHerald:
    """
    Tells one scope, in a thread that there is only while somebody is told. It hears of its limit alone.

    Processes that count on one limit, as a scope's children do, tell by the `first` of them: its name is claimed.
    """

    def __init__(self, told: Callable[[Alert], object] | None, first: Callable[[str], bool]) -> None:
        self._told = Log().send if told is None else told
        self._first = first
        self._known: set[float] = set()
        self._errands: Errands | None = None

    def crossed(self, mark: Mark, parts: Sequence[float], balance: Balance) -> None:
        """The scope has come to these parts of its limit."""
        for part in parts:
            self._put(mark, part, balance, "")

    def refused(self, call: RefusedCall) -> None:
        """A call was refused for its limit."""
        if call.mark is not None and call.mark.parts[-1] == 1.0 and not call.refusal.busy:
            self._put(call.mark, 1.0, call.refusal.balance, refused_text(call))

    def look(self, mark: Mark) -> None:
        """Nothing: it knows all that it has."""

    def begin(self) -> None:
        """Nothing."""

    def unpriced(self, model: str, assumed: bool) -> None:
        """Nothing."""

    def away(self, error: Exception) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""

    def work(self, tell: Callable[[], None]) -> None:
        """Tell it."""
        tell()

    def rest(self, final: bool) -> None:
        """Nothing is due."""

    def renew(self) -> None:
        """In a forked child, what was told before is known."""

    def _put(self, mark: Mark, part: float, balance: Balance, refused: str) -> None:
        if part in self._known:
            return
        self._known.add(part)
        if self._errands is None:
            self._errands = Errands("scope", self)
        self._errands.put(partial(self._tell, mark, part, balance, refused))

    def _tell(self, mark: Mark, part: float, balance: Balance, refused: str) -> None:
        at_ms = int(time.time() * 1000)
        alert = at_threshold(mark.account, part, balance.settled, balance.held, at_ms, refused=refused)
        if self._first(f"{part:g}"):
            self._told(alert)
