"""
Settings from outside: `budgetguard.toml` and `BUDGETGUARD_*` become arguments.

    store = "sqlite:///budgets.db"      # BUDGETGUARD_STORE
    project = "shop"                    # BUDGETGUARD_PROJECT
    prices = "prices.toml"              # BUDGETGUARD_PRICES
                                        # BUDGETGUARD_KEY: of a hosted store; a file is no place for it

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
from .guards import Guard
from .prices import PriceBook
from .stores import open_store

DEFAULT_STORE = "sqlite:///budgetguard.db"
_KEYS = {"store", "project", "prices", "budgets"}
_BUDGET_KEYS = set(signature(Budget).parameters)


@dataclass(frozen=True, slots=True)
class Config:
    """What the file and the environment say."""

    store: str | None = None
    project: str = "default"
    prices: Path | None = None
    budgets: tuple[Budget, ...] = ()
    key: str | None = field(default=None, repr=False)

    def headers(self) -> dict[str, str] | None:
        """What a hosted store is asked with: the key, if there is one."""
        return None if self.key is None else {"Authorization": f"Bearer {self.key}"}

    def price_book(self) -> PriceBook | None:
        """The prices of the price file, if one is named."""
        return None if self.prices is None else PriceBook.load(self.prices)


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
    )


def configured_guard(environ: Mapping[str, str] = os.environ) -> Guard | None:
    """The guard of a process that names a store in its settings; `None` if it does not."""
    config = load_config(environ)
    if config.store is None:
        if config.budgets:
            raise ConfigError("budgets are configured, but no store: set store, or BUDGETGUARD_STORE")
        return None
    store = open_store(config.store, namespace=config.project, headers=config.headers())
    return Guard(store, config.price_book(), config.budgets)


def _read(path: Path) -> dict[str, Any]:
    try:
        data = tomllib.loads(path.read_text("utf-8"))
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
