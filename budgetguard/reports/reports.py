"""`Reports`: one method for each view, over one store."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final

from ..budgets.periods import zone as zone_named
from ..budgets.rules import Budget
from ..budgets.steering.declared import declared
from ..ledger import Clock, Millis, Store
from ..prices import PriceBook
from .cube.blocks import HOUR_MS, Hour
from .cube.cube import MOST_ROWS, Cube
from .cube.reading import HistoryReader
from .pruning import HearPruned, OldEntries, keep_sums
from .shown.budgets import BudgetsQuery, BudgetsShown, SubjectShown
from .shown.figures import GroupShown, HistoryRead
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
from .views.calls import calls, cuts, holds
from .views.explored import explore
from .views.health import health
from .views.overview import Month, dearest_groups, overview
from .views.prices import prices
from .views.records import RefusalSums, alerts, changes, refusals, refusals_of
from .views.standing import BudgetBooks, budgets
from .views.statement import statement
from .views.subject import calls_of, subject, touched

VIEW_S: Final = 0.15
"""So long a view reads what is new, before it shows what there is."""
_FEW: Final = 20


class Reports:
    """
    What is to be seen of one store, from any thread.

    `rules` are budgets beside those that the store was told of. `zone` is an IANA name: days and months are those of
    this zone, its offset rounded down to whole hours. A view that needs more of the history than was read says so in
    its `read`. `most_rows` is how much of the history is in memory, at about a hundred bytes a row.
    """

    def __init__(
        self,
        store: Store,
        rules: Sequence[Budget] = (),
        *,
        prices: PriceBook | None = None,
        clock: Clock = time.time,
        zone: str = "UTC",
        most_rows: int = MOST_ROWS,
    ) -> None:
        zone_named(zone)
        self.store = store
        self.zone = zone
        self._rules = tuple(rules)
        self._prices = prices
        self._clock = clock
        self._cube = Cube(store, most_rows=most_rows)
        self._reader = HistoryReader(self._cube)
        self._books = BudgetBooks(store, self._cube)
        self._refused = RefusalSums(store)

    def overview(self, *, by: str = "model", top: int = 8, zone: str | None = None) -> Overview:
        """Where we stand this month; `by` is "model", "user", "provider" or a tag: of the chart and the top."""
        read = self._read()
        month = Month(self.store.now_ms(), zone or self.zone)
        refused = self._refused.total(month.month.first, month.now)
        lines = self._books.all(self.rules(), read)
        others = (lines, self.holds(limit=0), refused, read)
        return overview(self._cube, month, by, top, others)

    def dearest(
        self, by: str, *, top: int = 8, zone: str | None = None
    ) -> tuple[tuple[GroupShown, ...], GroupShown | None]:
        """This month's dearest of a field, with what they had cost by now of last month, and all others together."""
        self._read()
        return dearest_groups(self._cube, Month(self.store.now_ms(), zone or self.zone), by, top)

    def budgets(self, query: BudgetsQuery | None = None, *, fresh: bool = False) -> BudgetsShown:
        """Every rule, subject and user with their books, a page of them; as they were a moment ago, or `fresh`."""
        read = self._read()
        return budgets(self._books.all(self.rules(), read, fresh=fresh), query or BudgetsQuery(), read)

    def subject(self, tag: str, value: str, *, zone: str | None = None) -> SubjectShown:
        """All of one user, team, feature...: what its calls touch, and what they cost."""
        read, now_ms, name = self._read(), self.store.now_ms(), (tag, value)
        rules, month = self.rules(), Month(now_ms, zone or self.zone)
        part = calls_of(self._cube, name, month)
        lines = touched(part, rules, self._books.all(rules, read, fresh=True), name, now_ms)
        found = (
            self.calls(CallsQuery(tags={tag: value}, limit=_FEW)),
            refusals_of(self.store, name, _FEW),
            self.changes(subject=value, limit=_FEW).rows,
            read,
        )
        return subject(part, name, month, lines, found)

    def explore(self, query: ExploreQuery) -> Explored:
        """The history by any two fields; raises `ConfigError` for a question that cannot be answered."""
        return explore(self._cube, query, self._read(), self.store.now_ms())

    def statement(
        self, month: str, by: Sequence[str] = ("user",), *, zone: str | None = None, age_s: float = 0.0
    ) -> Statement:
        """
        What a month ("2026-11") cost; waits until all of it is read, and is what the store itself says.

        With `age_s` what the store said so many seconds ago of the hours that are over is good enough.
        """
        return statement(self._reader, month, by, zone=zone or self.zone, now_ms=self.store.now_ms(), age_s=age_s)

    def calls(self, query: CallsQuery | None = None) -> CallsShown:
        """Calls one by one, the newest first."""
        return calls(self.store, self._cube, query or CallsQuery(), self._read())

    def holds(self, *, tag: str | None = None, value: str = "", offset: int = 0, limit: int = 100) -> HoldsShown:
        """What is held now, the oldest first."""
        found = self.store.holds()
        if tag is not None:
            found = [hold for hold in found if hold.tags.get(tag, "") == value]
        return holds(found, self.store.now_ms(), offset, limit)

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
        first, end = self._hours(7)
        if since_ms is not None:
            first = since_ms // HOUR_MS
        if until_ms is not None:
            end = -(-until_ms // HOUR_MS)
        return refusals(self.store, self._refused, by, (first, end), (before, limit, zone or self.zone))

    def cuts(self, *, days: int = 7) -> CutsShown:
        """Answers that ended at a cap that a budget added, by model and by budget."""
        read = self._read()
        return cuts(self.store, self._cube, self._hours(days), read)

    def prices(self, *, days: int = 30, book: PriceBook | None = None) -> PricesShown:
        """Models that were called lately with the prices that they have in a book; those without one first."""
        if book is None:
            book = self._prices = self._prices or PriceBook()
        return prices(self._cube, book, days, self.store.now_ms(), self._read())

    def alerts(self, *, before: str | None = None, limit: int = 100) -> AlertsShown:
        """What somebody was told, the newest first."""
        return alerts(self.store, before, limit)

    def changes(
        self, *, subject: str | None = None, budget: str | None = None, before: str | None = None, limit: int = 100
    ) -> ChangesShown:
        """What was changed by hand, the newest first."""
        return changes(self.store, (subject, budget), before, limit)

    def health(self) -> HealthShown:
        """How the store, the books and the history are."""
        return health(self.store, self._clock, self._read())

    def refresh(self, *, budget_s: float | None = None) -> float:
        """
        Read more of the history, for so long (`None`: all of it); the part that is read, from 0 to 1.

        Whoever serves views calls it in the background, where it also compares a day with the store's own sums now
        and then; views call it themselves, for a moment each. Call it before entries are pruned: what it has read
        stays in the sums.
        """
        return self._reader.refresh(budget_s, check=True)

    def keep(self, old: OldEntries, told: HearPruned = lambda done: None) -> None:
        """
        Have the store keep the sums of the days of these entries, so that `pruning.prune` may take them away.

        Reads the history to its end, and compares it with the store's own sums. Raises `StoreError` if they are not
        kept.
        """
        keep_sums(self._reader, old, told)

    def rules(self) -> tuple[Budget, ...]:
        """All rules that are known: those given, then those that programs declared in the store."""
        given = {rule.name for rule in self._rules}
        return (*self._rules, *[rule for rule in declared(self.store) if rule.name not in given])

    def _read(self) -> HistoryRead:
        """Read what is new, for a moment."""
        self._reader.refresh(VIEW_S)
        return self._reader.read()

    def _hours(self, days: int) -> tuple[Hour, Hour]:
        """The last so many days."""
        end = self.store.now_ms() // HOUR_MS + 1
        return end - days * 24, end
