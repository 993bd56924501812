"""The address of a view with its filters, and those of the views beside it: all that a view shows is in its URL."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlencode

PAGING = ("after", "before", "page")
"""What is left out where another order or filter is asked for: it would be a page of something else."""


@dataclass(frozen=True, slots=True)
class Here:
    """A path, percent-encoded as it is written, and the fields of its query in their order."""

    path: str
    query: tuple[tuple[str, str], ...] = ()

    def get(self, name: str, default: str = "") -> str:
        """A field's first value."""
        return next((value for key, value in self.query if key == name), default)

    def all(self, name: str) -> tuple[str, ...]:
        """All values of a field."""
        return tuple(value for key, value in self.query if key == name)

    def to(self, path: str | None = None, /, **changes: object) -> str:
        """The same with some fields changed; `None` and "" take one out. A page begins anew, unless it is told."""
        kept = [(key, value) for key, value in self.query if key not in changes and key not in PAGING]
        said = [(key, str(value)) for key, value in changes.items() if value is not None and value != ""]
        return _written(self.path if path is None else path, [*kept, *said])

    def fields(self, *but: str) -> list[tuple[str, str]]:
        """What a form that asks for `but` sends along, hidden."""
        return [(key, value) for key, value in self.query if key not in but and key not in PAGING]

    def without(self, *names: str) -> str:
        """The same, and nothing said of these."""
        return _written(self.path, self.fields(*names))

    def sorted_by(self, name: str) -> str:
        """The same by a column: the largest first, and turned round where it is sorted so already."""
        return self.to(sort=name if self.get("sort") == f"-{name}" else f"-{name}")

    def written_as(self, suffix: str) -> str:
        """The same as "csv" or "json"."""
        return _written(f"{self.path.rstrip('/')}.{suffix}", self.query)


def _written(path: str, query: Iterable[tuple[str, str]]) -> str:
    fields = urlencode(list(query))
    return f"{path}?{fields}" if fields else path
