"""Where a view is: its name and its filters, all of them in the URL, so that what is seen can be sent to somebody."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self
from urllib.parse import parse_qsl, urlencode
from zoneinfo import ZoneInfo

HOME = "/ui"
KEPT = ("project", "zone")
"""What the URL says that every link goes on saying."""
MOST_LETTERS = 8_000
_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class ViewPlace:
    """A view's name, and its filters."""

    view: str
    query: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, view: str, query_string: bytes) -> Self:
        """Where a URL leads; what cannot be read of a query is left out."""
        found: dict[str, tuple[str, ...]] = {}
        text = query_string[:MOST_LETTERS].decode("ascii", "replace")
        for name, value in parse_qsl(text, errors="replace"):
            found[name] = (*found.get(name, ()), value)
        return cls(view, found)

    @property
    def zone(self) -> ZoneInfo:
        """The zone that `zone=` names; UTC where it names none."""
        try:
            return ZoneInfo(self.said("zone", "UTC"))
        except (ValueError, OSError, LookupError):
            return _UTC

    def said(self, name: str, default: str = "") -> str:
        """What is said of a filter, without blanks around it: the last, where it is there several times."""
        values = self.query.get(name)
        return (values[-1].strip() if values else "") or default

    def url(self, suffix: str = "", **changed: object) -> str:
        """This view with other filters: `None` or "" takes one away; `suffix` is ".csv" or ".json"."""
        query: dict[str, object] = {**self.query, **changed}
        return _url(f"{self.view}{suffix}", query)

    def link(self, view: str, **query: object) -> str:
        """Another view, of the same project and in the same zone."""
        return _url(view, {**{name: self.said(name) for name in KEPT}, **query})

    def only(self, *names: str) -> Self:
        """The same without other filters than these."""
        return replace(self, query={name: self.query[name] for name in (*KEPT, *names) if name in self.query})


def _url(view: str, query: Mapping[str, object]) -> str:
    pairs = [
        (name, str(each))
        for name, value in query.items()
        for each in (value if isinstance(value, tuple | list) else (value,))
        if each is not None and each != ""
    ]
    return f"{HOME}/{view}" + (f"?{urlencode(pairs)}" if pairs else "")
