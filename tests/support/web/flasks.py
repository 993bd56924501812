"""Flask applications: with `BudgetGuard`, and with scopes of their own making; and one of plain WSGI."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing
from typing import Any

import flask

from budgetguard import BudgetExceededError, budget
from budgetguard.middleware.flask import BudgetGuard
from budgetguard.testing import FakeProvider

from .calls import DEAR, aask, ask, pieces, scope


def with_guard(provider: FakeProvider, gone: threading.Event) -> flask.Flask:
    """`flask.g.user` is known after a `before_request` that comes later than the guard's."""
    app = flask.Flask(__name__)
    BudgetGuard(app, user=lambda: flask.g.user, limit=lambda: 0.1, tags=lambda: {"path": flask.request.path})
    client = provider.client()

    @app.before_request
    def authenticate() -> None:
        flask.g.user = flask.request.headers.get("x-user")

    _views(app, provider, client)
    _streams(app, client, gone)
    return app


def _views(app: flask.Flask, provider: FakeProvider, client: Any) -> None:
    @app.get("/sync")
    def sync() -> dict[str, int]:
        ask(client)
        return {"spent": scope().spent.nano}

    @app.get("/async")
    async def awaited() -> dict[str, int]:
        async with provider.async_client() as ours:
            await asyncio.gather(aask(ours), aask(ours))
        return {"spent": scope().spent.nano}

    @app.get("/dear")
    def dear() -> str:
        return ask(client, **DEAR)

    @app.get("/wrapped")
    def wrapped() -> str:
        try:
            return ask(client, **DEAR)
        except BudgetExceededError as refusal:
            raise LookupError("a tool failed") from refusal

    @app.get("/translated")
    def translated() -> str:
        try:
            return ask(client, **DEAR)
        except BudgetExceededError:
            flask.abort(418)

    @app.get("/crash")
    def crash() -> str:
        raise ZeroDivisionError


def _streams(app: flask.Flask, client: Any, gone: threading.Event) -> None:
    @app.get("/stream")
    def stream() -> flask.Response:
        return flask.Response(pieces(client))

    @app.get("/stream/context")
    def with_context() -> flask.Response:
        return flask.Response(flask.stream_with_context(named()))

    def named() -> Iterator[str]:
        yield from pieces(client)
        yield f" for {flask.g.user}"

    @app.get("/stream/dear")
    def stream_dear() -> flask.Response:
        return flask.Response(pieces(client, **DEAR))

    @app.get("/stream/late")
    def late() -> flask.Response:
        return flask.Response(begun(client))

    @app.get("/endless")
    def endless() -> flask.Response:
        return flask.Response(endless_pieces(client, gone))


def begun(client: Any) -> Iterator[str]:
    """A body whose second piece is refused."""
    yield "begun"
    ask(client, **DEAR)


def endless_pieces(client: Any, gone: threading.Event) -> Iterator[str]:
    """A body that ends when nobody reads it, and says so."""
    try:
        while True:
            with closing(pieces(client)) as some:
                for piece in some:
                    yield piece * 10_000
    finally:
        gone.set()


def with_own_answers(provider: FakeProvider, *, ours: bool) -> flask.Flask:
    """It answers refusals by itself: with `BudgetGuard`, or scopes of its own making."""
    app = flask.Flask(__name__)
    client = provider.client()

    @app.errorhandler(BudgetExceededError)
    def sorry(_refusal: BudgetExceededError) -> Any:
        return {"sorry": "no budget"}, 402

    if ours:
        BudgetGuard(app, limit=0.001)
    else:

        @app.before_request
        def enter() -> None:
            flask.g.scope = budget(limit=0.001)
            flask.g.scope.__enter__()

        @app.teardown_request
        def leave(_error: BaseException | None) -> None:
            flask.g.scope.__exit__(None, None, None)

    @app.get("/dear")
    def dear() -> str:
        return ask(client, **DEAR)

    return app


class Plain:
    """An application of WSGI's own words, whose body is a generator that notes when it was closed, and where."""

    def __init__(self, provider: FakeProvider) -> None:
        self.client = provider.client()
        self.closed: list[budget] = []
        self.answered: list[int] = []

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] == "/dear":
            ask(self.client, **DEAR)
        return self.body(environ, start_response)

    def body(self, environ: dict[str, Any], start_response: Any) -> Iterator[bytes]:
        """Begins the response with its first piece, as the protocol allows."""
        try:
            if environ["PATH_INFO"] == "/stream/dear":
                ask(self.client, **DEAR)
            ask(self.client)
            start_response("200 OK", [("content-type", "text/plain")])
            yield b"one "
            ask(self.client)
            yield b"two"
        finally:
            self.closed.append(scope())
