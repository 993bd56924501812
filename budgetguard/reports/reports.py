"""`Reports`: one method for each view, over one store."""

from __future__ import annotations

import time
from collections.abc import Sequence

from ..budgets.rules import Budget
from ..ledger import Clock, Millis, Store
from ..prices import PriceBook
from .shown.budgets import BudgetsQuery, BudgetsShown, SubjectShown
from .shown.lists import (
    AlertsShown,
    CallsQuery,
    CallsShown,
    ChangesShown,
    CutsShown,
    HealthShown,
    HoldsShown,
    PricesShown,
    RefusalsShown,
)
from .shown.money import Explored, ExploreQuery, Overview, Statement


class Reports:
    """
    What is to be seen of one store, from any thread.

    `rules` are budgets beside those that the store was told of. `zone` is an IANA name: days and months are those of
    this zone, its offset rounded down to whole hours. A view that needs more of the history than was read says so in
    its `read`.
    """

    def __init__(
        self,
        store: Store,
        rules: Sequence[Budget] = (),
        *,
        prices: PriceBook | None = None,
        clock: Clock = time.time,
        zone: str = "UTC",
    ) -> None:
        raise NotImplementedError

    def overview(self, *, by: str = "model", top: int = 8, zone: str | None = None) -> Overview:
        """Where we stand this month; `by` is "model", "user", "provider" or a tag: of the chart and the top."""
        raise NotImplementedError

    def budgets(self, query: BudgetsQuery = ...) -> BudgetsShown:  # type: ignore[assignment]
        """Every rule, subject and user with their books, a page of them."""
        raise NotImplementedError

    def subject(self, tag: str, value: str, *, zone: str | None = None) -> SubjectShown:
        """All of one user, team, feature...: what its calls touch, and what they cost."""
        raise NotImplementedError

    def explore(self, query: ExploreQuery) -> Explored:
        """The history by any two fields; raises `ConfigError` for a question that cannot be answered."""
        raise NotImplementedError

    def statement(self, month: str, by: Sequence[str] = ("user",), *, zone: str | None = None) -> Statement:
        """What a month ("2026-11") cost; waits until it is what the store itself says."""
        raise NotImplementedError

    def calls(self, query: CallsQuery = ...) -> CallsShown:  # type: ignore[assignment]
        """Calls one by one, the newest first."""
        raise NotImplementedError

    def holds(self, *, tag: str | None = None, value: str = "", offset: int = 0, limit: int = 100) -> HoldsShown:
        """What is held now, the oldest first."""
        raise NotImplementedError

    def refusals(
        self,
        *,
        by: str = "budget",
        since_ms: Millis | None = None,
        until_ms: Millis | None = None,
        before: str | None = None,
        limit: int = 100,
        zone: str | None = None,
    ) -> RefusalsShown:
        """Who was refused, by "hour", "day", "budget", "user" or "model"; the last seven days, if no span is given."""
        raise NotImplementedError

    def cuts(self, *, days: int = 7) -> CutsShown:
        """Answers that ended at a cap that a budget added, by model and by budget."""
        raise NotImplementedError

    def prices(self, *, days: int = 30) -> PricesShown:
        """Models that were called lately with the prices that they are taken to have; those without one first."""
        raise NotImplementedError

    def alerts(self, *, before: str | None = None, limit: int = 100) -> AlertsShown:
        """What somebody was told, the newest first."""
        raise NotImplementedError

    def changes(
        self, *, subject: str | None = None, budget: str | None = None, before: str | None = None, limit: int = 100
    ) -> ChangesShown:
        """What was changed by hand, the newest first."""
        raise NotImplementedError

    def health(self) -> HealthShown:
        """How the store, the books and the history are."""
        raise NotImplementedError

    def refresh(self, *, budget_s: float | None = None) -> float:
        """
        Read more of the history, for so long (`None`: all of it); the part that is read, from 0 to 1.

        Whoever serves views calls it in the background; views call it themselves, for a moment each.
        """
        raise NotImplementedError
