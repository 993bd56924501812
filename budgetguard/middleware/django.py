"""
A scope for each request of a Django project, sync and async.

It begins with the view, when all middleware has seen the request and `request.user` is known, and lasts over the body.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from itertools import chain
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.conf import settings  # type: ignore[import-untyped]
from django.http import HttpResponse  # type: ignore[import-untyped]

from ..errors import ConfigError
from ..scopes.context import budget
from ..scopes.decorators import scoped_async_generator, scoped_generator
from .web.answers import STATUS, answer_to, refusal_in
from .web.options import ScopeOptions
from .web.visits import Visit


class DjangoMiddleware:
    """
    `MIDDLEWARE = ["budgetguard.middleware.django.BudgetMiddleware", ...]`, the first of them.

    The setting `BUDGETGUARD = {"user": ..., "limit": 0.10, "tags": ...}` has values, or plain functions of the request
    that may use the database; `wait` and `enforce` are as in `budget`. Without a `user`, it is the key of
    `request.user`, if somebody is logged in.

    A refusal is answered with a 402, unless a `process_exception` of the application's own has answered. The first
    piece of a streamed body is made before the response begins, so that it may be refused. Raises `ConfigError` for a
    setting that cannot be used.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response
        self._options = _options()
        self._awaits = iscoroutinefunction(get_response)
        if self._awaits:
            markcoroutinefunction(self)

    def __call__(self, request: Any) -> Any:
        """The response, or where Django awaits it a coroutine of it."""
        if self._awaits:
            return self._awaited(request)
        visit = request.budgetguard = Visit()
        with visit.inside():
            response = self.get_response(request)
            visit.end()
        if visit.scope is None or not response.streaming:
            return response
        if response.is_async:  # its pieces belong to an event loop that there is not yet
            response.streaming_content = _async_pieces(response, visit.scope)
            return response
        pieces = _pieces(response, visit.scope)
        try:
            response.streaming_content = chain([next(pieces, b"")], pieces)
        except Exception as error:
            return self._refused(request, error)
        return response

    async def _awaited(self, request: Any) -> Any:
        visit = request.budgetguard = Visit()
        with visit.inside():
            response = await self.get_response(request)
            visit.end()
        if visit.scope is None or not response.streaming:
            return response
        try:
            if response.is_async:
                more = _async_pieces(response, visit.scope)
                response.streaming_content = _after(await anext(more, b""), more)
            else:
                pieces = _pieces(response, visit.scope)
                first = await sync_to_async(lambda: next(pieces, b""))()
                response.streaming_content = chain([first], pieces)
        except Exception as error:
            return self._refused(request, error)
        return response

    def process_view(self, request: Any, view: Any, _args: Any, _kwargs: Any) -> None:
        """Begin the scope; Django runs this in a thread where it must not block."""
        request.budgetguard.begin(self._options.made(request), view.__module__)

    def process_exception(self, request: Any, error: Exception) -> HttpResponse | None:
        """Answer a refusal that the view did not."""
        refusal = refusal_in(error, request.budgetguard.module)
        if refusal is None:
            return None
        answer = answer_to(refusal)
        return HttpResponse(answer.body, status=STATUS, headers=dict(answer.headers))

    def _refused(self, request: Any, error: Exception) -> HttpResponse:
        """The response to an error of a body that has not begun."""
        answer = self.process_exception(request, error)
        if answer is None:
            raise error
        return answer


BudgetMiddleware = DjangoMiddleware
"""The same name for every kind of application."""


def _options() -> ScopeOptions:
    given = getattr(settings, "BUDGETGUARD", {})
    unknown = sorted(set(given) - {"user", "limit", "tags", "wait", "enforce"})
    if unknown:
        raise ConfigError(f"BUDGETGUARD[{unknown[0]!r}]: there are 'user', 'limit', 'tags', 'wait' and 'enforce'")
    return ScopeOptions(**({"user": _logged_in} | given))


def _logged_in(request: Any) -> str | None:
    user: Any = getattr(request, "user", None)
    return str(user.pk) if getattr(user, "is_authenticated", False) else None


def _pieces(response: Any, scope: budget) -> Any:
    """A body's pieces, each made inside of the scope."""
    content = response.streaming_content

    def pieces() -> Any:
        yield from content

    return scoped_generator(pieces, lambda _args, _kwargs: scope)()


def _async_pieces(response: Any, scope: budget) -> Any:
    content = response.streaming_content

    async def pieces() -> Any:
        async for piece in content:
            yield piece

    return scoped_async_generator(pieces, lambda _args, _kwargs: scope)()


async def _after(first: bytes, more: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for piece in more:
        yield piece
