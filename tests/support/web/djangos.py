"""A Django project, in one file: its views, its middleware, and how each of its handlers is configured."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from typing import Any

import django
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse
from django.test import override_settings
from django.urls import path
from django.utils.asyncio import async_unsafe
from django.utils.functional import SimpleLazyObject

from budgetguard import BudgetExceededError, budget

from .calls import DEAR, aask, ask, pieces, scope

BUDGET = "budgetguard.middleware.django.BudgetMiddleware"
HERE = __name__

if not settings.configured:
    settings.configure(SECRET_KEY="none", ALLOWED_HOSTS=["*"], ROOT_URLCONF=HERE, LOGGING_CONFIG=None)
    django.setup()


class Project:
    """What the views use, and what they let a test know."""

    provider: Any = None
    client: Any = None
    gone = threading.Event()


def handler(kind: type[WSGIHandler] | type[ASGIHandler], *middleware: str, **setting: Any) -> Any:
    """The project as a server runs it."""
    with override_settings(MIDDLEWARE=list(middleware), **setting):
        return kind()


class LoggedIn:
    """As Django's own who logs in: its pk is the user."""

    is_authenticated = True

    def __init__(self, name: str) -> None:
        self.pk = name


@async_unsafe("a user is read from the database")
def find_user(request: HttpRequest) -> Any:
    """As Django's own, which asks a database: not on an event loop."""
    name = request.headers.get("x-user")
    return LoggedIn(name) if name else None


def authenticate(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """As Django's `AuthenticationMiddleware`: who asks is found when somebody wants to know."""

    def middleware(request: Any) -> Any:
        request.user = SimpleLazyObject(lambda: find_user(request))
        return get_response(request)

    return middleware


def scopes(get_response: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The middleware that everybody writes."""

    def middleware(request: Any) -> Any:
        with budget(limit=0.001):
            return get_response(request)

    return middleware


class Sorry:
    """The project's own answer to refusals."""

    def __init__(self, get_response: Callable[[Any], Any]) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self.get_response(request)

    def process_exception(self, _request: Any, error: Exception) -> HttpResponse | None:
        return JsonResponse({"sorry": "no budget"}, status=402) if isinstance(error, BudgetExceededError) else None


def sync(_request: Any) -> HttpResponse:
    ask(Project.client)
    return JsonResponse({"spent": scope().spent.nano})


async def awaited(_request: Any) -> HttpResponse:
    async with Project.provider.async_client() as client:
        await asyncio.gather(aask(client), aask(client))
    return JsonResponse({"spent": scope().spent.nano})


def dear(_request: Any) -> HttpResponse:
    return HttpResponse(ask(Project.client, **DEAR))


async def awaited_dear(_request: Any) -> HttpResponse:
    async with Project.provider.async_client() as client:
        return HttpResponse(await aask(client, **DEAR))


def crash(_request: Any) -> HttpResponse:
    raise ZeroDivisionError


def stream(_request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(pieces(Project.client))


def stream_dear(_request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(pieces(Project.client, **DEAR))


async def async_stream(_request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(_pieces())


async def async_stream_dear(_request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(_pieces(**DEAR))


async def _pieces(**more: Any) -> AsyncIterator[str]:
    async with Project.provider.async_client() as client:
        for _ in range(2):
            yield await aask(client, **more)


def endless(_request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(_endless())


def _endless() -> Iterator[str]:
    try:
        while True:
            with closing(pieces(Project.client)) as some:
                for piece in some:
                    yield piece * 10_000
    finally:
        Project.gone.set()


async def async_endless(_request: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse(_async_endless())


async def _async_endless() -> AsyncIterator[str]:
    try:
        async with Project.provider.async_client() as client:
            while True:
                yield await aask(client) * 1000
    finally:
        Project.gone.set()


urlpatterns = [
    path("sync", sync),
    path("async", awaited),
    path("dear", dear),
    path("async/dear", awaited_dear),
    path("crash", crash),
    path("stream", stream),
    path("stream/dear", stream_dear),
    path("async/stream", async_stream),
    path("async/stream/dear", async_stream_dear),
    path("endless", endless),
    path("async/endless", async_endless),
]
