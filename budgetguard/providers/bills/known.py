"""The providers whose bill can be asked for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ...errors import ConfigError
from . import anthropic, openai, openrouter
from .lines import BillSource

SOURCES: Final[Mapping[str, BillSource]] = MappingProxyType(
    {each.name: each for each in (openai.SOURCE, anthropic.SOURCE, openrouter.SOURCE)}
)


def source_named(name: str) -> BillSource:
    """A provider by its name; raises `ConfigError` for one that does not tell what it bills."""
    found = SOURCES.get(name.strip().lower())
    if found is None:
        raise ConfigError(f"{name!r} has no bill that can be asked for: there are {', '.join(SOURCES)}")
    return found
