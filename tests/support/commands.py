"""The command line, called as a function."""

from __future__ import annotations

import contextlib
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from budgetguard.cli import main

from . import ENVIRONMENT

_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def exit_code(*arguments: str) -> int:
    """Its exit code."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)


def in_a_terminal(*arguments: str, cwd: Path, columns: int = 60, typed: str = "") -> tuple[int, str]:
    """Run the command where it has a terminal, of so many columns, into which this is typed; its exit code and text."""
    ours, theirs = pty.openpty()
    environment = {**ENVIRONMENT, "TERM": "xterm", "COLUMNS": str(columns)}
    command = [sys.executable, "-m", "budgetguard", *arguments]
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, cwd=cwd, env=environment)
    os.close(theirs)
    written = []
    with open(ours, "r+b", buffering=0) as terminal, contextlib.suppress(OSError):  # how Linux says end of file
        terminal.write(typed.encode())
        while piece := terminal.read(65536):
            written.append(piece)
    return process.wait(timeout=60), _COLOURS.sub("", b"".join(written).decode())
