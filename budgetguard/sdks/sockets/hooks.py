"""
What is patched in `websockets`, which is beneath all SDKs that speak over sockets: what is sent and received.

Whoever reads, iterates or flushes a queue passes one of these. A connection that is none of ours, and what a server
accepts, costs one look into its `__dict__`. Sync and async differ by `async` and `await`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import Any, Final

from ...calls import Opening
from ...concurrency.interrupts import raise_interruption
from ...concurrency.reaper import REAPER, must_not_wait
from ...errors import BudgetExceededError
from ..hooks import unbound, wrap
from .session import Run, Session, session_of

log = logging.getLogger("budgetguard")


def _install(module: ModuleType) -> None:
    for name, wrapper in {"send": _send, "recv": _recv, "recv_streaming": _pieces, "close": _close}.items():
        wrap(module.Connection, name, wrapper)


def _install_async(module: ModuleType) -> None:
    wrappers = {"send": _send_async, "recv": _recv_async, "recv_streaming": _pieces_async, "close": _close_async}
    for name, wrapper in wrappers.items():
        wrap(module.Connection, name, wrapper)


def _install_client(module: ModuleType) -> None:
    wrap(module.ClientConnection, "__init__", _made)


def _made(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """See in which scope a connection is made."""
    if instance is None:
        return unbound(_made, wrapped, args, kwargs)
    made = wrapped(*args, **kwargs)
    session_of(instance)
    return made


# -- out


def _send(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_send, wrapped, args, kwargs)
    session = session_of(instance)
    if session is None:
        return wrapped(*args, **kwargs)
    message, rest = _message_of(args, kwargs)
    if not isinstance(message, str | bytes):
        message = _whole(message)
    opened = session.sent(_plain(message))
    if opened is None:
        doubts = session.doubts()
        if doubts is not None:
            try:
                doubts[0].shell.run(doubts[1])
            except BudgetExceededError:
                with suppress(Exception):
                    instance.close()
                raise
        return wrapped(message, **rest)
    for run in session.replaced(opened):
        _run(run)
    out = Outgoing(session, opened, partial(wrapped, **rest), message)
    if out.guard is None or out.turn.charge is None:
        return out.proceed()
    return out.guard.shell.send(out.turn.charge, out.proceed, _nothing, out.failed)


def _send_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_send_async, wrapped, args, kwargs)
    session = session_of(instance)
    return wrapped(*args, **kwargs) if session is None else _sending_async(session, wrapped, instance, args, kwargs)


async def _sending_async(session: Session, wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    message, rest = _message_of(args, kwargs)
    if not isinstance(message, str | bytes):
        message = _whole([piece async for piece in message] if isinstance(message, AsyncIterable) else message)
    opened = session.sent(_plain(message))
    if opened is None:
        doubts = session.doubts()
        if doubts is not None:
            try:
                await doubts[0].async_shell.run(doubts[1])
            except BudgetExceededError:
                with suppress(Exception):
                    await instance.close()
                raise
        return await wrapped(message, **rest)
    for run in session.replaced(opened):
        await _run_async(run)
    out = Outgoing(session, opened, partial(wrapped, **rest), message)
    if out.guard is None or out.turn.charge is None:
        return await out.proceed()
    return await out.guard.async_shell.send(out.turn.charge, out.proceed, _nothing, out.failed)


class Outgoing:
    """A message that opens a turn, on its way out."""

    def __init__(self, session: Session, opened: Opening, send: Callable[[Any], Any], message: Any) -> None:
        self.session = session
        self.turn, self.guard = session.open(opened)
        self._opened = opened
        self._send = send
        self._message = message
        self._begun = False

    def proceed(self) -> Any:
        """Send it, as the charge has it. The answer may be there before this returns."""
        message = self.session.message(self._opened, self.turn)
        self._begun = True
        self.session.begin(self.turn)
        return self._send(self._message if message is None else message)

    def failed(self, error: BaseException) -> None:
        """Take in that it was not sent, if that is sure: else its answer may come."""
        if not self._begun:
            self.session.refuse()
        elif isinstance(error, TypeError | ValueError) or _is_closed(error):
            self.session.undo(self.turn)


def _message_of(args: Any, kwargs: Any) -> tuple[Any, dict[str, Any]]:
    """The message among the arguments of `send`, and the others."""
    rest = dict(kwargs)
    return (args[0] if args else rest.pop("message")), rest


def _whole(message: Any) -> Any:
    """A message that is sent in pieces, as one."""
    if isinstance(message, bytearray | memoryview | Mapping) or not isinstance(message, Iterable):
        return message
    pieces = list(message)
    if pieces and all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    return b"".join(pieces)


def _plain(message: Any) -> str | bytes:
    """A message as it can be read; what `send` will not take is nothing."""
    if isinstance(message, str | bytes):
        return message
    return bytes(message) if isinstance(message, bytearray | memoryview) else b""


def _nothing(_sent: object) -> None:
    """What is known once a message is sent."""


def _is_closed(error: BaseException) -> bool:
    """Whether an error says that the socket is closed: then a message was not sent, and none will come."""
    return any(base.__name__ == "ConnectionClosed" for base in type(error).__mro__)


# -- in


def _recv(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_recv, wrapped, args, kwargs)
    session = session_of(instance)
    if session is None:
        return wrapped(*args, **kwargs)
    if session.kept:
        return session.kept.popleft()
    try:
        message = wrapped(*args, **kwargs)
    except Exception as error:
        if _is_closed(error):
            _end(session)
        raise
    runs = list(session.heard(message))
    try:
        while runs:
            _run(runs.pop(0))
    except BaseException:
        _leave(session, message, runs)
        raise
    return message


def _recv_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_recv_async, wrapped, args, kwargs)
    session = session_of(instance)
    return wrapped(*args, **kwargs) if session is None else _receiving_async(session, wrapped, args, kwargs)


async def _receiving_async(session: Session, wrapped: Any, args: Any, kwargs: Any) -> Any:
    if session.kept:
        return session.kept.popleft()
    try:
        message = await wrapped(*args, **kwargs)
    except Exception as error:
        if _is_closed(error):
            await _end_async(session)
        raise
    runs = list(session.heard(message))
    try:
        while runs:
            await _run_async(runs.pop(0))
    except BaseException:
        _leave(session, message, runs)
        raise
    return message


def _leave(session: Session, message: Any, runs: Iterable[Run]) -> None:
    """A reader was interrupted, or cancelled, which `recv` says is safe: nothing of the message is lost."""
    session.kept.append(message)
    for parts, steps in runs:
        REAPER.put(partial(parts.shell.run, steps))


def _pieces(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_pieces, wrapped, args, kwargs)
    session, pieces = session_of(instance), wrapped(*args, **kwargs)
    return pieces if session is None else _hearing(session, pieces)


def _hearing(session: Session, pieces: Iterator[Any]) -> Iterator[Any]:
    said: list[Any] = []
    try:
        for piece in pieces:
            said.append(piece)
            yield piece
    except Exception as error:
        if _is_closed(error):
            _end(session)
        raise
    for run in session.heard(_whole(said)):
        _run(run)


def _pieces_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_pieces_async, wrapped, args, kwargs)
    session, pieces = session_of(instance), wrapped(*args, **kwargs)
    return pieces if session is None else _hearing_async(session, pieces)


async def _hearing_async(session: Session, pieces: AsyncIterator[Any]) -> AsyncIterator[Any]:
    said: list[Any] = []
    try:
        async for piece in pieces:
            said.append(piece)
            yield piece
    except Exception as error:
        if _is_closed(error):
            await _end_async(session)
        raise
    for run in session.heard(_whole(said)):
        await _run_async(run)


# -- the end


def _close(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_close, wrapped, args, kwargs)
    session = session_of(instance)
    try:
        return wrapped(*args, **kwargs)
    finally:
        if session is not None:
            _end(session)


def _close_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_close_async, wrapped, args, kwargs)
    session = session_of(instance)
    return wrapped(*args, **kwargs) if session is None else _closing_async(session, wrapped, args, kwargs)


async def _closing_async(session: Session, wrapped: Any, args: Any, kwargs: Any) -> Any:
    try:
        return await wrapped(*args, **kwargs)
    finally:
        await _end_async(session)


def _end(session: Session) -> None:
    for run in session.ended():
        _run(run)


async def _end_async(session: Session) -> None:
    for run in session.ended():
        await _run_async(run)


def _run(run: Run) -> None:
    """Run what is to be done for what was heard. It raises nothing but an interruption, and is then ended elsewhere."""
    parts, steps = run
    if must_not_wait():
        REAPER.put(partial(parts.shell.run, steps))
        return
    try:
        parts.shell.run(steps)
    except Exception as error:
        raise_interruption(error)
        log.exception("what a WebSocket cost could not be recorded")


async def _run_async(run: Run) -> None:
    """The same in a task."""
    parts, steps = run
    if must_not_wait():
        REAPER.put(partial(parts.shell.run, steps))
        return
    try:
        await parts.async_shell.run(steps)
    except Exception as error:
        raise_interruption(error)
        log.exception("what a WebSocket cost could not be recorded")


HOOKS: Final[Mapping[str, Callable[[ModuleType], None]]] = {
    "websockets.sync.connection": _install,
    "websockets.asyncio.connection": _install_async,
    "websockets.sync.client": _install_client,
    "websockets.asyncio.client": _install_client,
}
"""What is patched in which module."""
