"""
The guard of calls that no manager was named for: after a bare `patch()`, or inside a scope alone.

It acts by what the settings say, as the command line does, so that a budget set there holds here. Where they name no
store, the default one is used once its file is there: none is made for a program that wants a limit of its own only,
and one that somebody makes beside it is found within a second. On the path of a call that is one look at a clock.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ..alerts.herald import open_herald
from ..alerts.options import Alerts
from ..budgets.rules import Budget
from ..concurrency.locks import mutex
from ..guards.guard import Guard, require_budgets
from ..prices.given import GivenPrices
from ..stores import file_of
from . import Config
from .file import beside, here
from .projects import open_project

LOOK_S = 1.0
"""How often, at most, it is looked whether the default store is there by now."""


class Unmanaged:
    """A guard that gets its store when there is one."""

    def __init__(
        self,
        config: Config,
        prices: GivenPrices | None = None,
        budgets: Sequence[Budget] | None = None,
        alerts: Alerts | Sequence[Any] | None = None,
    ) -> None:
        self.config = config
        self._rules = config.budgets if budgets is None else require_budgets(budgets)
        self._settings = config.settings()
        self._alerts = config.alerts() if alerts is None else Alerts.of(alerts)
        unasked = replace(self._settings, users="any")  # who is known, only the store can say
        self.guard = Guard(prices=config.price_book(prices), budgets=self._rules, settings=unasked)
        """As it was found last."""
        self.look_s = float("-inf")
        """When, on the monotonic clock, it has to be looked at again."""
        self._url = beside(config.url, here())  # the program may change its directory
        wanted = config.store is not None or bool(self._rules) or self._settings.users == "known"
        self._awaited = None if wanted else file_of(self._url)
        self._lock = mutex("unmanaged guard")

    def look(self) -> Guard:
        """The guard, with its store if that is there; raises `StoreError` for a file that cannot be read."""
        with self._lock:
            now_s = time.monotonic()
            if now_s < self.look_s:
                return self.guard
            if self._awaited is not None and not os.path.exists(self._awaited):
                self.look_s = now_s + LOOK_S
                return self.guard
            before, store = self.guard, open_project(self.config, url=self._url, warns=True)
            herald = open_herald(store, self._alerts, self._rules)
            self.guard = Guard(store, before.prices, self._rules, settings=self._settings, news=herald)
            self.guard.background.take_over(before.background)
            self.look_s = float("inf")
            return self.guard
