"""
Settings from outside: a file and `BUDGETGUARD_*` become arguments. Whatever opens budgets asks here, and so in one way.

    store = "sqlite:///budgets.db"      # BUDGETGUARD_STORE
    project = "shop"                    # BUDGETGUARD_PROJECT
    prices = "prices.toml"              # BUDGETGUARD_PRICES
                                        # BUDGETGUARD_KEY: of a hosted store; a file is no place for it

    [settings]                          # the fields of `Settings`, and the price book's `auto_tier` and `price_list`
    abandoned = "held"                  # BUDGETGUARD_ABANDONED
    usage_hosts = ["localhost:8080"]    # BUDGETGUARD_USAGE_HOSTS=localhost:8080,other

    [[budgets]]
    name = "free"
    limit = 0.20
    period = "daily"
    per = ["user"]

    [alerts]                            # who is told of what (alerts.py)
    slack = "env:SLACK_WEBHOOK"

The file is `budgetguard.toml`, or `[tool.budgetguard]` in `pyproject.toml`, in the working directory or the nearest
above it, or what `BUDGETGUARD_CONFIG` names. Its relative paths begin where it lies. The environment wins over the
file, an argument over both.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

from ..alerts.options import Alerts
from ..budgets.rules import Budget
from ..errors import ConfigError
from ..guards.settings import Settings
from ..prices.book import PriceBook
from ..prices.given import GivenPrices, book_of
from .alerts import read_alerts
from .file import NO_FILE, ConfigFile, beside, find_file
from .forms import OF_PRICES, Stated, forms, made_of, read_settings, variable

DEFAULT_STORE = "sqlite:///budgetguard.db"
"""Where budgets live if nobody says otherwise; beside the file with the settings, if there is one."""

DEFAULT_PROJECT = "default"

_BUDGET_KEYS = set(signature(Budget).parameters)


@dataclass(frozen=True, slots=True)
class Config:
    """What arguments, the environment and the file say."""

    store: str | None = None
    """`None`: nobody names one."""
    project: str = DEFAULT_PROJECT
    prices: Path | None = None
    budgets: tuple[Budget, ...] = ()
    key: str | None = field(default=None, repr=False)
    said: Mapping[str, Stated] = field(default_factory=dict)
    """What is stated of settings, by their names."""
    where: Mapping[str, str] = field(default_factory=dict)
    """Where the store, the project, the prices and the budgets are stated, as far as they are."""
    file: ConfigFile = NO_FILE

    @property
    def url(self) -> str:
        """Where budgets live: in the store that is stated, or else in the default one."""
        return beside(DEFAULT_STORE, self.file.home) if self.store is None else self.store

    def headers(self) -> dict[str, str] | None:
        """What a hosted store is asked with: the key, if there is one."""
        return None if self.key is None else {"Authorization": f"Bearer {self.key}"}

    def price_book(self, given: GivenPrices | None = None) -> PriceBook | None:
        """The prices that are given, models among them over the file that is stated; `None`: nothing is said of any."""
        given = self.prices if given is None else given
        book = None if given is None else book_of(given, self.prices)
        said = {name: self.said[name] for name in OF_PRICES if name in self.said}
        if not said or isinstance(given, PriceBook):
            return book
        try:
            values = {name: each.value for name, each in said.items()}
            return book_of({} if given is None else given, self.prices, **values)
        except ConfigError as error:
            raise ConfigError(f"{', '.join(each.where for each in said.values())}: {error}") from error

    def settings(self) -> Settings:
        """The settings of a guard: what is stated, and the defaults."""
        return made_of(self.said)

    def alerts(self, environ: Mapping[str, str] = os.environ) -> Alerts:
        """Who is told of what; raises `ConfigError` for what cannot be, and for a variable that is not set."""
        return read_alerts(self.file, environ)


OF_TESTS = "BUDGETGUARD_TEST_"
"""How the variables begin that only the tests of a checkout read."""


def variables() -> list[str]:
    """Every variable of the environment that says something."""
    others = ("STORE", "PROJECT", "PRICES", "KEY", "CONFIG", "MAX_BUDGET")
    return sorted([*(f"BUDGETGUARD_{name}" for name in others), *map(variable, forms())])


def load_config(
    environ: Mapping[str, str] = os.environ,
    *,
    store: str | None = None,
    project: str | None = None,
    prices: str | os.PathLike[str] | None = None,
) -> Config:
    """
    Resolve what is not given as an argument; raises `ConfigError` naming the file and the key that cannot be used.

    The one place where that is decided, for programs, `patch()` and every command.
    """
    file = find_file(environ.get("BUDGETGUARD_CONFIG"))
    arguments = {"store": store, "project": project, "prices": prices}
    found = {name: each for name in arguments if (each := _stated(name, arguments[name], environ, file)) is not None}
    where = {name: each.where for name, each in found.items()}
    rules = file.data.get("budgets", ())
    if rules:
        where["budgets"] = f"{file.at} [[budgets]]"
    return Config(
        store=found["store"].value if "store" in found else None,
        project=found["project"].value if "project" in found else DEFAULT_PROJECT,
        prices=Path(found["prices"].value) if "prices" in found else None,
        budgets=tuple(read_budget(f"{file.at} budgets[{number}]", raw) for number, raw in enumerate(rules, 1)),
        key=environ.get("BUDGETGUARD_KEY") or None,
        said=read_settings(file, environ),
        where=where,
        file=file,
    )


def _stated(name: str, argument: Any, environ: Mapping[str, str], file: ConfigFile) -> Stated | None:
    """What is said of one thing, by who has the last word; `None` if nobody says anything."""
    if argument is not None:
        return Stated(argument, "argument")
    if value := environ.get(variable(name)):  # an empty one is not set
        return Stated(value, variable(name))
    if name not in file.data:
        return None
    value = file.data[name]
    placed = beside(value, file.home) if name == "store" else file.home / value if name == "prices" else value
    return Stated(placed, f"{file.at} {name}")


def read_budget(where: str, raw: Any) -> Budget:
    """The rule that a table of a file is; raises `ConfigError`, which begins with `where` that stands."""
    if not isinstance(raw, dict) or "name" not in raw or "limit" not in raw:
        raise ConfigError(f"{where}: a table with at least name and limit is needed")
    unknown = sorted(set(raw) - _BUDGET_KEYS)
    if unknown:
        raise ConfigError(
            f"{where}: {unknown[0]!r} is nothing of a budget: there are {', '.join(sorted(_BUDGET_KEYS))}"
        )
    try:
        return Budget(**raw)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
