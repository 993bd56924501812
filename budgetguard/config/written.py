"""The price file that is written where somebody says what a model costs, and whether programs here read it."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from . import Config
from .file import ConfigFile

_NAME = "prices.toml"


class PriceFile(NamedTuple):
    """The file that is written, and what leads to it."""

    path: Path
    named: bool
    """Whether programs here are told of it."""
    settings: ConfigFile
    """Where that can be said."""


def price_file_of(config: Config, given: Path | None = None) -> PriceFile:
    """The price file that is given, else the one that programs here read, else a new one beside `budgetguard.toml`."""
    path = given or config.prices or config.file.home / _NAME
    named = config.prices is not None and config.prices.resolve() == path.resolve()
    return PriceFile(path, named, config.file)
