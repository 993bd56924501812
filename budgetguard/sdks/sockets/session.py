"""
A session: one socket of a program's, what is said on it, and the turns that are open.

It is found in the `__dict__` of the connection, and gone with that. What the other side begins by itself is booked in
the scope that the socket was opened in; before the next message it is asked whether there is room for more.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import parse_qsl

from ...adapters.gemini.live import find as find_gemini
from ...adapters.openai.sockets import find as find_openai
from ...calls import Answer, News, Opening, Socket
from ...concurrency.interrupts import raise_interruption
from ...concurrency.steps import Steps
from ...guards.background.unasked import book, look
from ...guards.charge import Charge
from ...guards.guard import Guard
from ...guards.parts import Parts
from ...guards.scope import Scope, current
from ...prices.hosts import host_of
from ...process.state import PROCESS
from ..exchange import charging, require_scope_of
from ..hooks import MARK, default_guard, guard_of
from .turns import TalkTurn, drop

log = logging.getLogger("budgetguard")

KEY = "_budgetguard_socket"
"""Where the session of a connection is found in its `__dict__`; `None` there: it is none of ours."""


_KEPT = 64
"""Answers of which it is remembered that they ended: more than a socket has open."""

Run: TypeAlias = tuple[Parts, Steps[None]]
"""Steps to be run, and the parts of the guard that has the shells for it."""


class Opened(NamedTuple):
    """What is known of a socket by whoever opens it."""

    own: tuple[Guard | None] | None
    """The guard of its client, where that is guarded by itself."""
    looked: bool
    """Whether it was asked for room."""


opening: ContextVar[Opened | None] = ContextVar("budgetguard_socket", default=None)
"""While a client opens a socket."""


def session_of(connection: Any) -> Session | None:
    """The session of a connection: a look into its `__dict__`."""
    try:
        found: Session | None = connection.__dict__[KEY]
    except KeyError:
        found = connection.__dict__[KEY] = _found(connection)
    return found


def _found(connection: Any) -> Session | None:
    protocol = connection.protocol
    uri = getattr(protocol, "uri", None) or getattr(protocol, "wsuri", None)  # what a server accepts has none
    if uri is None:
        return None
    socket = socket_at(uri.path)
    return None if socket is None else Session(socket, uri)


def socket_at(path: str) -> Socket | None:
    """What is spoken at a path: `None` for a socket that is no model's."""
    return find_openai(path) or find_gemini(path)


class Session:
    """One socket, seen from the side of the client."""

    def __init__(self, socket: Socket, uri: Any) -> None:
        """`uri`: as `websockets` has parsed it."""
        query = dict(parse_qsl(uri.query))
        self.socket = socket
        self.scope = current.get()
        """The one that it was opened in."""
        self.turns: list[TalkTurn] = []
        self._talk = socket.talk(query)
        self._place = (uri.host, query.get("api-version"), uri.port)
        opened = opening.get()
        if opened is not None and opened.own is not None:
            self.__dict__[MARK] = opened.own
        self._unsure = (socket.alone or socket.endpoint.opaque) and (opened is None or not opened.looked)
        """Whether it is to be asked for room before anything else is sent."""
        self.kept: deque[Any] = deque()
        """Messages that were received, and whose reader was interrupted before it had them: the next one gets them."""
        self._opening = False
        """Whether a turn is being admitted."""
        self._over = False
        self._alone: set[str] = set()
        """The ids of answers that the other side began by itself."""
        self._ended: deque[str] = deque(maxlen=_KEPT)
        """The ids of answers that are on the books: whoever says the end of one again says nothing new."""

    def __del__(self, drop: Callable[[list[TalkTurn]], None] = drop) -> None:  # bound here: the module may be empty
        if self.__dict__.get("turns"):
            drop(self.turns)

    def _scope(self) -> Scope | None:
        return current.get() or self.scope

    def _charge(self, guard: Guard, body: Mapping[str, Any], scope: Scope | None) -> Charge:
        name, version, port = self._place
        model = body.get("model")
        host = host_of(name, version, port, model if isinstance(model, str) else "", azure=False)
        return guard.charge(self.socket.endpoint, body, (), guard.prices.provider(name), scope, host=host)

    # -- out

    def sent(self, message: str | bytes) -> Opening | None:
        """Take in a message that is about to be sent: what it opens, if so."""
        if self.socket.endpoint.opaque:
            return None
        return self._talk.sent(message, not (self.turns or self._opening))

    def doubts(self) -> Run | None:
        """How it is asked whether there is room for more, if that is to be asked now."""
        if not self._unsure:
            return None
        scope = self._scope()
        guard = self._covering(scope, self._talk.asked())
        self._unsure = guard is not None
        return None if guard is None else (guard.parts, self._look(guard, scope))

    def _look(self, guard: Guard, scope: Scope | None) -> Steps[None]:
        yield from look(self._charge(guard, self._talk.asked(), scope))
        self._unsure = False

    def open(self, opened: Opening) -> tuple[TalkTurn, Guard | None]:
        """The turn that a message opens, and who is to admit it: nobody where another call pays for it."""
        scope = self._scope()
        guard = None if self._is_paid(opened) else self._covering(scope, opened.body)
        charge = None if guard is None else self._charge(guard, opened.body, scope)
        turn = TalkTurn(charge, opened.id, self._talk.last, self)
        self._opening = True
        return turn, guard

    def replaced(self, opened: Opening) -> Iterator[Run]:
        """What is to be run before a turn is opened, for the one that it goes on from."""
        if opened.ends is not None:
            yield from self._end(next(iter(self.turns), None), opened.ends)

    def _covering(self, scope: Scope | None, body: Mapping[str, Any]) -> Guard | None:
        """The guard of what is sent in a scope, if some ledger covers that."""
        guard = guard_of(self, scope)
        if guard is not None and guard.covers(scope):
            return guard
        if scope is None and PROCESS.scoped:
            require_scope_of(self._charge(guard or default_guard(), body, None))
        return None

    def _is_paid(self, opened: Opening) -> bool:
        """Whether a call that is on its way has its charge already, by a seam above: it asks for the same model."""
        above = charging.get()
        return above is not None and above.carried is not None and above.body.get("model") == opened.body.get("model")

    def message(self, opened: Opening, turn: TalkTurn) -> str | None:
        """The message as it is to be sent, where its charge amends it; `None`: as it is."""
        charge = turn.charge
        if charge is None:
            return None
        bounds, name = charge.bounds, charge.call.cap
        fields = dict(bounds.more)
        if bounds.cap is not None and name is not None and (bounds.capped or charge.plan.max_output is None):
            fields[name] = bounds.cap
        event = self._talk.amended(opened, fields)
        return None if event is opened.event else json.dumps(event)

    def begin(self, turn: TalkTurn) -> None:
        """A turn's message is about to be sent."""
        turn.begin()
        self.turns.append(turn)
        self._opening = False

    def refuse(self) -> None:
        """A turn was not admitted."""
        self._opening = False

    def undo(self, turn: TalkTurn) -> None:
        """Its message was not sent."""
        with suppress(ValueError):
            self.turns.remove(turn)
        turn.undo()

    # -- in

    def heard(self, message: object) -> Iterator[Run]:
        """Take in a message that was received: what is to be run for it. Never raises."""
        try:
            if self._over or self.socket.endpoint.opaque or not isinstance(message, str | bytes):
                return
            for news in self._talk.heard(message):
                yield from self._hear(news)
        except Exception as error:
            raise_interruption(error)
            log.exception("a message of a WebSocket could not be read")

    def _hear(self, news: News) -> Iterator[Run]:
        if news.what == "begun":
            turn = next((turn for turn in list(self.turns) if turn.id is None), None)
            if turn is not None:
                turn.id = news.id
            elif news.id is not None:
                self._alone.add(news.id)
        elif news.what == "refused":
            yield from self._refused(news.id)
        elif news.what == "ended" and self._again(news.id):
            return
        elif news.what == "ended" and (turn := self._turn(news.id)) is not None:
            yield from self._end(turn, news.answer)
        else:
            yield from self._unasked(news)

    def _again(self, id_: str | None) -> bool:
        """Whether the end of this answer was heard before; from now on it was."""
        if id_ is None or id_ in self._ended:
            return id_ is not None
        self._ended.append(id_)
        return False

    def _turn(self, id_: str | None) -> TalkTurn | None:
        """The turn that has ended: that of this id, else the oldest that has none."""
        turns = list(self.turns)
        if id_ is None:
            return next(iter(turns), None)
        if id_ in self._alone:
            self._alone.discard(id_)
            return None
        own = (turn for turn in turns if turn.id == id_)
        return next(own, None) or next((turn for turn in turns if turn.id is None), None)

    def _refused(self, id_: str | None) -> Iterator[Run]:
        """Take in that a message was refused: the one of this id, else the oldest of which nothing was heard."""
        for turn in list(self.turns):
            if turn.opening_id == id_ if id_ is not None else turn.id is None:
                yield from self._end(turn, None)
                return
        if id_ is None:  # it broke off what had begun
            for turn in list(self.turns):
                yield from self._end(turn, Answer())

    def _end(self, turn: TalkTurn | None, answer: Answer | None) -> Iterator[Run]:
        """End a turn by its answer, or as one that was not begun."""
        if turn is None:
            return
        with suppress(ValueError):  # somebody else ends it
            self.turns.remove(turn)
        steps = turn.refused() if answer is None else turn.ended(answer)
        if turn.charge is not None and steps is not None:
            yield turn.charge.parts, steps

    def _unasked(self, news: News) -> Iterator[Run]:
        """Book what the other side did by itself."""
        guard, answer = guard_of(self, self.scope), news.answer
        if guard is None or not guard.covers(self.scope) or answer.free:
            return
        if answer.usage is None and answer.cost is None:
            text = "%s: an answer that nobody asked for says no usage: what it costs is not counted"
            guard.notices.warn_once("unasked", text, self.socket.endpoint.name)
            return
        self._unsure = True
        yield guard.parts, book(self._charge(guard, news.body, self.scope), answer)

    def ended(self) -> Iterator[Run]:
        """Take in that the socket is closed: what is to be run for the turns that are open."""
        self._over = True
        for turn in list(self.turns):
            yield from self._end(turn, self._talk.last() or Answer())
