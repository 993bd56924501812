"""
The file with settings: looked for from the working directory upwards, and read as plain data.

It is `budgetguard.toml`, or the table `[tool.budgetguard]` of a `pyproject.toml`; the nearest directory with one of
them decides, and where one has both, `budgetguard.toml` does.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from ..errors import ConfigError
from ..stores import file_of
from ..stores.disk import NO_TEXT

OWN, SHARED = "budgetguard.toml", "pyproject.toml"
KEYS = ("alerts", "budgets", "prices", "project", "settings", "store")


@dataclass(frozen=True, slots=True)
class ConfigFile:
    """What a file says; nothing, if there is none."""

    path: Path | None = None
    at: str = ""
    """How errors name the place of a key: "budgetguard.toml:"."""
    data: Mapping[str, Any] = field(default_factory=dict)

    @property
    def home(self) -> Path:
        """The directory that its relative paths begin in; without a file, the working directory."""
        return Path() if self.path is None else self.path.parent

    @property
    def passed_over(self) -> Path | None:
        """A `pyproject.toml` beside it, whose table is not read; `None` if there is none with one."""
        if self.path is None or self.path.name == SHARED:
            return None
        shared = self.path.with_name(SHARED)
        try:
            return shared if os.path.isfile(shared) and "budgetguard" in _load(shared).get("tool", {}) else None
        except ConfigError:  # it is not read, so what is wrong with it is somebody else's affair
            return None


NO_FILE = ConfigFile()


def find_file(named: str | None) -> ConfigFile:
    """The file that is named, else the nearest one; raises `ConfigError` for one that cannot be used."""
    if named:
        path = Path(named)
        found = _shared(path) if path.name == SHARED else _own(path)
        if found is None:
            raise ConfigError(f"{path}: it has no table [tool.budgetguard]: add one, or unset BUDGETGUARD_CONFIG")
        return found
    for directory in looked_in():
        own, shared = directory / OWN, directory / SHARED
        if os.path.isfile(own):
            return _own(own)
        if os.path.isfile(shared) and (found := _shared(shared)) is not None:
            return found
    return NO_FILE


def looked_in() -> Iterator[Path]:
    """Where a file is looked for, the nearest directory first."""
    yield Path()
    yield from here().parents


def here() -> Path:
    """The working directory; it may have been removed."""
    try:
        return Path.cwd()
    except FileNotFoundError:
        return Path()


def beside(url: str, home: Path) -> str:
    """A store's URL whose file, if it is a relative one, lies in this directory."""
    path = file_of(url)
    if home == Path() or not path or path == ":memory:" or os.path.isabs(path):
        return url
    _, mark, options = url.partition("?")
    return f"sqlite:///{quote(str(home / path), errors=NO_TEXT)}{mark}{options}"


def _own(path: Path) -> ConfigFile:
    return _checked(path, f"{path}:", _load(path))


def _shared(path: Path) -> ConfigFile | None:
    """The table of a `pyproject.toml`; `None` if it has none."""
    tool = _load(path, "budgetguard").get("tool", {})
    if not isinstance(tool, dict) or "budgetguard" not in tool:
        return None
    return _checked(path, f"{path}: [tool.budgetguard]", tool["budgetguard"])


def _load(path: Path, word: str = "") -> dict[str, Any]:
    """The TOML in a file; nothing if that cannot be about a word, which is not in its text."""
    try:
        text = path.read_text("utf-8-sig")  # editors on Windows put a byte order mark before it
        return tomllib.loads(text) if word in text else {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(
            f"{path}: cannot be read as TOML ({error}): mend it, or name another by BUDGETGUARD_CONFIG"
        ) from error


def _checked(path: Path, at: str, data: Any) -> ConfigFile:
    if not isinstance(data, dict):
        raise ConfigError(f"{at} {data!r}: a table is needed")
    unknown = sorted(set(data) - set(KEYS))
    if unknown:
        raise ConfigError(f"{at} {unknown[0]!r} is no setting: there are {', '.join(KEYS)}")
    for key in ("store", "project", "prices"):
        if key in data and (not isinstance(data[key], str) or not data[key]):
            raise ConfigError(f"{at} {key}={data[key]!r}: a text that is not empty is needed")
    if not isinstance(data.get("budgets", []), list):
        raise ConfigError(f"{at} budgets={data['budgets']!r}: write each budget as a table below [[budgets]]")
    if not isinstance(data.get("settings", {}), dict):
        raise ConfigError(f"{at} settings={data['settings']!r}: write them as a table below [settings]")
    return ConfigFile(path, at, data)
