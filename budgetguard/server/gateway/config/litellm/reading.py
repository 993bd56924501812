"""The YAML of LiteLLM's configuration, with the files that it includes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .....errors import ConfigError
from .settings import draft_of

_MOST_BYTES = 10_000_000


def imported(path: Path) -> str:
    """The text of a gateway's file, made of LiteLLM's; raises `ConfigError` for one that cannot be read."""
    try:
        return draft_of(_whole(path)).text()
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from error


def _whole(path: Path) -> Mapping[str, Any]:
    """What a file says, and those that it includes: lists are put together, of all else the file's own word counts."""
    found = _read(path)
    for name in found.pop("include", None) or ():
        for key, value in _read(path.parent / str(name)).items():
            if isinstance(value, list) and isinstance(found.get(key), list):
                found[key] = [*found[key], *value]
            elif isinstance(value, dict) and isinstance(found.get(key), dict):
                found[key] = {**value, **found[key]}
            else:
                found.setdefault(key, value)
    return found


def _read(path: Path) -> dict[str, Any]:
    try:
        import yaml
    except ModuleNotFoundError:
        told = "reading YAML needs PyYAML: install the extra `gateway`, as in budgetguard-llm[gateway]"
        raise ConfigError(told) from None
    try:
        with path.open("rb") as file:
            found = yaml.safe_load(file.read(_MOST_BYTES))
    except OSError as error:
        raise ConfigError(f"{path.name} cannot be read ({error.strerror})") from error
    except (yaml.YAMLError, ValueError, RecursionError):  # its words may have a secret of the file
        raise ConfigError(f"{path.name} is no YAML") from None
    if not isinstance(found, dict):
        raise ConfigError(f"{path.name} has no sections")
    return found
