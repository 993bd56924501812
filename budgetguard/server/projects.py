"""The projects of a server: each has a namespace of its own in the server's store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import cached_property

from ..budgets.rules import escape, unescape
from ..budgets.users import Users
from ..concurrency.locks import mutex
from ..ledger import Clock, Store
from ..stores import RESERVED, open_store, projects_in
from .keys import Caller
from .metrics import Meter
from .problems import Refused

OWN = "budgetguard:server"
_PROJECT = "projects/"

MOST_OPEN = 32
"""How many projects' stores stay open when nobody uses them: each has connections, or files, of its own."""
MOST_METERS = 1_000
"""Of how many projects whose store was closed the counters are kept."""


@dataclass(eq=False)
class Project:
    """One project, opened."""

    name: str
    store: Store
    clock: Clock
    own: Store
    """The server's own namespace beside it."""
    noted: bool = False
    """Whether the store knows that there is this project."""
    meter: Meter = field(default_factory=Meter)
    in_use: int = 0
    """How many requests need its store now."""

    @cached_property
    def users(self) -> Users:
        """Its users' budgets."""
        return Users(self.store, clock=self.clock)


class Projects:
    """Opens projects when they are asked for, and notes their names in the store."""

    def __init__(self, url: str, *, clock: Clock | None = None, default: str | None = None) -> None:
        self._url = url
        self._clock = clock
        self._default = default
        self._lock = mutex("server projects")
        self._open: dict[str, Project] = {}  # the one that was asked for last is the last
        self._meters: dict[str, Meter] = {}
        self._closing = ThreadPoolExecutor(1, thread_name_prefix="budgetguard-close")
        self.own = open_store(url, namespace=OWN, clock=clock)
        """The server's own namespace: keys, names of projects, what jobs were done."""
        self.blocking = self.own.blocking
        self._itself = Project(OWN, self.own, clock or time.time, self.own)

    def using(self, caller: Caller, named: str | None, *, any_will_do: bool = False) -> AbstractContextManager[Project]:
        """The project that a caller asks for, its store kept open; raises `Refused` for one that is not theirs."""
        return self._using(lambda: self._of(caller, named, any_will_do))

    def at_work(self, name: str) -> AbstractContextManager[Project]:
        """A project by its name, its store kept open."""
        return self._using(lambda: self._opened(name))

    @contextmanager
    def _using(self, find: Callable[[], Project]) -> Iterator[Project]:
        with self._lock:
            project = find()
            project.in_use += 1
        try:
            yield project
        finally:
            with self._lock:
                project.in_use -= 1

    def open(self, name: str) -> Project:
        """A project by its name."""
        with self._lock:
            return self._opened(name)

    def _of(self, caller: Caller, named: str | None, any_will_do: bool) -> Project:
        mine = caller.project
        if mine is not None and named is not None and named != mine:
            told = f"this key belongs to another project than {named!r}: name the key's own"
            where = "as project_name, --project or BUDGETGUARD_PROJECT"
            raise Refused(403, f"{told} ({where})", "permission_error", param="project_name")
        name = mine if mine is not None else named or self._default
        if any_will_do and not name:
            return self._itself
        if not name or not name.strip():
            raise Refused(400, "name the project: send its name in the header budgetguard-project", param="project")
        return self._opened(name)

    def _opened(self, name: str) -> Project:
        project = self._open.pop(name, None)
        if project is None:
            project = self._new(name)
        self._open[name] = project
        return project

    def _new(self, name: str) -> Project:
        if name.startswith(RESERVED):
            raise Refused(403, f"names that begin with {RESERVED} are the server's own", "permission_error")
        store = open_store(self._url, namespace=name, clock=self._clock)
        if self.blocking:  # what is in memory would be gone
            self._close_unused()
        return Project(name, store, self._clock or time.time, self.own, meter=self._meters.pop(name, Meter()))

    def _close_unused(self) -> None:
        """Make room for one more; who asks for one of these again gets another store, so nobody uses what is closed."""
        unused = [project for project in self._open.values() if not project.in_use]
        for project in unused[: max(0, len(self._open) + 1 - MOST_OPEN)]:
            del self._open[project.name]
            self._meters[project.name] = project.meter
            self._closing.submit(project.store.close)
        while len(self._meters) > MOST_METERS:
            del self._meters[next(iter(self._meters))]

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

    def every(self) -> list[str]:
        """Every project that there is something of, by name: those that were noted, and others with books in it."""
        return sorted({*self.names(), *projects_in(self.own), *(each.name for each in self.opened())})

    def opened(self) -> list[Project]:
        """The projects whose stores are open."""
        return list(self._open.values())

    def close(self) -> None:
        """Close their stores."""
        self._closing.shutdown()
        for project in self.opened():
            project.store.close()
        self.own.close()
