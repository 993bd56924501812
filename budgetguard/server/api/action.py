"""
What an endpoint is: a line of a table, and the request that its handler is given.

A handler is a plain function from an `Ask` to a struct.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from ..keys import ADMIN, Caller
from ..projects import Project

MOST_BYTES = 1_000_000
"""How long a body may be, unless its endpoint says otherwise."""
MOST_BYTES_OF_SEVERAL = 8_000_000
"""What programs send that make calls: some thousands of keys or settlements."""
MOST_BYTES_OF_MANY = 32_000_000
"""What those send who may change budgets: whole books."""


@dataclass(slots=True)
class Ask:
    """One request, read and admitted."""

    project: Project
    caller: Caller
    body: Any = None
    """An instance of the endpoint's `body`."""
    query: Any = None
    """An instance of the endpoint's `query`."""
    rest: str = ""
    """What the path names, such as a user."""
    address: str = ""
    """Where the request came from."""


@dataclass(frozen=True, slots=True)
class Raw:
    """An answer that is made here: all of it, or piece by piece in a thread."""

    content_type: str
    content: bytes | Iterator[bytes]
    headers: tuple[tuple[bytes, bytes], ...] = ()


@dataclass(frozen=True, slots=True)
class Action:
    """A line of the table: what is asked, by whom, and by what it is answered."""

    method: str
    path: str
    handler: Callable[[Ask], Any]
    answer: type
    scopes: frozenset[str] = frozenset({ADMIN})
    body: Any = None
    query: Any = None
    finish: Callable[[Ask, Any, Any], Any] | None = None
    """With it, `handler` only says which operation of the store is wanted, and this makes an answer of its outcome."""
    slow: bool = False
    """Whether it may take long even in memory."""
    status: int = 200
    most_bytes: int = MOST_BYTES
    statuses: tuple[int, ...] = ()
    """Which statuses it has beside those that all have."""
    project_in_body: bool = False
    """Whether the body names the project, as LiteLLM's endpoints have it."""
    any_project: bool = False
    """Whether it is about the server, so that no project has to be named."""
    also: tuple[str, ...] = field(default=())
    """Other types of content that the answer may have."""

    @property
    def names_something(self) -> bool:
        """Whether a part of the path is a name."""
        return "{" in self.path
