"""
Who calls: the line of the program that leads here, past our own frames, the SDK's and those of installed packages.

Walked only where there is something to say of a call.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from functools import lru_cache
from pathlib import Path
from types import FrameType
from typing import Literal

_OURS = str(Path(__file__).parents[2]) + os.sep
_LIBRARY = str(Path(os.__file__).parent) + os.sep
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")
_DIGITS = re.compile(r"\d+")


def caller() -> str:
    """
    "app.py:12", with the path as Python knows it: the innermost line of the program itself.

    A program that is an installed package itself is the first package behind the SDK. Where a thread was given the
    SDK's own method there is no such line: then the thread's name without its number.
    """
    frame: FrameType | None = sys._getframe(1)
    sdk, package = "", None
    while frame is not None:
        kind = _kind(frame.f_code.co_filename)
        if kind == "program":
            return _place(frame)
        if kind == "installed" and package is None:
            name = str(frame.f_globals.get("__name__", "")).partition(".")[0]
            sdk = sdk or name if name != "wrapt" else sdk
            if name not in {sdk, "wrapt"}:
                package = frame
        frame = frame.f_back
    if package is not None:
        return _place(package)
    return f"thread {_DIGITS.sub('*', threading.current_thread().name)}"


def _place(frame: FrameType) -> str:
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


@lru_cache(maxsize=4_096)
def _kind(path: str) -> Literal["ours", "library", "installed", "program"]:
    if path.startswith(_OURS):
        return "ours"
    if any(part in path for part in _INSTALLED):
        return "installed"
    return "library" if path.startswith((_LIBRARY, "<frozen ")) else "program"
