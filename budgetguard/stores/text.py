"""How stores write counts and flags: JSON in ASCII, and words between spaces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from json.encoder import encode_basestring_ascii as _quote

_CACHED = 1024


def usage_json(usage: Mapping[str, int]) -> str:
    """Counts as a JSON object."""
    written = ""
    for kind, count in usage.items():
        written += f"{',' if written else ''}{json_name(kind)}:{count:d}"
    return f"{{{written}}}"


def flags_text(flags: Iterable[str]) -> str:
    """Flags in order, with a space on each side of each, so that a search finds whole words."""
    return f" {' '.join(sorted(flags))} " if flags else ""


def flags_of_text(value: str) -> frozenset[str]:
    """The flags that `flags_text` wrote."""
    return frozenset(value.split())


@lru_cache(_CACHED)
def json_name(name: str) -> str:
    """A name as JSON has it, without an escaped quote, which a JSON path of SQLite cannot hold."""
    quoted = _quote(name)
    return quoted if '"' not in name else '"' + quoted[1:-1].replace('\\"', "\\u0022") + '"'
