"""
The fields of `Settings` in a file and in the environment: each is said by its name, in the form of its type.

A new field is known here at once: `ttl_ms` is `BUDGETGUARD_TTL_MS`. `auto_tier` and `price_list` are the price book's,
and stand beside them.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import fields
from functools import cache
from typing import Any, Literal, NamedTuple, get_args, get_origin, get_type_hints

from ..errors import ConfigError
from ..guards.settings import Settings
from .file import ConfigFile

AUTO_TIER = "auto_tier"
PRICE_LIST = "price_list"
OF_PRICES = frozenset({AUTO_TIER, PRICE_LIST})
"""What is the price book's, and no guard's."""
JOURNAL = "journal"
"""The setting that is a path, which begins where the file lies that says so."""

_WORDS = {"true": True, "1": True, "false": False, "0": False}


class Stated(NamedTuple):
    """What was stated of one setting."""

    value: Any
    where: str
    """The file and the key, or the variable."""


@cache
def forms() -> Mapping[str, Any]:
    """The type of every setting, by its name."""
    hints = get_type_hints(Settings)
    return {**{field.name: hints[field.name] for field in fields(Settings)}, AUTO_TIER: frozenset[str], PRICE_LIST: str}


def variable(name: str) -> str:
    """The environment variable of a setting."""
    return f"BUDGETGUARD_{name.upper()}"


def read_settings(file: ConfigFile, environ: Mapping[str, str]) -> dict[str, Stated]:
    """What the file and the environment state, which wins; raises `ConfigError` that names the place."""
    table, where = file.data.get("settings", {}), f"{file.at} [settings]"
    require_known(table, where)
    said = {name: Stated(value, f"{where} {name}") for name, value in table.items()}
    for name in (JOURNAL, PRICE_LIST):
        if isinstance(path := table.get(name), str) and (name == JOURNAL or path.endswith(".json")):
            said[name] = said[name]._replace(value=str(file.home / path))
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
    own = {name: each for name, each in said.items() if name not in OF_PRICES}
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
    elif form is str:
        wanted = "a text"
        read = value if isinstance(value, str) and value else None
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
