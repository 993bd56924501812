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
from ..keys import ADMIN, READ, Caller
from ..projects import Project, Projects
from .look.links import Here

HOME = "/ui"

KEPT = ("project", "zone")
"""What a URL says that every link goes on saying."""
READERS = frozenset({READ, ADMIN})
"""Who may look."""
KEEPERS = frozenset({ADMIN})
"""Who may change."""
_UTC = ZoneInfo("UTC")


@dataclass(frozen=True, slots=True)
class Server:
    """What views ask of the server itself."""

    projects: Projects
    """All of them, and the server's own namespace, where keys are."""
    way: str = "keys"
    """How people come in: "keys", "open" or "ticket"."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at a view: who looks, at what, and what the URL and the form say."""

    project: Project
    caller: Caller
    here: Here
    """The view and its filters: links to the same one begin here."""
    now_ms: Millis
    server: Server
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def may_change(self) -> bool:
        """Whether buttons are shown."""
        return self.caller.scope == ADMIN

    @property
    def zone(self) -> ZoneInfo:
        """In which times are shown: the one that the URL names, or UTC."""
        return zone_of(self.here.get("zone"))

    def said(self, name: str, default: str = "") -> str:
        """What the URL says of a filter, without blanks around it."""
        return self.here.get(name).strip() or default

    def to(self, view: str, **query: object) -> str:
        """The address of another view, of the same project and in the same zone."""
        kept = tuple((name, value) for name, value in self.here.query if name in KEPT)
        return Here(f"{HOME}/{view}", kept).to(**query)


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


@dataclass(frozen=True, slots=True)
class Went:
    """Something was done: where to look next, and the sentence that is shown there."""

    path: str
    told: str = ""


def zone_of(name: str) -> ZoneInfo:
    """The zone of this name; UTC where there is none."""
    try:
        return ZoneInfo(name or "UTC")
    except (ValueError, OSError, LookupError):
        return _UTC


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
