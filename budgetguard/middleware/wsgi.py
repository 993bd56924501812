"""
A scope for each request of a WSGI application, whichever: over the call, each piece of the body, and its `close`.

Between them the server's thread is outside: it may have another request's code to run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, MutableMapping
from typing import Any, Protocol, Self, TypeAlias, runtime_checkable

from ..errors import find_budget_error
from ..ledger import Enforce
from .web.answers import REASON, STATUS, RefusalAnswer, answer_to, unanswered
from .web.options import LimitOption, ScopeOptions, TagsOption, UserOption
from .web.visits import Visit

Environ: TypeAlias = MutableMapping[str, Any]
WSGIApplication: TypeAlias = Callable[[Any, Any], Iterable[bytes]]


class WSGIMiddleware:
    """
    `application = BudgetMiddleware(application, user=lambda environ: ..., limit=0.10)`.

    `user`, `limit` (dollars a request) and `tags` are values, or plain functions of the environ; `wait` and `enforce`
    are as in `budget`. A refusal that the application did not answer becomes a 402, until the first piece of the body
    is with the server. Raises `ConfigError` for values that `budget` refuses.
    """

    def __init__(
        self,
        app: WSGIApplication,
        *,
        user: UserOption = None,
        limit: LimitOption = None,
        tags: TagsOption = None,
        wait: float = 0.0,
        enforce: Enforce = "hard",
    ) -> None:
        self.app = app
        self._options = ScopeOptions(user, limit, tags, wait, enforce)

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """The body, whose pieces are made as it is read."""
        return serve(self.app, environ, start_response, Visit(self._options.made(environ)))


BudgetMiddleware = WSGIMiddleware
"""The same name for every kind of application."""


def serve(app: WSGIApplication, environ: Environ, start_response: Any, visit: Visit) -> Iterable[bytes]:
    """Call an application inside of a visit, and have its body made inside of it."""
    reply = _WsgiReply(start_response, visit)
    with visit.inside():
        try:
            return _Body(app(environ, reply.start), reply)
        except Exception as error:
            if not reply.refuse(error):
                raise
            return _Body((), reply)


class _WsgiReply:
    """How a response begins, which waits until its first piece is there: as the application has it, or refused."""

    def __init__(self, start_response: Any, visit: Visit) -> None:
        self.visit = visit
        self.refused: RefusalAnswer | None = None
        self._start_response = start_response
        self._start: tuple[Any, ...] | None = None
        self._write: Any = None
        """The server's, once the response has begun."""

    def start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        """As the server's own `start_response`."""
        refusal = unanswered(self.visit.scope, self.visit.error) if status.startswith("500") else None
        self._start = (status, headers) if exc_info is None else (status, headers, exc_info)
        if self._write is not None:
            self.flush()  # to an error after the beginning, which the server raises
        elif refusal is not None:
            self.refuse(refusal)
        return self.write

    def refuse(self, error: Exception) -> bool:
        """Answer with the refusal in an error; whether it was answered: `False` if there is none, or it is too late."""
        refusal = find_budget_error(error)
        if self.refused is None and self._write is None and refusal is not None:
            self.refused = answer_to(refusal)
            self._start = (f"{STATUS} {REASON}", list(self.refused.headers.items()))
        return self.refused is not None

    def flush(self) -> None:
        """Begin the response, if that still waits."""
        if self._start is not None:
            start, self._start = self._start, None
            self._write = self._start_response(*start)

    def write(self, piece: bytes) -> None:
        """For applications of old, that write rather than return."""
        if self.refused is None:
            self.flush()
            self._write(piece)


@runtime_checkable
class _Closable(Protocol):
    """A body that wants to know when the response is over."""

    def close(self) -> object: ...


class _Body:
    """The pieces of a body, each made inside of the request's scope."""

    def __init__(self, body: Iterable[bytes], reply: _WsgiReply) -> None:
        self._body = body
        self._reply = reply
        self._pieces: Iterator[bytes] = iter(body)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        reply = self._reply
        with reply.visit.inside():
            try:
                piece = next(self._pieces, None)
            except Exception as error:
                if not reply.refuse(error):
                    raise
        if reply.refused is not None:  # in place of whatever the application has
            piece, self._pieces, reply.refused = reply.refused.body, iter(()), None
        reply.flush()
        if piece is None:
            raise StopIteration
        return piece

    def close(self) -> None:
        """Let the application know that the response is over."""
        visit = self._reply.visit
        with visit.inside():
            visit.end()
            if isinstance(self._body, _Closable):
                self._body.close()
