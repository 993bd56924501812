"""The reports of each project that somebody looks at: what they have read of the history is kept for the next look."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from ...concurrency.locks import mutex
from ...reports.reports import Reports
from ..projects import Project

MOMENT_S = 0.05
"""How long the history is read in one piece."""


class Shelf:
    """One `Reports` for each open project; it goes when the project's store is closed."""

    def __init__(self) -> None:
        self._lock = mutex("page reports")
        self._made: WeakKeyDictionary[Project, Reports] = WeakKeyDictionary()

    def reports_of(self, project: Project) -> Reports:
        """The reports of a project."""
        with self._lock:
            found = self._made.get(project)
            if found is None:
                found = self._made[project] = Reports(project.store, clock=project.clock)
            return found

    def read_more(self) -> bool:
        """Read more of the history of all that somebody looked at, for a moment; whether there is still more."""
        with self._lock:
            made = list(self._made.values())
        parts = [each.refresh(budget_s=MOMENT_S) for each in made]
        return min(parts, default=1.0) < 1.0
