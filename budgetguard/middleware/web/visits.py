"""A request's scope in a server's thread, which does other things between two pieces of a body."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ...scopes.context import budget
from .options import say_lost


class Visit:
    """One request: its scope is entered while its code runs, from the moment on when it is known."""

    def __init__(self, scope: budget | None = None) -> None:
        self.scope = scope
        self.module: str | None = None
        """One of the application's own, where it is known."""
        self.error: Exception | None = None
        """What the framework has no answer to, where it says so."""

    def begin(self, scope: budget, module: str | None) -> None:
        """Say whose request it is, inside of `inside`: until that is left, and in all that come, this is its scope."""
        self.scope, self.module = scope, module
        scope.__enter__()

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Run some of the request's code."""
        if self.scope is not None:
            self.scope.__enter__()
        try:
            yield
        finally:
            if self.scope is not None:
                self.scope.__exit__(None, None, None)

    def end(self) -> None:
        """Say, inside of it, what a package swallowed: the request is answered."""
        if self.scope is not None:
            say_lost(self.scope, self.module)
