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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from inspect import signature
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from .budgets.rules import Budget
from .errors import ConfigError
from .guards.guard import Guard
from .guards.settings import Settings
from .prices.book import PriceBook
from .prices.given import GivenPrices, book_of
from .stores import open_store

DEFAULT_STORE = "sqlite:///budgetguard.db"
_KEYS = {"store", "project", "prices", "budgets", "settings"}
_BUDGET_KEYS = set(signature(Budget).parameters)

AUTO_TIER = "auto_tier"

_WORDS = {"true": True, "1": True, "false": False, "0": False}


class Stated(NamedTuple):
    """What was stated of one setting."""

    value: Any
    where: str
    """The file and the key, or the variable."""


@dataclass(frozen=True, slots=True)
class Config:
    """What the file and the environment say."""

    store: str | None = None
    project: str = "default"
    prices: Path | None = None
    budgets: tuple[Budget, ...] = ()
    home: Path = Path()
    """Where the file lies, or would."""
    key: str | None = field(default=None, repr=False)
    said: Mapping[str, Stated] = field(default_factory=dict)
    """What is stated of settings, by their names."""

    def headers(self) -> dict[str, str] | None:
        """What a hosted store is asked with: the key, if there is one."""
        return None if self.key is None else {"Authorization": f"Bearer {self.key}"}

    def price_book(self, given: GivenPrices | None = None) -> PriceBook | None:
        """The prices that are given, models among them over the file that is named; `None`: nothing is said of any."""
        given, tiers = self.prices if given is None else given, self.said.get(AUTO_TIER)
        book = None if given is None else book_of(given, self.prices)
        if tiers is None or isinstance(given, PriceBook):
            return book
        try:
            return book_of({} if given is None else given, self.prices, tiers.value)
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
        home=path.parent,
        key=environ.get("BUDGETGUARD_KEY") or None,
        budgets=tuple(_budget(path, number, raw) for number, raw in enumerate(data.get("budgets", ()), 1)),
        said=read_settings(data.get("settings", {}), f"{path}: [settings]", environ),
    )


def configured_guard(environ: Mapping[str, str] = os.environ, prices: GivenPrices | None = None) -> Guard | None:
    """
    The guard of a process whose settings say something of a store, of prices, or of a guard, or that is given prices;
    else `None`.
    """
    config = load_config(environ)
    store = None
    if config.store is not None:
        store = open_store(config.store, namespace=config.project, headers=config.headers())
    elif config.budgets:
        raise ConfigError("budgets are configured, but no store: set store, or BUDGETGUARD_STORE")
    elif not (config.said or config.prices or prices):
        return None
    return Guard(store, config.price_book(prices), config.budgets, settings=config.settings())


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


# Names and forms of settings are those of the fields of `Settings`, so that a new field is known here at once: `ttl_ms`
# is `BUDGETGUARD_TTL_MS`. `auto_tier` is the price book's, and stands beside them.


@cache
def forms() -> Mapping[str, Any]:
    """The type of every setting, by its name."""
    hints = get_type_hints(Settings)
    return {**{field.name: hints[field.name] for field in fields(Settings)}, AUTO_TIER: frozenset[str]}


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"BUDGETGUARD_{name.upper()}"


def read_settings(table: Mapping[str, Any], where: str, environ: Mapping[str, str]) -> dict[str, Stated]:
    """What the table and the environment state, which wins; raises `ConfigError` that names the place."""
    require_known(table, where)
    said = {name: Stated(value, f"{where} {name}") for name, value in table.items()}
    for name in forms():
        if text := environ.get(variable(name)):  # an empty one is not set
            said[name] = Stated(text, variable(name))
    return {name: Stated(_read_text(forms()[name], *each), each.where) for name, each in said.items()}


def require_known(names: Iterable[str], where: str) -> None:
    """Raises `ConfigError` for the first name that is no setting."""
    unknown = next((name for name in names if name not in forms()), None)
    if unknown is not None:
        raise ConfigError(f"{where}: {unknown!r} is no setting: there are {', '.join(sorted(forms()))}")


def made_of(said: Mapping[str, Stated]) -> Settings:
    """The settings of a guard; raises `ConfigError` where they do not go together."""
    own = {name: each for name, each in said.items() if name != AUTO_TIER}
    try:
        made = Settings(**{name: each.value for name, each in own.items()})
        made.spare()
    except ConfigError as error:
        raise ConfigError(f"{', '.join(each.where for each in own.values())}: {error}") from error
    return made


def _read_text(form: Any, value: Any, where: str) -> Any:
    """A value of a setting's type, from what TOML or a variable holds."""
    if get_origin(form) is Literal:
        wanted = f"one of {', '.join(map(repr, get_args(form)))}"
        read = value if value in get_args(form) else None
    elif form is bool:
        wanted = "true or false"
        read = _WORDS.get(value.lower()) if isinstance(value, str) else value if isinstance(value, bool) else None
    elif form is int:
        wanted = "a whole number above 0"
        read = _number(value, int)
    elif form is float:
        wanted = "a number above 0"
        read = _number(value, float)
    elif get_origin(form) is frozenset:
        wanted = "a list of texts; in a variable, with commas between them"
        read = _texts(value)
    else:
        kinds = {kind for kind in get_args(form) if isinstance(kind, type) and kind is not type(None)}
        wanted = "a text" if kinds <= {str, os.PathLike} else "a number or a text"
        known = isinstance(value, str | os.PathLike) or float in kinds
        read = value if known and isinstance(value, str | int | float) and not isinstance(value, bool) else None
    if read is None:
        raise ConfigError(f"{where} = {value!r}: write {wanted}")
    return read


def _number(value: Any, kind: type) -> Any:
    if isinstance(value, str):
        try:
            value = kind(value)
        except ValueError:
            return None
    allowed = (int,) if kind is int else (int, float)
    return value if type(value) in allowed and 0 < value < float("inf") else None


def _texts(value: Any) -> frozenset[str] | None:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list) or not all(isinstance(part, str) and part.strip() for part in parts):
        return None
    return frozenset(part.strip() for part in parts)
