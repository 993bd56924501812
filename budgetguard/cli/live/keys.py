"""Keys as they are typed, without Enter; the terminal is as it was afterwards, whatever happens meanwhile."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import ExitStack
from typing import Final

_LOOK_S: Final = 0.05
_NO_KEY: Final = re.compile(rb"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|O.|.)?", re.DOTALL)
"""What arrows, the mouse and others send."""


class TypedKeys:
    """Those that are typed while it is entered; none, where nobody can type any."""

    def __init__(self) -> None:
        self.there = False
        self._stack = ExitStack()
        self._file = -1
        self._waiting: list[str] = []
        """Keys that came together with the last one."""

    def __enter__(self) -> TypedKeys:
        if sys.stdin is not None and sys.stdin.isatty():
            self._file = sys.stdin.fileno()
            self.there = _begin(self._file, self._stack)
        return self

    def __exit__(self, *raised: object) -> None:
        self.there = False
        self._stack.close()

    def pause(self) -> None:
        """Let the terminal be as it was, for a while."""
        self._stack.close()

    def resume(self) -> None:
        """Have keys again, after `pause`."""
        if self.there:
            self.there = _begin(self._file, self._stack)

    def wait(self, seconds: float) -> str:
        """The next key, if one is typed within so long; "" otherwise."""
        if self._waiting:
            return self._waiting.pop(0)
        if not self.there:
            time.sleep(seconds)
            return ""
        typed = _typed(self._file, seconds)
        if typed == b"":
            self.there = False  # the end of the file: nobody types any more
        self._waiting += _NO_KEY.sub(b"", typed or b"").decode("ascii", "replace")
        return self._waiting.pop(0) if self._waiting else ""


if sys.platform == "win32":
    import msvcrt

    def _begin(file: int, stack: ExitStack) -> bool:
        """Whether keys can be had."""
        return True

    def _typed(file: int, seconds: float) -> bytes | None:
        """What is typed within so long."""
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            if msvcrt.kbhit():
                return msvcrt.getwch().encode()
            time.sleep(_LOOK_S)
        return None

else:
    from select import select

    try:
        import termios
        import tty

        _THERE = True
    except ImportError:
        _THERE = False

    def _begin(file: int, stack: ExitStack) -> bool:
        """Have each key come at once and unseen, until the stack is closed; whether that can be."""
        if not _THERE:
            return False
        before = termios.tcgetattr(file)
        stack.callback(termios.tcsetattr, file, termios.TCSADRAIN, before)
        tty.setcbreak(file)
        return True

    def _typed(file: int, seconds: float) -> bytes | None:
        """What is typed within so long; nothing at all at the end of the file."""
        ready, _, _ = select([file], [], [], seconds)
        return os.read(file, 64) if ready else None
