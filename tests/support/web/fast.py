"""FastAPI applications: one inside of `BudgetMiddleware`, one whose paths depend on `budget_of`, each way to answer."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager
from typing import Annotated, Any

from fastapi import BackgroundTasks, Depends, FastAPI, Header, HTTPException, Request, WebSocket
from fastapi.responses import JSONResponse, StreamingResponse

from budgetguard import BudgetExceededError, budget
from budgetguard.middleware import BudgetMiddleware
from budgetguard.middleware.fastapi import budget_of
from budgetguard.testing import FakeProvider

from .calls import DEAR, aask, apieces, ask, pieces, scope


class Clients:
    """Of the provider, and what the application lets a test know."""

    def __init__(self, provider: FakeProvider) -> None:
        self.sync = provider.client()
        self.awaited: Any = None
        self.gone = threading.Event()
        """Set when the body of `/endless` is left."""
        self.later: list[Any] = []
        """What background tasks have seen."""
        self.done = threading.Event()
        self._provider = provider

    @asynccontextmanager
    async def lifespan(self, _app: Any) -> AsyncIterator[None]:
        """As the server's: the async client lives on its event loop."""
        async with self._provider.async_client() as self.awaited:
            yield
        self.sync.close()


class OwnError(Exception):
    """What an agent framework makes of a refusal: of no kind that anybody has a handler for."""


def with_middleware(clients: Clients) -> FastAPI:
    """`user` is a header, that an async function reads; each path calls a model in its own way."""
    app = FastAPI(lifespan=clients.lifespan)

    @app.middleware("http")
    async def another(request: Request, call_next: Any) -> Any:
        return await call_next(request)

    async def who(request: Request) -> str | None:
        await asyncio.sleep(0)
        return request.headers.get("x-user")

    app.add_middleware(BudgetMiddleware, user=who, limit=0.1, tags=lambda request: {"path": request.url.path})
    _plain(app, clients)
    _streams(app, clients)
    _refusals(app, clients)

    @app.websocket("/socket")
    async def socket(connection: WebSocket) -> None:
        await connection.accept()
        async for text in connection.iter_text():
            await aask(clients.awaited, **(DEAR if text == "dear" else {}))
            await connection.send_json({"user": scope()._tags["user"], "spent": scope().spent.nano})

    return app


def _plain(app: FastAPI, clients: Clients) -> None:
    @app.get("/sync")
    def sync() -> dict[str, Any]:
        ask(clients.sync)
        return {"spent": scope().spent.nano, "thread": threading.current_thread().name}

    @app.get("/async")
    async def awaited() -> dict[str, Any]:
        await asyncio.gather(aask(clients.awaited), aask(clients.awaited))
        return {"spent": scope().spent.nano}

    @app.get("/background")
    def background(tasks: BackgroundTasks) -> dict[str, Any]:
        tasks.add_task(later)
        return {"spent": scope().spent.nano}

    def later() -> None:
        ask(clients.sync)
        clients.later.append(scope().spent.nano)
        clients.done.set()


def _streams(app: FastAPI, clients: Clients) -> None:
    @app.get("/stream")
    def stream() -> StreamingResponse:
        return StreamingResponse(pieces(clients.sync))

    @app.get("/astream")
    async def astream() -> StreamingResponse:
        return StreamingResponse(apieces(clients.awaited))

    @app.get("/stream/late")
    async def late() -> StreamingResponse:
        return StreamingResponse(_late(clients))

    @app.get("/stream/dear")
    async def dear() -> StreamingResponse:
        return StreamingResponse(apieces(clients.awaited, **DEAR))

    @app.get("/endless")
    async def endless() -> StreamingResponse:
        return StreamingResponse(_endless(clients))


async def _late(clients: Clients) -> AsyncIterator[str]:
    yield "begun"
    await aask(clients.awaited, **DEAR)


async def _endless(clients: Clients) -> AsyncIterator[str]:
    try:
        while True:
            async with aclosing(apieces(clients.awaited)) as some:
                async for piece in some:
                    yield piece * 1000
    finally:
        clients.gone.set()


def _refusals(app: FastAPI, clients: Clients) -> None:
    @app.get("/dear")
    def dear() -> str:
        return ask(clients.sync, **DEAR)

    @app.get("/wrapped")
    async def wrapped() -> str:
        try:
            return await aask(clients.awaited, **DEAR)
        except BudgetExceededError as refusal:
            raise OwnError("a tool failed") from refusal

    @app.get("/translated")
    async def translated() -> str:
        try:
            return await aask(clients.awaited, **DEAR)
        except BudgetExceededError:
            raise HTTPException(418, "sorry") from None

    @app.get("/handled")
    async def handled() -> str:
        try:
            return await aask(clients.awaited, **DEAR)
        except BudgetExceededError:
            return "something cheaper"

    @app.get("/crash")
    def crash() -> None:
        raise ZeroDivisionError


def user_of(x_user: Annotated[str, Header()]) -> str:
    """A dependency of the application's own, that knows who asks."""
    return x_user


Scoped = Annotated[budget, Depends(budget_of(user=Depends(user_of), limit=0.1))]


def with_dependencies(clients: Clients) -> FastAPI:
    """The scope is a dependency, whose user is another's."""
    app = FastAPI(lifespan=clients.lifespan)

    @app.get("/sync")
    def sync(b: Scoped) -> dict[str, Any]:
        ask(clients.sync)
        return {"spent": b.spent.nano, "same": b is scope()}

    @app.get("/async")
    async def awaited(b: Scoped) -> dict[str, Any]:
        await aask(clients.awaited)
        return {"spent": b.spent.nano, "same": b is scope()}

    @app.get("/stream")
    def stream(b: Scoped) -> StreamingResponse:
        return StreamingResponse(_told(pieces(clients.sync), b))

    @app.get("/background")
    def background(b: Scoped, tasks: BackgroundTasks) -> dict[str, Any]:
        tasks.add_task(later)
        return {"spent": b.spent.nano}

    def later() -> None:
        ask(clients.sync)
        clients.later.append(scope().spent.nano)
        clients.done.set()

    @app.get("/outside")
    async def outside() -> dict[str, Any]:
        return {"ids": "none"}

    _refusals_inside(app, clients)
    return app


def _refusals_inside(app: FastAPI, clients: Clients) -> None:
    inside = [Depends(budget_of(user=lambda request: request.headers["x-user"]))]

    @app.get("/dear", dependencies=inside)
    def dear() -> str:
        return ask(clients.sync, **DEAR)

    @app.get("/dear/grouped", dependencies=inside)
    async def grouped() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(aask(clients.awaited, **DEAR))

    @app.get("/translated", dependencies=inside)
    async def translated() -> str:
        try:
            return await aask(clients.awaited, **DEAR)
        except BudgetExceededError:
            raise HTTPException(418, "sorry") from None


def _told(made: Iterator[str], b: budget) -> Iterator[str]:
    yield from made
    yield f" {b.spent.nano}"


def with_own_answers(clients: Clients, *, ours: bool) -> FastAPI:
    """It answers refusals by itself: inside `BudgetMiddleware`, or scopes of its own making."""
    app = FastAPI(lifespan=clients.lifespan)

    @app.exception_handler(BudgetExceededError)
    async def sorry(_request: Request, _refusal: BudgetExceededError) -> JSONResponse:
        return JSONResponse({"sorry": "no budget"}, 402)

    if ours:
        app.add_middleware(BudgetMiddleware, limit=0.001)
    else:

        @app.middleware("http")
        async def scopes(request: Request, call_next: Any) -> Any:
            with budget(limit=0.001):
                return await call_next(request)

    @app.get("/dear")
    async def dear() -> str:
        return await aask(clients.awaited, **DEAR)

    @app.get("/dear/depends", dependencies=[Depends(budget_of(limit=0.001))])
    async def depending() -> str:
        return await aask(clients.awaited, **DEAR)

    return app
