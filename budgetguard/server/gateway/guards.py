"""
The guard of each project: its store stays open, and what an operator decides may change beside it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from ...concurrency.locks import mutex
from ...guards.guard import Guard
from ...ledger import Store
from ...stores import open_store
from ..projects import Projects
from .config.resolve import Configuration


class Guards:
    """The guards of one process."""

    def __init__(self, projects: Projects, url: str) -> None:
        self._projects = projects
        self._url = url
        self._lock = mutex("gateway guards")
        self._stores: dict[str, Store] = {}
        self._now: tuple[dict[str, Guard], Configuration | None] = {}, None
        """The guards by their projects, and by what configuration they are: read and changed together."""

    def configure(self, configuration: Configuration) -> list[Guard]:
        """
        Have calls from now on guarded by what a configuration says; those under way end as they began.

        Waits for nobody. Returns the guards before, whose leases are to be given back.
        """
        before, self._now = self._now, ({}, configuration)
        return list(before[0].values())

    def known(self, project: str) -> Guard | None:
        """The guard of a project, if it is made."""
        return self._now[0].get(project)

    def open(self, project: str) -> Guard:
        """The guard of a project; it may take a while to open a store."""
        with self._lock:
            guards, configuration = self._now  # another may come meanwhile: it has guards of its own
            guard = guards.get(project)
            if guard is None:
                assert configuration is not None
                store = self._stores.get(project)
                if store is None:
                    store = self._stores[project] = self._opened(project)
                settings = replace(configuration.settings, unscoped="allow")
                guard = Guard(store, configuration.prices, configuration.options.budgets, settings=settings)
                guards[project] = guard
            return guard

    def _opened(self, project: str) -> Store:
        if self._url.startswith("memory:"):  # there is but one, in this process
            return self._projects.open(project).store
        return open_store(self._url, namespace=project)

    def close(self) -> None:
        """Give leases back, and close the stores."""
        for guard in self._now[0].values():
            guard.close()
        for store in self._stores.values():
            store.close()


def give_back(guards: Iterable[Guard]) -> None:
    """Have the leases of guards that no new call is asked of given back; it may wait for the store."""
    for guard in guards:
        if guard.leases is not None:
            guard.leases.close()
