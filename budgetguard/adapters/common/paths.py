"""Which operation of an API a request asks for, by its method and path."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TypeAlias
from urllib.parse import unquote

from ...calls import Endpoint

_CACHED_PATHS = 2_048

_ID = "{id}"
"""In the path of an operation, what stands for any one segment."""

Finder: TypeAlias = Callable[[str, str], Endpoint | None]
"""`find(method, path)`: the endpoint of a request, or `None` if it is not in the table."""


def any_place(_endpoint: Endpoint, _segments: Sequence[str]) -> bool:
    """Wherever a path has it, an operation is the one that it ends in."""
    return True


def finder(endpoints: Sequence[Endpoint], takes: Callable[[Endpoint, Sequence[str]], bool] = any_place) -> Finder:
    """What looks requests up in a table, and remembers them; `takes` has a last look at the path of what was found."""
    longest_first = sorted(endpoints, key=lambda endpoint: (-endpoint.path.count("/"), _ID in endpoint.path))
    rows = [(endpoint.path[1:].split("/"), endpoint) for endpoint in longest_first]
    by_end = {end: [row for row in rows if row[0][-1] in (end, _ID)] for end in (*(row[0][-1] for row in rows), _ID)}

    @lru_cache(maxsize=_CACHED_PATHS)
    def find(method: str, path: str) -> Endpoint | None:
        segments, below = _segments(path)
        for parts, endpoint in by_end.get(below[-1], by_end[_ID]) if below else ():
            if endpoint.method == method.upper() and _ends_in(below, parts):
                return endpoint if takes(endpoint, segments) else None
        return None

    return find


def _segments(path: str) -> tuple[Sequence[str], Sequence[str]]:
    """
    The segments of a path, and those without the host of an absolute URL.

    Written as servers read it: escapes, doubled slashes, dots and capitals make no difference.
    """
    path = path.partition("?")[0].partition("#")[0]
    _, absolute, rest = path.partition("://")
    segments: list[str] = []
    for segment in unquote(rest if absolute else path).lower().split("/"):
        if segment == "..":
            del segments[-1:]
        elif segment not in {"", "."}:
            segments.append(segment)
    return segments, segments[1:] if absolute else segments


def _ends_in(segments: Sequence[str], parts: Sequence[str]) -> bool:
    """Whether a path ends in an operation: what stands before it is a version, a deployment, or a proxy's own."""
    tail = segments[-len(parts) :]
    return len(parts) == len(tail) and all(part in (segment, _ID) for part, segment in zip(parts, tail, strict=True))
