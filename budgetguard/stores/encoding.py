"""
How stores write what is text: strings as bytes, tags and counts as JSON in ASCII, flags as words between spaces.

Text from callers may hold any code point, lone surrogates and NUL included.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quote
from typing import Literal, NamedTuple

_UNIX_EPOCH = date(1970, 1, 1).toordinal()

_CACHED = 4096
"""A call says the same twice, when it is reserved and when it is settled, and the next call says much of it again."""


@lru_cache(_CACHED)
def raw(value: str) -> bytes:
    """A string as bytes, whose order is that of its code points; lone surrogates pass."""
    return value.encode("utf-8", "surrogatepass")


def from_raw(value: bytes) -> str:
    """The string that `raw` wrote."""
    return value.decode("utf-8", "surrogatepass")


class KeyRange(NamedTuple):
    """From where to where a listing by key reads, as bytes."""

    last: bytes
    comparison: Literal[">=", ">"]
    """What the first key is to `last`."""
    end: bytes
    """All keys are below it."""


def key_range(prefix: str, after: str | None) -> KeyRange:
    """The keys that begin with a prefix, behind another."""
    begin = raw(prefix)
    end = begin + b"\xff"
    if after is not None and raw(after) >= begin:
        return KeyRange(raw(after), ">", end)
    return KeyRange(begin, ">=", end)


def tags_json(tags: Mapping[str, str]) -> str:
    """Tags as a JSON object."""
    return _tags_json(tuple(tags.items()))


@lru_cache(_CACHED)
def _tags_json(tags: tuple[tuple[str, str], ...]) -> str:
    return f"{{{','.join([f'{json_name(name)}:{_quote(value)}' for name, value in tags])}}}"


def day_text(days: int) -> str:
    """A day, as days since 1970-01-01, as ISO 8601 writes it."""
    return date.fromordinal(_UNIX_EPOCH + days).isoformat()


def usage_json(usage: Mapping[str, int]) -> str:
    """Counts as a JSON object."""
    written = ""
    for kind, count in usage.items():
        written += f"{',' if written else ''}{json_name(kind)}:{count:d}"
    return f"{{{written}}}"


def flags_text(flags: Iterable[str]) -> str:
    """Flags in order, with a space on each side of each, so that a search finds whole words."""
    return f" {' '.join(sorted(flags))} " if flags else ""


@lru_cache(_CACHED)
def flags_of_text(value: str) -> frozenset[str]:
    """The flags that `flags_text` wrote."""
    return frozenset(value.split())


@lru_cache(_CACHED)
def json_name(name: str) -> str:
    """A name as JSON has it, without an escaped quote, which a JSON path of SQLite cannot hold."""
    quoted = _quote(name)
    return quoted if '"' not in name else '"' + quoted[1:-1].replace('\\"', "\\u0022") + '"'
