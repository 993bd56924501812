"""
How a run ends: after all that its program left to the interpreter's own end, and with its exit code.

The interpreter waits for the program's threads, and then calls what was left to `atexit`, the last first. All of that
may spend; so the sum is said last of all, on a descriptor of our own, as the program may have closed its stderr.
"""

from __future__ import annotations

import atexit
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any

from ...errors import BudgetExceededError, BudgetGuardError, find_budget_error
from ...process.family.file import LAST
from ...process.state import Process

RAISED, INTERRUPTED = 1, 130
"""Exit codes of a program that ends by an exception, as the interpreter has them."""


class Stderr:
    """Where stderr went when this was made, whatever has become of it since."""

    def __init__(self) -> None:
        try:
            self._descriptor = None if sys.stderr is None else os.dup(sys.stderr.fileno())
        except (OSError, ValueError):  # there is none, or no file is behind it
            self._descriptor = None

    def say(self, *lines: str) -> None:
        """Write lines there; nothing, where nobody is left to read them."""
        _flush()
        if self._descriptor is None:
            return
        text = "".join(f"{line}\n" for line in lines).encode(errors="backslashreplace")
        try:
            while text:
                text = text[os.write(self._descriptor, text) :]
        except OSError:
            self._descriptor = None


def at_the_end(process: Process, say: Callable[[], Sequence[str]], stderr: Stderr) -> None:
    """Have this be said when all that the program spends is on the books; in this process alone, and not in a fork."""
    from multiprocessing.util import Finalize

    def end() -> None:
        process.end_all()
        atexit.unregister(process.end_all)  # once is enough: where a store is away, each time asks it
        stderr.say(*say())

    # Its functions for the end are called after those of the program, as it is imported before that, and after it has
    # waited for child processes; the file in which these have counted goes after ours.
    Finalize(None, end, exitpriority=LAST + 1)


def guarded(target: Callable[[], None], stderr: Stderr, ours: frozenset[str], codes: tuple[int, int]) -> int:
    """
    Run the program; its exit code, as the interpreter would have it.

    `ours`: files whose frames are none of its. `codes`: where something cannot be done, and where a budget says no.
    """
    failed, refused = codes
    try:
        target()
    except SystemExit as end:
        return _exit_code(end.code, stderr)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as error:
        refusal = find_budget_error(error)
        if refusal is not None or isinstance(error, BudgetGuardError):
            stderr.say(f"error: {error if refusal is None else _on_one_line(refusal)}")
            return failed if refusal is None else refused
        _tell(error, ours)
        return RAISED
    return 0


def _exit_code(code: Any, stderr: Stderr) -> int:
    if code is None or isinstance(code, int):
        return code or 0
    if not _printed(code):
        stderr.say(str(code))
    return 1


def _printed(text: object) -> bool:
    """Whether the program's own stderr took it."""
    try:
        if sys.stderr is not None:
            print(text, file=sys.stderr, flush=True)
            return True
    except (OSError, ValueError):
        pass
    return False


def _on_one_line(error: BudgetExceededError) -> str:
    return " ".join(str(error).split())


def _tell(error: BaseException, ours: frozenset[str]) -> None:
    """Have the program's own hook tell of it, if it has one, without the frames that started the program."""
    frames: TracebackType | None = error.__traceback__
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename in ours:
        frames = frames.tb_next
    error.__traceback__ = frames
    try:
        sys.excepthook(type(error), error, frames)
    except BaseException:
        _printed("Error in sys.excepthook:\n" + traceback.format_exc())
        _printed("Original exception was:\n" + "".join(traceback.format_exception(type(error), error, frames)))


def _flush() -> None:
    """What the program has printed comes before what we say of it."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            continue
