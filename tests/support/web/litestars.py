"""A Litestar application inside of `BudgetMiddleware`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

from litestar import Litestar, Request, Response, get
from litestar.middleware import DefineMiddleware
from litestar.response import Stream

from budgetguard import BudgetExceededError
from budgetguard.middleware import BudgetMiddleware
from budgetguard.testing import FakeProvider

from .calls import DEAR, aask, ask, pieces, scope


def with_middleware(provider: FakeProvider) -> Litestar:
    """Litestar makes a 500 of what nobody handles, inside of all middleware."""
    client = provider.client()

    @get("/sync", sync_to_thread=True)
    def sync() -> dict[str, int]:
        ask(client)
        return {"spent": scope().spent.nano}

    @get("/stream", sync_to_thread=True)
    def stream() -> Stream:
        return Stream(pieces(client))

    @get("/dear", sync_to_thread=True)
    def dear() -> str:
        return ask(client, **DEAR)

    @get("/dear/grouped")
    async def grouped() -> None:
        async with provider.async_client() as ours, asyncio.TaskGroup() as group:
            group.create_task(aask(ours, **DEAR))

    @get("/own", sync_to_thread=True, exception_handlers={BudgetExceededError: sorry})
    def own() -> str:
        return ask(client, **DEAR)

    @get("/crash", sync_to_thread=True)
    def crash() -> None:
        with suppress(BudgetExceededError):
            ask(client, **DEAR)
        raise ZeroDivisionError

    ours = DefineMiddleware(BudgetMiddleware, user=lambda request: request.headers.get("x-user"), limit=0.1)
    return Litestar([sync, stream, dear, grouped, own, crash], middleware=[ours], openapi_config=None)


def sorry(_request: Request[Any, Any, Any], _refusal: BudgetExceededError) -> Response[Any]:
    """The application's own answer."""
    return Response({"sorry": "no budget"}, status_code=402)
