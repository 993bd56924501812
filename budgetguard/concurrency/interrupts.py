"""
Exceptions that are not of the code which they come out of: a signal handler raised them.

A time limit is often a handler of `SIGALRM` that raises `TimeoutError`, or a task queue's own exception, between any
two instructions of the main thread. It is for the caller; a failure of a store, which may have the same type, is not.
"""

from __future__ import annotations

import sys
from types import FrameType, TracebackType


def interruption(error: BaseException) -> BaseException | None:
    """The signal handler's exception that this error is, or was made of on its way; `None` if there is none."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        if link is not error and _is_being_handled(link):  # the caller's own affair
            return None
        if _is_of_handler(link.__traceback__):
            return link
        seen.add(id(link))
        link = link.__cause__ if link.__cause__ is not None else link.__context__
    return None


def raise_interruption(error: BaseException) -> None:
    """Raise the signal handler's exception in an error, if there is one."""
    found = interruption(error)
    if found is not None:
        raise found


def _is_of_handler(traceback: TracebackType | None) -> bool:
    """Whether a traceback passes a function that was given the frame which it interrupted, as handlers are."""
    while traceback is not None and traceback.tb_next is not None:
        if _was_given(traceback.tb_next.tb_frame, traceback.tb_frame):
            return True
        traceback = traceback.tb_next
    return False


def _was_given(called: FrameType, frame: FrameType) -> bool:
    code = called.f_code
    arguments = code.co_varnames[: code.co_argcount + code.co_kwonlyargcount + 1]  # and *args, if it has them
    for name in arguments:
        value = called.f_locals.get(name)
        if value is frame or (type(value) is tuple and any(each is frame for each in value)):
            return True
    return False


def _is_being_handled(error: BaseException) -> bool:
    """Whether the frame that caught an error is still running: then it was caught before this began."""
    caught = error.__traceback__.tb_frame if error.__traceback__ is not None else None
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame is not caught:
        frame = frame.f_back
    return frame is not None or caught is None
