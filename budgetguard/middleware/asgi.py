"""
A scope for each request and each WebSocket of an ASGI application: FastAPI, Starlette, Litestar, or none of them.

An application's coroutine ends when its last byte is sent and its background tasks are done, so the scope around it is
that of all of them. Tasks and the threads of sync views have a copy of its context, and with it the scope.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from ..errors import BudgetExceededError, find_budget_error
from ..ledger import Enforce
from ..scopes.context import budget
from ..scopes.refusals import ANSWERING, caught_by
from .web.answers import STATUS, answer_to, unanswered
from .web.connection import request_maker
from .web.options import LimitOption, ScopeOptions, TagsOption, UserOption, say_lost

Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Any, Any, Any], Awaitable[None]]

POLICY_VIOLATION = 1008


class BudgetMiddleware:
    """
    `app.add_middleware(BudgetMiddleware, user=lambda request: ..., limit=0.10, tags={"feature": "chat"})`.

    `user`, `limit` (dollars a request) and `tags` are values, or functions of the request, plain or async; `wait` and
    `enforce` are as in `budget`. A request is Starlette's, where that is installed, without its body; else it has
    `scope`, `headers`, `path` and `method`. A user may be a number or a UUID.

    A refusal that the application did not answer becomes a 402, also where a framework made a 500 of it: the start of
    a response waits for its first piece. Later there is no way to say it but to break off. Raises `ConfigError` for
    values that `budget` refuses.
    """

    def __init__(
        self,
        app: Application,
        *,
        user: UserOption = None,
        limit: LimitOption = None,
        tags: TagsOption = None,
        wait: float = 0.0,
        enforce: Enforce = "hard",
    ) -> None:
        self.app = app
        self._options = ScopeOptions(user, limit, tags, wait, enforce)
        self._request = request_maker() if self._options.asks else _nothing

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        """Run the application for a request, a WebSocket, or the server's life, which has no scope."""
        if scope["type"] not in {"http", "websocket"}:
            await self.app(scope, receive, send)
            return
        made = await self._options.awaited(self._request(scope))
        async with made:
            reply = _AsgiReply(send, made, scope["type"])
            try:
                await self.app(scope, receive, reply.send)
                await reply.flush()
            except Exception as error:
                if not await reply.refuse(find_budget_error(error)):
                    raise
            else:
                say_lost(made, getattr(scope.get("endpoint"), "__module__", None))


class _AsgiReply:
    """What goes out to one client; the start of a response waits until its first piece is there."""

    def __init__(self, send: Send, made: budget, kind: str) -> None:
        self._out = send
        self._made = made
        self._kind = kind
        self._start: Message | None = None
        self._ended = False
        """Whether it is too late to refuse: a response has begun, a WebSocket was closed."""
        self._known: BudgetExceededError | None = None
        """The refusal that there had been when the response began, which then is the answer to it."""
        self._refused = False

    async def send(self, message: Message) -> None:
        """As the server's own."""
        if self._refused:
            return  # the rest of the response in whose place the refusal went out
        if message["type"] == "http.response.start":
            if message["status"] != 500 or not await self.refuse(unanswered(self._made)):
                self._start = message
            return
        if await self._is_torn(message):
            return
        await self.flush()
        self._ended = self._kind == "http" or message["type"] == "websocket.close"
        await self._out(message)

    async def _is_torn(self, message: Message) -> bool:
        """
        Whether this would be the end of a body that a refusal broke off; if nothing of it is out, that is answered.

        Starlette's `BaseHTTPMiddleware` ends such a body as if it were whole, and raises the error after that.
        """
        refusal = self._made.refusal
        if message["type"] != "http.response.body" or message.get("body") or message.get("more_body"):
            return False
        if refusal is None or refusal is self._known or caught_by(refusal) not in ANSWERING:
            return False
        if self._start is not None and self._start["status"] < 400:
            await self.refuse(refusal)
        return self._start is None

    async def flush(self) -> None:
        """Send the start that waits."""
        if self._start is not None:
            start, self._start, self._ended = self._start, None, True
            self._known = self._made.refusal
            await self._out(start)

    async def refuse(self, refusal: BudgetExceededError | None) -> bool:
        """Answer with a refusal; whether it was answered: `False` if there is none, or the response has begun."""
        if refusal is None or self._refused or self._ended:
            return self._refused
        self._refused, self._start = True, None
        if self._kind == "websocket":
            await self._out({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": "budget_exceeded"})
            return True
        answer = answer_to(refusal)
        headers = [(name.encode(), value.encode()) for name, value in answer.headers.items()]
        await self._out({"type": "http.response.start", "status": STATUS, "headers": headers})
        await self._out({"type": "http.response.body", "body": answer.body})
        return True


def _nothing(scope: Any) -> None:
    """The request, where nobody asks for it."""
