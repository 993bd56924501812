"""
The providers that can be named before a model: one row each, in `providers.toml`, with its source and date.

Nothing here asks anybody: a row says which variables hold a key and a base URL, and `routes` reads them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import urlsplit

MAIN = "openai"
"""The provider whose variables its own SDK reads, and whose models need no name before them."""

USUAL_HEADER: Mapping[str, str] = {"openai": "bearer", "anthropic": "x-api-key", "gemini": "x-goog-api-key"}
"""The header that takes the key, by the API: as OpenAI's, Anthropic's and Google's own references have it."""


@dataclass(frozen=True, slots=True)
class ProviderRow:
    """One provider; the fields are explained in the file."""

    name: str
    title: str
    base: str
    """Its base URL, with the parts that variables say in braces; "" if it has to be stated."""
    path: str
    """The path of a base URL that is stated without one."""
    keys: tuple[str, ...]
    """Variables that may have its key, the usual one first."""
    bases: tuple[str, ...]
    """Variables that may say its base URL, the usual one first; `{NAME}_API_BASE` is among them."""
    open: bool
    """Whether a key is not needed."""
    aliases: tuple[str, ...]
    prefix: str
    """What stands before the model's name in a request."""
    prices: str | None
    """Whose prices count there; `None` where the price list does not have it."""
    beside: tuple[str, ...]
    """What it speaks beside chat completions."""
    anthropic: str
    """The base URL at which it speaks Anthropic's protocol; "" if it does not."""
    gemini: str
    """The base URL at which it speaks Gemini's own protocol, its version in it; "" if it does not."""
    headers: Mapping[str, str]
    """The header that takes its key, by the API ("openai", "anthropic", "gemini"), where that is not the usual one."""
    note: str
    token: str
    """Where a key is had that is none to keep."""
    parts: Mapping[str, tuple[str, ...]]
    """The variables of each part of the base URL."""
    defaults: Mapping[str, str]
    """What a part is where no variable says it."""
    at: Mapping[str, str]
    """Other base URLs, by the value of the part `location`."""

    def header(self, api: str) -> str:
        """The header that takes its key in requests of an API: "bearer" is `Authorization: Bearer`."""
        return self.headers.get(api, USUAL_HEADER[api])

    @property
    def variables(self) -> tuple[str, ...]:
        """Every variable that is read for it."""
        return (*self.keys, *self.bases, *(name for names in self.parts.values() for name in names))


@cache
def providers() -> Mapping[str, ProviderRow]:
    """Every provider by its name, in the order of the file."""
    import tomllib

    text = (Path(__file__).parent / "providers.toml").read_text(encoding="utf-8")
    return MappingProxyType({name: _provider(name, row) for name, row in tomllib.loads(text).items()})


@cache
def by_prefix() -> Mapping[str, ProviderRow]:
    """Every provider by each of the names that may stand before a model."""
    return {prefix: each for each in providers().values() for prefix in (each.name, *each.aliases)}


def _provider(name: str, row: Mapping[str, Any]) -> ProviderRow:
    base = row.get("base", "")
    return ProviderRow(
        name=name,
        title=row["title"],
        base=base,
        path=row.get("path", urlsplit(base).path),
        keys=tuple(row["keys"]),
        bases=tuple(dict.fromkeys((*row.get("bases", ()), f"{name.upper()}_API_BASE"))),
        open=row.get("open", False),
        aliases=tuple(row.get("aliases", ())),
        prefix=row.get("prefix", ""),
        prices=row.get("prices"),
        beside=tuple(row.get("beside", ())),
        anthropic=row.get("anthropic", ""),
        gemini=row.get("gemini", ""),
        headers=row.get("headers", {}),
        note=row.get("note", ""),
        token=row.get("token", ""),
        parts={part: tuple(names) for part, names in row.get("parts", {}).items()},
        defaults=row.get("defaults", {}),
        at=row.get("at", {}),
    )
