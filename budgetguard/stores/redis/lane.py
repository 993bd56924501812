"""
The way of a process to its Redis: steps of several threads share one round trip.

A step that finds nobody on the way goes at once. Where somebody is, steps queue, and go together (`gate.Combiner`): a
server that is woken for each of them spends most of its time on waking up. As only one thread at a time is on the way,
it has connections of its own and needs no pool.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import redis

from ...errors import StoreError
from ..combiner import Combiner, Operation
from .errors import is_a, told
from .link import Clients, RedisLink, confirmation, require_replicas
from .scripts import RESERVE, script
from .server import IDENTITY, Identity, RedisServer, ask, identity_of

IDLE_S = 0.5
"""A connection that was idle for so long may have been closed by the server, which has to be looked for."""


class Elsewhere(StoreError):
    """A connection leads to another server than was recognized: nothing was done."""


class Wire:
    """One connection, which is made when it is needed, and used only with the server that was recognized."""

    def __init__(self, pool: Any, link: RedisLink, server: RedisServer) -> None:
        self._pool = pool
        self._link = link
        self._server = server
        self._connection: Any = None
        self._leads_to: Identity | None = None
        self._used_s = 0.0
        self._turned_away = 0

    def exchange(self, commands: Sequence[tuple[Any, ...]]) -> list[Any]:
        """Send commands and read their answers; an answer may be an error. Raises what the driver raises."""
        now_s = time.monotonic()
        try:
            if self._connection is not None and self._is_left(now_s):
                self.close()
            connection = self._connection or self._connect()
            self._used_s = now_s
            said = b"".join([part for command in commands for part in connection.pack_command(*command)])
            connection.send_packed_command([said], check_health=False)
            return [_answer(connection) for _ in commands]
        except BaseException:  # what is still on its way would be taken for the next answer
            self.close()
            raise

    def close(self) -> None:
        """Close it; the next use opens another."""
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def _is_left(self, now_s: float) -> bool:
        """Whether the connection is of no use any more: it is not the way to the server, or that said goodbye."""
        if self._leads_to != self._server.identity or self._turned_away != self._link.turned_away:
            return True
        return now_s - self._used_s > IDLE_S and _has_ended(self._connection)

    def _connect(self) -> Any:
        """A new connection; it may lead to a server that was promoted, which has to be told something first."""
        self._turned_away = self._link.turned_away
        connection = self._connection = self._pool.connection_class(**self._pool.connection_kwargs)
        connection.connect()
        self._leads_to = identity_of(ask(partial(_execute, connection), *IDENTITY))
        if self._leads_to != self._server.identity:
            self._link.leave()
            self._link.doubtful = True
            raise Elsewhere(f"{self._link.name}: another server answers than before: try again")
        return connection


def _has_ended(connection: Any) -> bool:
    """Whether the server has closed a connection on which it is not asked anything."""
    try:
        return bool(connection.can_read(0))
    except (redis.RedisError, OSError):
        return True


def _execute(connection: Any, *command: str) -> Any:
    connection.send_packed_command(connection.pack_command(*command), check_health=False)
    return connection.read_response()


def _answer(connection: Any) -> Any:
    try:
        return connection.read_response()
    except redis.ResponseError as error:
        return error


def _is_away(answer: Any) -> bool:
    return isinstance(answer, redis.RedisError) and told(answer)[1]


class Lane:
    """Runs the steps of calls on two connections of its own: on one, an answer is waited for longer."""

    def __init__(
        self, clients: Clients, link: RedisLink, server: RedisServer, prefix: bytes, waits_s: tuple[float, float]
    ) -> None:
        self._link = link
        self._prefix = prefix
        self._replicas = clients.replicas
        self._waits_s = waits_s
        self._quick = Wire(clients.reserve.connection_pool, link, server)
        self._patient = Wire(clients.settle.connection_pool, link, server)
        late = f"{link.name} did not answer within {{seconds}}"
        self._combiner = Combiner(self, self._run, busy=late, slow=f"{late}; it may still do it, or not")

    def step(self, name: str, args: Sequence[Any], timeout_s: float) -> Any:
        """The answer to a script; raises `StoreError`, and `Elsewhere` if the server has to be recognized first."""
        return self._combiner.submit(script, (name, args), durable=False, timeout_s=timeout_s)

    def close(self, timeout_s: float) -> None:
        """Close the connections; the next step opens others."""
        self._combiner.drain(timeout_s)

    # What the combiner asks of a gate: no other process has to be waited for.

    def try_enter(self) -> bool:
        """Whether the way is free: it is."""
        return True

    def enter(self) -> None:
        """Wait until the way is free: it is."""

    def leave(self) -> None:
        """Let the next one pass."""

    def drop(self) -> None:
        """Close the connections, while nobody is on the way."""
        self._quick.close()
        self._patient.close()

    def _run(self, batch: list[Operation]) -> None:
        """Run what was queued; every operation gets its answer or its error."""
        wire = self._quick
        for operation in batch:
            if operation.args[0] != RESERVE:
                wire = self._patient
        try:
            answers = self._link.attempt(self._exchange, wire, batch)
        except StoreError as error:
            for operation in batch:
                operation.error = error
            return
        # They were answered together, and say the same of the server.
        self._link.answered(next(filter(_is_away, answers), None))
        for operation, answer in zip(batch, answers, strict=True):
            if isinstance(answer, redis.RedisError):
                operation.error = self._link.failure(answer)
            else:
                operation.result = answer

    def _exchange(self, wire: Wire, batch: list[Operation]) -> list[Any]:
        prefix = self._prefix
        calls = [operation.args for operation in batch]
        answers = wire.exchange([("EVALSHA", script(name).digest, 1, prefix, *args) for name, args in calls])
        for place, answer in enumerate(answers):
            if is_a(answer, "NoScriptError"):
                name, args = calls[place]
                answers[place] = wire.exchange([("EVAL", script(name).text, 1, prefix, *args)])[0]
        if self._replicas:
            waits_s = self._waits_s[wire is self._patient]
            acknowledged = wire.exchange(confirmation(prefix, self._replicas, waits_s))[1]
            require_replicas(self._link.name, acknowledged, self._replicas)
        return answers
