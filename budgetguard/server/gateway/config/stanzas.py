"""
Tables of a file, read key by key: whatever is wrong is noted with its place, and the rest is read on.

So an operator is told of every mistake in one go. A value that could be a secret is in no remark: of what stands at a
key, only its type is said, or a word of those that may stand there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from typing import Any, NamedTuple

_SHOWN = 60
"""Characters of an operator's word that a remark has."""
_LISTED = 12
"""Words of which all are said where one is wrong."""


class Remark(NamedTuple):
    """What is to be said of a place in the file."""

    where: str
    """The table, and the key in it: `[[upstream]] 2 "claude": key`."""
    said: str
    """What is wrong, and what to write."""
    wrong: bool = True
    """Whether it cannot be used; otherwise it is only likely not to be meant."""

    def __str__(self) -> str:
        return f"{self.where}: {self.said}"


class Stanza:
    """One table. A key that nobody asked for is unknown."""

    def __init__(self, raw: Mapping[str, Any], where: str, remarks: list[Remark]) -> None:
        self.where = where
        self.remarks = remarks
        self._raw = raw
        self._asked: dict[str, None] = {}

    def wrong(self, key: str, said: str) -> None:
        """Note what cannot be used at a key; "" is the table itself."""
        self.remarks.append(Remark(f"{self.where} {key}".strip(), said))

    def doubt(self, key: str, said: str) -> None:
        """Note what can be used, and is hardly meant."""
        self.remarks.append(Remark(f"{self.where} {key}".strip(), said, wrong=False))

    def has(self, key: str) -> bool:
        """Whether something stands there."""
        return key in self._raw

    def peek(self, key: str) -> Any:
        """What stands there, not asked for by that."""
        return self._raw.get(key)

    def take(self, key: str) -> Any:
        """What stands there; `None` if nothing does."""
        self._asked[key] = None
        return self._raw.get(key)

    def text(self, key: str, default: str = "", *, wanted: str = "a text that is not empty") -> str:
        """A text without blanks around it."""
        value = self.take(key)
        if value is None:
            return default
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            self.wrong(key, f"{_kind(value)} stands there: write {wanted}")
            return default
        return value.strip()

    def choice(self, key: str, choices: Iterable[str], default: str) -> str:
        """One of some words."""
        value, words = self.take(key), list(choices)
        if value is None or value in words:
            return default if value is None else str(value)
        listed = f": write {', '.join(map(repr, words))}" if len(words) <= _LISTED else ""
        self.wrong(key, f"{shown(value)} is none that is known{meant(value, words)}{listed}")
        return default

    def flag(self, key: str, default: bool) -> bool:
        """True or false."""
        value = self.take(key)
        if value is None or isinstance(value, bool):
            return default if value is None else value
        self.wrong(key, f"{_kind(value)} stands there: write true or false")
        return default

    def whole(self, key: str, default: int, least: int, most: int) -> int:
        """A whole number between two bounds."""
        value = self.take(key)
        if value is None or (isinstance(value, int) and not isinstance(value, bool) and least <= value <= most):
            return default if value is None else value
        self.wrong(key, f"{shown(value)} stands there: write a whole number from {least:,} to {most:,}")
        return default

    def seconds(self, key: str, default: float, most: float, *, zero: bool = False) -> float:
        """A time in seconds, above 0 unless that means something, too."""
        value = self.take(key)
        if value is None:
            return default
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and (value > 0 or (zero and value == 0)) and value <= most:
            return float(value)
        least = "from 0" if zero else "above 0,"
        self.wrong(key, f"{shown(value)} stands there: write seconds, {least} to {most:,.0f}")
        return default

    def part(self, key: str) -> float | None:
        """A part of a limit, above 0 and up to 1; `None` where nothing stands."""
        value = self.take(key)
        if value is None or (isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1):
            return None if value is None else float(value)
        self.wrong(key, f"{shown(value)} stands there: write a part of the limit, above 0 and up to 1, such as 0.8")
        return None

    def texts(self, key: str, *, wanted: str) -> tuple[str, ...]:
        """A list of texts, each once."""
        value = self.take(key)
        if value is None:
            return ()
        if not isinstance(value, list) or not all(isinstance(each, str) and each.strip() for each in value):
            self.wrong(key, f"{_kind(value)} stands there: write {wanted}")
            return ()
        return tuple(dict.fromkeys(each.strip() for each in value))

    def table(self, key: str) -> Mapping[str, Any]:
        """A table; nothing where there is none."""
        value = self.take(key)
        if value is None or isinstance(value, dict):
            return value or {}
        self.wrong(key, f"{_kind(value)} stands there: write a table")
        return {}

    def tables(self, key: str) -> Iterator[tuple[Stanza, Mapping[str, Any]]]:
        """Each table of a list of them, `[[key]]`, with its number and name in what is said of it."""
        value = self.take(key)
        if value is not None and not isinstance(value, list):
            self.wrong(key, f"{_kind(value)} stands there: write each as a table of its own below [[{key}]]")
        for number, raw in enumerate(value if isinstance(value, list) else (), 1):
            name = raw.get("name") if isinstance(raw, dict) else None
            called = f' "{name[:_SHOWN]}"' if isinstance(name, str) and name.isprintable() else ""
            stanza = Stanza(raw if isinstance(raw, dict) else {}, f"[[{key}]] {number}{called}", self.remarks)
            if isinstance(raw, dict):
                yield stanza, raw
            else:
                stanza.wrong("", f"{_kind(raw)} stands there: write a table below [[{key}]]")

    def below(self, raw: Mapping[str, Any], key: str) -> Stanza:
        """A table inside of this one."""
        return Stanza(raw, f"{self.where} {key}", self.remarks)

    def close(self, instead: Mapping[str, str] | None = None) -> None:
        """Note every key that nobody asked for; `instead` says what to write for some of them."""
        for key in self._raw:
            if key in self._asked:
                continue
            told = (instead or {}).get(key)
            known = ", ".join(self._asked)
            self.wrong(shown_key(key), told or f"there is no such key{meant(key, self._asked)}: there are {known}")


def meant(word: object, known: Iterable[str]) -> str:
    """What may be meant by a word that is none of these; "" if nothing is alike."""
    near = get_close_matches(word.lower(), known, 1, 0.6) if isinstance(word, str) and len(word) <= _SHOWN else []
    return f" (did you mean {near[0]!r}?)" if near else ""


def shown(value: object) -> str:
    """A value as a remark has it: a number or a short word as it is, of everything else what kind it is."""
    if isinstance(value, str) and len(value) <= _SHOWN // 2 and value.isprintable():
        return repr(value)
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else _kind(value)


def shown_key(key: str) -> str:
    """A key as a remark has it."""
    return key[:_SHOWN] if key.isprintable() else ascii(key[:_SHOWN])


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "an empty text" if not value.strip() else "a text"
    kinds = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "a table"}
    return kinds.get(type(value), "a date")
