"""What a manager can change of budgets while they run; see docs/steering.md."""

from __future__ import annotations

from datetime import datetime, timedelta

from ..budgets.steering.audit import Author, Changed, changes
from ..budgets.steering.moments import since_ms
from ..budgets.steering.office import SteerDone, Steering
from ..budgets.users import Users
from ..guards.guard import Guard
from ..ledger import Store
from ..money import Money


class SteeringVerbs:
    """Each holds from the very next call in every process, and is in the audit."""

    store: Store
    guard: Guard
    users: Users

    def raise_budget(
        self,
        target: str,
        limit: Money | float | str,
        until: datetime | timedelta | str | None = None,
        *,
        note: str = "",
        by: str | None = None,
    ) -> SteerDone:
        """
        Put this limit in the place of a budget's, until a moment ("2h", "2027-01-31", "end of month") or for good.

        `target` is a user, a rule ("team": all of its subjects), or one subject of it ("team/red"). Like all below it
        holds from the very next call in every process, and is in the audit with `by` and `note` (docs/steering.md).
        """
        return self._steering(by).raise_limit(target, limit, until=until, note=note)

    def top_up(self, target: str, amount: Money | float | str, *, note: str = "", by: str | None = None) -> SteerDone:
        """Add this much to a budget's limit once: until its period is over."""
        return self._steering(by).top_up(target, amount, note=note)

    def pause(self, target: str, *, note: str = "", by: str | None = None) -> SteerDone:
        """Refuse every call on a budget until it is resumed, whatever its `enforce` (`BudgetExceededError.paused`)."""
        return self._steering(by).pause(target, note=note)

    def resume(self, target: str, *, note: str = "", by: str | None = None) -> SteerDone:
        """Let calls pass again."""
        return self._steering(by).resume(target, note=note)

    def reset_budget(self, target: str, *, note: str = "", by: str | None = None) -> SteerDone:
        """Begin a budget again with nothing spent; the history stays."""
        return self._steering(by).reset(target, note=note)

    def restore_budget(self, target: str, *, note: str = "", by: str | None = None) -> SteerDone:
        """Take back what was raised, topped up and paused: the budget is as its rule says."""
        return self._steering(by).remove(target, note=note)

    def changes(
        self, user: str | None = None, *, since: datetime | timedelta | str | None = None, limit: int | None = 100
    ) -> list[Changed]:
        """Who changed budgets, when and why, the last first; of one user, or since a moment ("7d", "2027-01-31")."""
        after_ms = None if since is None else since_ms(since, self.guard.coverage.now_ms())
        return list(changes(self.store, since_ms=after_ms, user=user, limit=limit))

    def _steering(self, by: str | None) -> Steering:
        author = self.users.author if by is None else Author(by, self.users.author.via)
        return Steering(self.users, author, rules=self.guard.budgets)
