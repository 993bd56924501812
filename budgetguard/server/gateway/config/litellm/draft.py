"""A gateway's file as it is put together: tables as text, each with the comments that belong to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import tomlkit


@dataclass(slots=True)
class DraftTable:
    """One table: its heading, what stands in it, and comments above."""

    heading: str
    values: dict[str, Any]
    notes: list[str] = field(default_factory=list)

    def text(self) -> str:
        """As TOML."""
        lines = [f"# {each}" for each in self.notes] + [self.heading]
        return "\n".join([*lines, *(f"{_key(key)} = {toml(value)}" for key, value in self.values.items())])


@dataclass(slots=True)
class Draft:
    """All tables, in the order in which they are read best, and the comments at the top."""

    notes: list[str] = field(default_factory=list)
    gateway: dict[str, Any] = field(default_factory=dict)
    upstreams: list[DraftTable] = field(default_factory=list)
    models: list[DraftTable] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)
    budgets: list[DraftTable] = field(default_factory=list)
    prices: dict[str, dict[str, Any]] = field(default_factory=dict)
    deployments: dict[str, str] = field(default_factory=dict)

    def note(self, what: str, told: str) -> None:
        """Say what of the old file has no counterpart."""
        line = f"{plain(what)}: {told}"
        if line not in self.notes:
            self.notes.append(line)

    def text(self) -> str:
        """The whole file."""
        parts = ["\n".join(f"# {each}" for each in ["Made of LiteLLM Proxy's configuration.", *self.notes])]
        parts += _table("[gateway]", self.gateway)
        parts += [each.text() for each in (*self.upstreams, *self.models)]
        parts += _table("[aliases]", self.aliases)
        parts += [each.text() for each in self.budgets]
        for name, price in self.prices.items():
            parts += _table(f"[prices.models.{_key(name)}]", price)
        parts += _table("[prices.deployments]", self.deployments)
        return "\n\n".join(parts) + "\n"


def toml(value: Any) -> str:
    """A value as TOML has it; a table stands on the line."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{_key(key)} = {toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(toml, value)) + "]"
    return str(tomlkit.item(value).as_string())


def plain(text: object, most: int = 80) -> str:
    """A word of the old file as a comment may have it: on one line, and short."""
    word = str(text)[:most]
    return word if word.isprintable() else ascii(word)


def listed(words: Iterable[object]) -> str:
    """Words of the old file, one after the other."""
    return ", ".join(plain(each, 40) for each in words)


def _table(heading: str, values: Mapping[str, Any]) -> Iterable[str]:
    return [DraftTable(heading, dict(values)).text()] if values else []


def _key(name: str) -> str:
    bare = name.isascii() and name.replace("-", "").replace("_", "").isalnum()
    return name if bare else tomlkit.item(name).as_string()
