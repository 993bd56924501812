"""The projects of a server: each has a namespace of its own in the server's store."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from ..budgets import escape, unescape
from ..ledger import Clock, Store
from ..manager import BudgetManager
from ..prices import PriceBook
from ..stores import open_store
from .keys import Caller
from .metrics import Meter
from .problems import Refused

RESERVED = "budgetguard:"
"""Names that begin so are the server's own."""
OWN = "budgetguard:server"
_PROJECT = "projects/"


@dataclass(eq=False)
class Project:
    """One project, opened."""

    name: str
    store: Store
    clock: Clock
    noted: bool = False
    """Whether the store knows that there is this project."""
    meter: Meter = field(default_factory=Meter)

    @cached_property
    def manager(self) -> BudgetManager:
        """Its users' budgets."""
        return BudgetManager(self.name, store=self.store, budgets=(), prices=PriceBook(), clock=self.clock)


class Projects:
    """Opens projects when they are asked for, and notes their names in the store."""

    def __init__(self, url: str, *, clock: Clock | None = None, default: str | None = None) -> None:
        self._url = url
        self._clock = clock
        self._default = default
        self._lock = threading.Lock()
        self._open: dict[str, Project] = {}
        self.own = open_store(url, namespace=OWN, clock=clock)
        """The server's own namespace: keys, names of projects, what jobs were done."""
        self.blocking = self.own.blocking
        self._itself = Project(OWN, self.own, clock or time.time)

    def of(self, caller: Caller, named: str | None, *, any_will_do: bool = False) -> Project:
        """The project that a caller asks for; raises `Refused` for one that is not theirs."""
        mine = caller.project
        if mine is not None and named is not None and named != mine:
            raise Refused(403, "this key belongs to another project", "permission_error", param="project_name")
        name = mine if mine is not None else named or self._default
        if any_will_do and not name:
            return self._itself
        if not name or not name.strip():
            raise Refused(400, "name the project: send its name in the header budgetguard-project", param="project")
        project = self._open.get(name)
        return self.open(name) if project is None else project

    def open(self, name: str) -> Project:
        """A project by its name."""
        if name.startswith(RESERVED):
            raise Refused(403, f"names that begin with {RESERVED} are the server's own", "permission_error")
        with self._lock:
            project = self._open.get(name)
            if project is None:
                store = open_store(self._url, namespace=name, clock=self._clock)
                project = Project(name, store, self._clock or time.time)
                self._open[name] = project
        return project

    def note(self, project: Project) -> None:
        """Remember in the store that there is this project, for the jobs of every server on it."""
        key = _PROJECT + escape(project.name)
        if self.own.terms(key) is None:
            self.own.put_terms(key, "{}", expected=0)
        project.noted = True

    def names(self) -> Iterator[str]:
        """Every project that was noted."""
        for terms in self.own.all_terms(_PROJECT):
            yield unescape(terms.key.removeprefix(_PROJECT))

    def opened(self) -> list[Project]:
        """The projects that this server has opened."""
        return list(self._open.values())

    def close(self) -> None:
        """Close their stores."""
        for project in self.opened():
            project.store.close()
        self.own.close()
