"""
What a view is: a line of a table, the look that somebody takes at it, and what is shown of it.

A handler is a plain function from a `Look` to a `Shown`, or to a `Went` where something was done; it runs in a thread.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from zoneinfo import ZoneInfo

from ...ledger import Millis
from ...reports.reports import Reports
from ..keys import ADMIN, READ, Caller
from ..projects import Project, Projects
from .links import ViewPlace

READERS = frozenset({READ, ADMIN})
"""Who may look."""
KEEPERS = frozenset({ADMIN})
"""Who may change."""


@dataclass(frozen=True, slots=True)
class PageServer:
    """What views ask of the server itself."""

    projects: Projects
    """All of them, and the server's own namespace, where keys are."""
    way: str = "keys"
    """How people come in: "keys", "open" or "ticket"."""
    project: str = "default"
    """The one that is shown first, where no key says it."""
    who: str = ""
    """Whom the audit names where nobody has a key: the user of this machine who started it."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a view: who looks, at what, and what the URL and the form say."""

    project: Project
    caller: Caller
    place: ViewPlace
    """The view and its filters: links begin here."""
    now_ms: Millis
    server: PageServer
    reports: Reports
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def may_change(self) -> bool:
        """Whether buttons are shown."""
        return self.caller.scope == ADMIN

    @property
    def zone(self) -> ZoneInfo:
        """In which times are shown."""
        return self.place.zone

    def said(self, name: str, default: str = "") -> str:
        """What the URL says of a filter."""
        return self.place.said(name, default)

    def all_said(self, name: str) -> tuple[str, ...]:
        """What it says of a filter that may be there several times."""
        return self.place.query.get(name, ())


@dataclass(frozen=True, slots=True)
class Shown:
    """What is shown: a template and its data, and the rows that are the same as CSV and JSON."""

    template: str
    data: Mapping[str, Any]
    title: str = ""
    """Of this one, where the view's own says too little."""
    rows: Sequence[Any] | None = None
    """Frozen dataclasses of one kind; `None`: there is nothing to download."""
    whole: Any = None
    """What JSON has, where that is more than the rows."""
    status: int = 200
    """400 where a form was refused, and is shown again with what was typed."""


@dataclass(frozen=True, slots=True)
class Went:
    """Something was done: where to look next, and the sentence that is shown there."""

    path: str
    told: str = ""


Handler: TypeAlias = Callable[[Look], Shown | Went]


@dataclass(frozen=True, slots=True)
class View:
    """A line of the table."""

    name: str
    """Its path is `/ui/<name>`; `/ui/<name>.csv` and `.json` are the same as data, where it has rows."""
    title: str
    handler: Handler
    method: str = "GET"
    scopes: frozenset[str] = READERS
    listed: bool = True
    """Whether the navigation leads there."""
    group: str = ""
    """Under which heading of the navigation."""
