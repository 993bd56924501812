"""
A scope for each request of a Flask application.

It begins with the view, when whatever runs before it has found out who asks, and lasts until the response is closed: a
streamed body is made after the view and Flask's own contexts are gone.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import flask

from ..errors import BudgetExceededError, BudgetGuardError, ConfigError
from ..ledger import Enforce
from .web.answers import STATUS, answer_to
from .web.options import LimitOption, ScopeOptions, TagsOption, UserOption
from .web.visits import Visit
from .wsgi import serve

_VISIT = "budgetguard.visit"


class BudgetGuard:
    """
    `BudgetGuard(app, user=lambda: session.get("user"), limit=0.10)`, or `init_app(app)` later.

    `user`, `limit` (dollars a request) and `tags` are values, or plain functions without arguments that are called in
    the request's context, after all `before_request` functions; `wait` and `enforce` are as in `budget`. A refusal is
    answered with a 402, unless the application has an `errorhandler` for `BudgetExceededError`. Raises `ConfigError`
    for values that `budget` refuses.
    """

    def __init__(
        self,
        app: flask.Flask | None = None,
        *,
        user: UserOption = None,
        limit: LimitOption = None,
        tags: TagsOption = None,
        wait: float = 0.0,
        enforce: Enforce = "hard",
    ) -> None:
        self._options = ScopeOptions(user, limit, tags, wait, enforce)
        if app is not None:
            self.init_app(app)

    def init_app(self, app: flask.Flask) -> None:
        """Give every request of an application its scope. Raises `ConfigError` if they have one already."""
        if "budgetguard" in app.extensions:
            raise ConfigError("BudgetGuard: this application has one already: make it once, with all that it is to do")
        app.extensions["budgetguard"] = self
        app.wsgi_app = partial(_serve, app.wsgi_app)  # type: ignore[method-assign]  # as Flask's own pages say
        app.dispatch_request = partial(self._dispatch, app.dispatch_request)  # type: ignore[method-assign]
        app.error_handler_spec[None][None].setdefault(BudgetExceededError, partial(_answer, app))
        flask.got_request_exception.connect(_note, app)

    def _dispatch(self, dispatch_request: Callable[[], Any]) -> Any:
        visit = flask.request.environ.get(_VISIT)
        scope = self._options.made()
        if visit is not None:
            visit.begin(scope, flask.current_app.import_name)
            return dispatch_request()
        with scope:  # a request that no server made: `test_request_context()`
            return dispatch_request()


def _serve(app: Callable[[Any, Any], Any], environ: dict[str, Any], start_response: Any) -> Any:
    visit = environ[_VISIT] = Visit()
    return serve(app, environ, start_response, visit)


def _note(_app: flask.Flask, exception: Exception, **_more: Any) -> None:
    """Take in what Flask answers with a 500: there may be a refusal inside."""
    visit = flask.request.environ.get(_VISIT)
    if visit is not None:
        visit.error = exception


def _answer(app: flask.Flask, refusal: BudgetExceededError) -> Any:
    """The response to a refusal, where the application's own handlers have none."""
    wider = app.error_handler_spec[None][None].get(BudgetGuardError)
    if wider is not None:
        return app.ensure_sync(wider)(refusal)
    answer = answer_to(refusal)
    return flask.Response(answer.body, STATUS, dict(answer.headers))
