"""A terminal of one's own: what a program writes into it, and what its user would see in the end."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import termios
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pyte

_HEIGHT = 40
_CODE = re.compile(rb"\x1b\[[0-9;?]*[a-zA-Z]|\x1b\][^\x07]*\x07")


class Written(NamedTuple):
    """How a program ended, and what it wrote into its terminal."""

    code: int
    raw: str
    stdout: str = ""
    """What went elsewhere, if its stdout was a pipe."""
    width: int = 100

    @property
    def lines(self) -> list[str]:
        """Its lines without any codes."""
        plain = _CODE.sub(b"", self.raw.encode()).decode()
        return [line.strip() for line in re.split(r"[\r\n]+", plain) if line.strip()]

    @property
    def screen(self) -> list[str]:
        """The lines that are there in the end: what was drawn over, or erased, is not."""
        screen = pyte.Screen(self.width, 10 * _HEIGHT)  # with what scrolled by
        pyte.Stream(screen).feed(self.raw)
        return [line.strip() for line in screen.display if line.strip()]


def in_a_terminal(
    command: Sequence[str | Path],
    cwd: Path,
    environment: Mapping[str, str],
    *,
    width: int = 100,
    piped: bool = False,
    typed: str = "",
) -> Written:
    """Run a command whose stderr is a terminal, its stdin and stdout too unless they are `piped`."""
    reader, writer = pty.openpty()
    fcntl.ioctl(writer, termios.TIOCSWINSZ, struct.pack("HHHH", _HEIGHT, width, 0, 0))
    process = subprocess.Popen(
        command,
        cwd=cwd,
        env={**environment, "TERM": "xterm-256color"},
        stdin=subprocess.DEVNULL if piped else writer,
        stdout=subprocess.PIPE if piped else writer,
        stderr=writer,
    )
    os.close(writer)
    if typed:
        os.write(reader, typed.encode())
    pieces = []
    while True:
        try:
            piece = os.read(reader, 65536)
        except OSError:  # the other end is closed
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(reader)
    out = "" if process.stdout is None else process.stdout.read().decode()
    if process.stdout is not None:
        process.stdout.close()
    return Written(process.wait(60), b"".join(pieces).decode(), out, width)
