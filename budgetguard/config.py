"""
Settings from outside: `budgetguard.toml` and `BUDGETGUARD_*` become arguments.

    store = "sqlite:///budgets.db"      # BUDGETGUARD_STORE
    project = "shop"                    # BUDGETGUARD_PROJECT
    prices = "prices.toml"              # BUDGETGUARD_PRICES
                                        # BUDGETGUARD_KEY: of a hosted store; a file is no place for it

    [settings]                          # the fields of `Settings`, and the price book's `auto_tier`
    abandoned = "held"                  # BUDGETGUARD_ABANDONED
    usage_hosts = ["localhost:8080"]    # BUDGETGUARD_USAGE_HOSTS=localhost:8080,other

    [[budgets]]
    name = "free"
    limit = 0.20
    period = "daily"
    per = ["user"]

The file is looked for in the working directory, or where `BUDGETGUARD_CONFIG`
says; a price file that it names lies beside it. The environment wins over the
file, an argument over both.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from inspect import signature
from pathlib import Path
from typing import Any

from .budgets import Budget
from .errors import ConfigError
from .guards import Guard, Settings
from .prices import PriceBook
from .stated import AUTO_TIER, Stated, forms, made_of, read_settings, variable
from .stores import open_store

DEFAULT_STORE = "sqlite:///budgetguard.db"
_KEYS = {"store", "project", "prices", "budgets", "settings"}
_BUDGET_KEYS = set(signature(Budget).parameters)


@dataclass(frozen=True, slots=True)
class Config:
    """What the file and the environment say."""

    store: str | None = None
    project: str = "default"
    prices: Path | None = None
    budgets: tuple[Budget, ...] = ()
    key: str | None = field(default=None, repr=False)
    said: Mapping[str, Stated] = field(default_factory=dict)
    """What is stated of settings, by their names."""

    def headers(self) -> dict[str, str] | None:
        """What a hosted store is asked with: the key, if there is one."""
        return None if self.key is None else {"Authorization": f"Bearer {self.key}"}

    def price_book(self, file: Path | None = None) -> PriceBook | None:
        """The prices of this file, else of the one that is named; `None` if nothing is said of prices."""
        path, tiers = file or self.prices, self.said.get(AUTO_TIER)
        book = None if path is None else PriceBook.load(path)
        if tiers is None:
            return book
        try:
            return PriceBook(path=path, auto_tier=tiers.value)
        except ConfigError as error:
            raise ConfigError(f"{tiers.where}: {error}") from error

    def settings(self) -> Settings:
        """The settings of a guard: what is stated, and the defaults."""
        return made_of(self.said)


def variables() -> list[str]:
    """Every variable of the environment that says something."""
    others = ("STORE", "PROJECT", "PRICES", "KEY", "CONFIG", "MAX_BUDGET")
    return sorted([*(f"BUDGETGUARD_{name}" for name in others), *map(variable, forms())])


def load_config(environ: Mapping[str, str] = os.environ) -> Config:
    """Read the settings; raises `ConfigError` naming the file and the key that cannot be used."""
    named = environ.get("BUDGETGUARD_CONFIG")
    path = Path(named or "budgetguard.toml")
    data = _read(path) if named or path.is_file() else {}
    stated = environ.get("BUDGETGUARD_PRICES")
    beside = data.get("prices")
    return Config(
        store=environ.get("BUDGETGUARD_STORE") or data.get("store"),
        project=environ.get("BUDGETGUARD_PROJECT") or data.get("project", "default"),
        prices=Path(stated) if stated else (path.parent / beside if beside else None),
        key=environ.get("BUDGETGUARD_KEY") or None,
        budgets=tuple(_budget(path, number, raw) for number, raw in enumerate(data.get("budgets", ()), 1)),
        said=read_settings(data.get("settings", {}), f"{path}: [settings]", environ),
    )


def configured_guard(environ: Mapping[str, str] = os.environ) -> Guard | None:
    """The guard of a process whose settings say something of a store, of prices, or of a guard; else `None`."""
    config = load_config(environ)
    store = None
    if config.store is not None:
        store = open_store(config.store, namespace=config.project, headers=config.headers())
    elif config.budgets:
        raise ConfigError("budgets are configured, but no store: set store, or BUDGETGUARD_STORE")
    elif not (config.said or config.prices):
        return None
    return Guard(store, config.price_book(), config.budgets, settings=config.settings())


def _read(path: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_text("utf-8-sig"))  # editors on Windows put a byte order mark before it
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read as TOML ({error}): mend it, or unset BUDGETGUARD_CONFIG") from error
    unknown = sorted(set(data) - _KEYS)
    if unknown:
        raise ConfigError(f"{path}: {unknown[0]!r} is no setting: there are {', '.join(sorted(_KEYS))}")
    for key in ("store", "project", "prices"):
        if key in data and (not isinstance(data[key], str) or not data[key]):
            raise ConfigError(f"{path}: {key}={data[key]!r}: a text that is not empty is needed")
    if not isinstance(data.get("budgets", []), list):
        raise ConfigError(f"{path}: budgets={data['budgets']!r}: write each budget as a table below [[budgets]]")
    if not isinstance(data.get("settings", {}), dict):
        raise ConfigError(f"{path}: settings={data['settings']!r}: write them as a table below [settings]")
    return data


def _budget(path: Path, number: int, raw: Any) -> Budget:
    where = f"{path}: budgets[{number}]"
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
