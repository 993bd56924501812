"""What an audience is told: the figures of its project, read in a thread, and whose sessions are over."""

from __future__ import annotations

from weakref import WeakKeyDictionary

from ...problems import Refused
from ...projects import Project
from ..door.door import Door
from ..door.visits import PageVisit
from ..shelf import Shelf
from ..view import PageServer
from .figures import LiveFigures
from .streams import LiveText


class Watching:
    """Reads for the audiences of a server."""

    def __init__(self, server: PageServer, door: Door, shelf: Shelf) -> None:
        self._server = server
        self._door = door
        self._shelf = shelf
        self._figures: WeakKeyDictionary[Project, LiveFigures] = WeakKeyDictionary()

    def read(self, name: str, visits: frozenset[str]) -> LiveText:
        """The figures of a project, and which of the visits may not see them any more."""
        over = frozenset(each for each in visits if not self._may_see(each, name))
        if len(over) == len(visits):
            return LiveText(b"", over)
        with self._server.projects.at_work(name) as project:
            figures = self._figures.setdefault(project, LiveFigures())
            return LiveText(figures.read(project, self._shelf.reports_of(project)), over)

    def _may_see(self, visit_id: str, project: str) -> bool:
        try:
            return self._door.visitor(PageVisit(visit_id, "", ""), project) is not None
        except Refused:
            return False
