"""
How an endpoint is served, the same for all of them: who asks, where its handler runs, what goes back.

A store that waits for a disk or a network is asked in a thread; one in memory at once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any, TypeAlias, TypeVar
from weakref import WeakKeyDictionary

import msgspec

from ...concurrency.loops import ask, can_ask
from ...errors import (
    AmountError,
    BudgetGuardError,
    ConfigError,
    ContendedError,
    StoreError,
    UnknownUserError,
)
from ...stores.http import rows
from ..keys import ADMIN, KNOWN, Caller, Keys
from ..metrics import Metrics
from ..problems import INVALID, NOT_FOUND, ErrorOut, Problem, Refused, busy
from ..projects import Project, Projects
from .access.audit import handled
from .action import Action, Ask, Raw
from .batches import Batches, LedgerStep, asked_of
from .requests import field_of, name_in_path, project_named, read_body, read_query

ASGI: TypeAlias = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]
T = TypeVar("T")

log = logging.getLogger("budgetguard.server")

MOST_BYTES_AT_ONCE = 65_536
"""A longer body is read in a thread: all requests would wait for it, and some of them not long."""

_JSON = (b"content-type", b"application/json")


class Runner:
    """Where handlers run: in a few threads, or at once; and the lines in front of the projects' stores."""

    def __init__(self, threads: int, most_waiting: int, lines_at_once: int, reserve_s: float) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="budgetguard-server")
        self._lines = ThreadPoolExecutor(threads, thread_name_prefix="budgetguard-line")
        self._lines_at_once = lines_at_once
        self._reserve_s = reserve_s
        self._most = most_waiting
        self._waiting = 0
        self._line_of: WeakKeyDictionary[Project, Batches] = WeakKeyDictionary()

    async def run(self, work: Callable[..., T], *args: Any, blocking: bool) -> T:
        """The result of `work(*args)`; raises `Refused` (503) when too many wait already."""
        if not blocking:
            return work(*args)
        with self._place():
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *args)

    async def do(self, project: Project, operation: LedgerStep) -> Any:
        """What the project's store, which blocks, answers to an operation; raises `Refused` (503) as `run` does."""
        asked = asked_of(project.store, operation)
        if not can_ask(asked):
            return await self._line(project).do(operation)
        with self._place():
            return await ask(asyncio.get_running_loop(), asked)

    @contextmanager
    def _place(self) -> Iterator[None]:
        """A place among those that wait."""
        if self._waiting >= self._most:
            raise busy("too many requests wait for the store")
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    def _line(self, project: Project) -> Batches:
        """The line in front of a project's store; raises `Refused` (503) when it is too long."""
        found = self._line_of.get(project)
        if found is None:
            found = Batches(project.store, self._lines, self._lines_at_once, reserve_s=self._reserve_s)
            self._line_of[project] = found
        if len(found) >= self._most:
            raise busy("too many requests wait for the store")
        return found

    def close(self) -> None:
        """Wait for what is under way."""
        self._threads.shutdown()
        self._lines.shutdown()


class Served:
    """An endpoint as an ASGI application."""

    def __init__(
        self,
        endpoint: Action,
        projects: Projects,
        keys: Keys,
        runner: Runner,
        metrics: Metrics,
        *,
        told: Callable[[Refused], Refused] = lambda refused: refused,
    ) -> None:
        self._endpoint = endpoint
        self._told = told
        self._projects = projects
        self._keys = keys
        self._runner = runner
        self._metrics = metrics
        self._decoder = None if endpoint.body is None else msgspec.json.Decoder(endpoint.body)
        self._encoder = msgspec.json.Encoder()

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        """Answer one request; nothing is raised."""
        with ExitStack() as used:
            await self._serve(scope, receive, send, used)

    async def _serve(self, scope: MutableMapping[str, Any], receive: Any, send: Any, used: ExitStack) -> None:
        begin = time.perf_counter()
        caller: Caller | None = None
        try:
            caller = self._keys.known(scope)
            if caller is None:
                caller = await ask_store(self._keys, self._projects, self._runner, scope)
            scope[KNOWN] = True
            answer = await self._answer(scope, receive, caller, used)
            status = self._endpoint.status
        except Exception as error:
            answer = self._told(error if isinstance(error, Refused) else problem_of(error, scope))
            status = answer.status
        if isinstance(answer, Raw):
            await self._send_raw(send, answer)
        elif isinstance(answer, Refused):
            await send_refused(send, answer)
        else:
            await send_json(send, status, self._encode(answer))
        seconds = time.perf_counter() - begin
        self._metrics.served(self._endpoint.path, status, seconds)
        level = logging.DEBUG if status < 400 else logging.INFO
        if log.isEnabledFor(level):
            log.log(
                level,
                "request",
                extra={
                    "method": self._endpoint.method,
                    "path": self._endpoint.path,
                    "status": status,
                    "ms": round(seconds * 1000, 2),
                    "project": None if caller is None else caller.project,
                    "key": None if caller is None else caller.prefix,
                    "request_id": scope.get("budgetguard.request_id"),
                },
            )

    async def _answer(self, scope: MutableMapping[str, Any], receive: Any, caller: Caller, used: ExitStack) -> Any:
        endpoint = self._endpoint
        if caller.scope not in endpoint.scopes and caller.scope != ADMIN:
            raise Refused(
                403,
                f"this key is for {caller.scope} only; {endpoint.path} needs one for "
                f"{' or '.join(sorted(endpoint.scopes | {ADMIN}))}",
                "permission_error",
            )
        raw = await read_body(scope, receive, endpoint.most_bytes)
        at_once = len(raw) <= MOST_BYTES_AT_ONCE or self._decoder is None
        body = await self._runner.run(self._decode, raw, blocking=not at_once)
        named = body.project_name if endpoint.project_in_body else project_named(scope)
        project = used.enter_context(self._projects.using(caller, named, any_will_do=endpoint.any_project))
        ask = Ask(project, caller, body)
        ask.address = (scope.get("client") or ("",))[0]
        if endpoint.query is not None:
            ask.query = read_query(scope, endpoint.query)
        if endpoint.names_something:
            ask.rest = name_in_path(scope, endpoint.path)
        return await self._run(ask)

    async def _run(self, ask: Ask) -> Any:
        endpoint, project, blocking = self._endpoint, ask.project, self._projects.blocking
        if not (project.noted or endpoint.any_project):
            await self._runner.run(self._projects.note, project, blocking=blocking)
        if endpoint.finish is None:
            return await self._runner.run(handled, endpoint.handler, ask, blocking=endpoint.slow or blocking)
        operation = endpoint.handler(ask)
        if not blocking:
            return endpoint.finish(ask, operation, asked_of(project.store, operation)())
        return endpoint.finish(ask, operation, await self._runner.do(project, operation))

    def _decode(self, raw: bytes) -> Any:
        if self._decoder is None:
            return None
        if not raw and self._endpoint.body is dict:  # all of its fields may be left out, and so the body
            return {}
        try:
            if rows.has_marks(raw):
                return msgspec.convert(rows.unescaped(msgspec.json.decode(raw)), self._endpoint.body)
            return self._decoder.decode(raw)
        except msgspec.ValidationError as error:
            raise Refused(422, str(error), param=field_of(error)) from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Refused(400, f"the body is no JSON that can be read: {error}") from None

    def _encode(self, answer: Any) -> bytes:
        try:
            made = self._encoder.encode(answer)
        except UnicodeEncodeError:
            made = b""
        if made and not rows.has_marks(made):
            return made
        return self._encoder.encode(rows.escaped(msgspec.to_builtins(answer)))

    async def _send_raw(self, send: Any, raw: Raw) -> None:
        kind, content = (b"content-type", raw.content_type.encode()), raw.content
        if isinstance(content, bytes):
            await send_bytes(send, 200, content, (kind, *raw.headers))
            return
        await send({"type": "http.response.start", "status": 200, "headers": [kind, *raw.headers]})
        while True:
            try:
                piece = await self._runner.run(next, content, b"", blocking=True)
            except Exception:
                log.exception("an answer was broken off", extra={"path": self._endpoint.path})
                raise  # the connection is closed without an end, so that nobody takes it for the whole
            await send({"type": "http.response.body", "body": piece, "more_body": bool(piece)})
            if not piece:
                return


async def ask_store(keys: Keys, projects: Projects, runner: Runner, scope: Mapping[str, Any]) -> Caller:
    """Who asks, by the store; raises `Refused` for one who may not."""
    return await runner.run(keys.find, scope, blocking=projects.blocking)


async def send_json(send: Any, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...] = ()) -> None:
    """JSON in one piece."""
    await send_bytes(send, status, body, (_JSON, *headers))


async def send_bytes(send: Any, status: int, body: bytes, headers: tuple[tuple[bytes, bytes], ...]) -> None:
    """An answer in one piece."""
    length = (b"content-length", b"%d" % len(body))
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


async def send_refused(send: Any, refused: Refused) -> None:
    """An error, shaped as OpenAI's."""
    problem = Problem(refused.message, refused.kind, refused.param, refused.code)
    body = msgspec.json.encode(rows.escaped(msgspec.to_builtins(ErrorOut(problem))))
    await send_json(send, refused.status, body, refused.headers)


def problem_of(error: Exception, scope: Mapping[str, Any]) -> Refused:
    """What a client is told of an error; what it cannot know is in the log, with the request's id."""
    if isinstance(error, BudgetGuardError) and (isinstance(error, AmountError) or not isinstance(error, StoreError)):
        return _refused(error)
    request_id = scope.get("budgetguard.request_id")
    if isinstance(error, StoreError):
        log.error("store", extra={"problem": str(error), "request_id": request_id})
        told = "the store behind this server cannot do it now; the server's log says why, by the x-request-id"
        return Refused(503, told, "store_error", code="store_unavailable")
    log.error("unexpected", exc_info=error, extra={"request_id": request_id})
    return Refused(500, "something went wrong in the server; its log says what", "server_error")


def _refused(error: BudgetGuardError) -> Refused:
    """What is the client's to mend."""
    if isinstance(error, UnknownUserError):
        return Refused(404, f"user {error.user!r} has no budget", code=NOT_FOUND, param="user")
    if isinstance(error, AmountError):
        told = "an amount cannot be booked: its budget has taken all that it can count"
        return Refused(422, told, "store_error", code="absurd_amount")
    if isinstance(error, ContendedError):
        return Refused(409, str(error), code="busy")
    return Refused(400, str(error), "config_error" if isinstance(error, ConfigError) else INVALID)
