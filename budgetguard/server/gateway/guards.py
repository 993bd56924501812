"""
The guard of each project: its store stays open, and what an operator decides may change beside it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final
from weakref import WeakKeyDictionary

from ...alerts.herald import open_herald
from ...budgets.accounts import Coverage
from ...concurrency.locks import mutex
from ...guards.guard import Guard
from ...ledger import Store
from ...stores import open_store
from ..keys import OwnerRules
from ..projects import Projects
from .config.resolve import Configuration

TOLD_S: Final = 3600.0
"""How long the limits of an owner stay known here after the last call: longer than any call waits to be admitted."""
MOST_TOLD: Final = 50_000
"""Of so many owners, those that have not called for so long are forgotten; each call tells its own again."""


class OwnersTold:
    """Tells a guard the limits of whoever calls, and forgets those who are gone: keys and customers come and go."""

    def __init__(self, coverage: Coverage, clock: Callable[[], float] = time.monotonic) -> None:
        self._coverage = coverage
        self._clock = clock
        self._told_s: dict[tuple[str, str], float] = {}
        """When each was told last, who was told longest ago first."""

    def tell(self, owners: Iterable[OwnerRules]) -> None:
        """Have the next call be held to these."""
        now_s = self._clock()
        for owner in owners:
            self._coverage.tell(owner.tag, owner.name, owner.rules)
            self._told_s.pop((owner.tag, owner.name), None)
            if owner.rules:
                self._told_s[owner.tag, owner.name] = now_s
        if len(self._told_s) > MOST_TOLD:
            self._forget(now_s - TOLD_S)

    def _forget(self, before_s: float) -> None:
        while self._told_s:
            (tag, name), told_s = next(iter(self._told_s.items()))
            if told_s >= before_s:
                return
            self._coverage.tell(tag, name, ())
            del self._told_s[tag, name]


class Guards:
    """The guards of one process."""

    def __init__(self, projects: Projects, url: str) -> None:
        self._projects = projects
        self._url = url
        self._lock = mutex("gateway guards")
        self._stores: dict[str, Store] = {}
        self._now: tuple[dict[str, Guard], Configuration | None] = {}, None
        """The guards by their projects, and by what configuration they are: read and changed together."""
        self._told: WeakKeyDictionary[Guard, OwnersTold] = WeakKeyDictionary()

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
                settings, options = replace(configuration.settings, unscoped="allow"), configuration.options
                news = open_herald(store, options.alerts, options.budgets)
                guard = Guard(store, configuration.prices, options.budgets, settings=settings, news=news)
                guards[project] = guard
            return guard

    def told(self, guard: Guard, owners: Iterable[OwnerRules]) -> None:
        """Have the next call of a guard be held to the limits of these owners."""
        known = self._told.get(guard)
        if known is None:
            known = self._told[guard] = OwnersTold(guard.coverage)
        known.tell(owners)

    def _opened(self, project: str) -> Store:
        if self._url.startswith("memory:"):  # there is but one, in this process
            return self._projects.open(project).store
        return open_store(self._url, namespace=project)

    def close(self) -> None:
        """Give leases back, and close the stores."""
        for guard in self._now[0].values():
            guard.close()  # and its herald, which tells what is left
        for store in self._stores.values():
            store.close()


def give_back(guards: Iterable[Guard]) -> None:
    """
    Have the leases of guards that no new call is asked of given back, and told what they have to tell.

    It may wait for the store. What their last calls have to tell, they tell as they end.
    """
    for guard in guards:
        if guard.leases is not None:
            guard.leases.close()
        guard.notices.news.close()
