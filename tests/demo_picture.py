"""
The picture of the demo: `make pictures` runs it in a terminal that is drawn into docs/pictures/demo.svg.

The command runs as it is; what stands on its screen in the end, the last frame and all below it, is the picture.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
from io import StringIO
from itertools import groupby
from pathlib import Path

import pyte
from rich.console import Console
from rich.style import Style
from rich.text import Text

from tests.support import ENVIRONMENT, ROOT

COLUMNS, ROWS = 100, 60
PICTURE = ROOT / "docs/pictures/demo.svg"
FONT = re.compile(r"@font-face \{.*?\}\s*", re.DOTALL)
"""Where the picture would load one from another machine; any that is there does."""
COLOURS = {"brown": "yellow", "default": None}
"""As pyte names some."""


def screen_of(command: list[str], directory: Path) -> pyte.Screen:
    """What a command leaves on a terminal of its own."""
    screen = pyte.Screen(COLUMNS, ROWS)
    stream = pyte.ByteStream(screen)
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    environ = {**ENVIRONMENT, "TERM": "xterm-256color", "COLORTERM": "", "NO_COLOR": ""}
    with subprocess.Popen(command, cwd=directory, env=environ, stdin=its, stdout=its, stderr=its) as process:
        os.close(its)
        while read := _read(ours):
            stream.feed(read)
    os.close(ours)
    assert process.returncode == 0, "\n".join(screen.display)
    return screen


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65_536)
    except OSError:  # so Linux says that nobody has the other side open any more
        return b""


def drawn(screen: pyte.Screen, title: str) -> str:
    """The screen as SVG, without the empty lines below."""
    last = max(number for number, line in enumerate(screen.display) if line.strip())
    console = Console(record=True, width=COLUMNS, file=StringIO(), legacy_windows=False)
    for number in range(last + 1):
        cells = [screen.buffer[number][column] for column in range(COLUMNS)]
        runs = ((style, "".join(cell.data for cell in alike)) for style, alike in groupby(cells, _style))
        line = Text.assemble(*((text, style) for style, text in runs))
        line.rstrip()
        console.print(line, no_wrap=True, crop=False)
    return FONT.sub("", console.export_svg(title=title, unique_id="demo"))


def _style(cell: pyte.screens.Char) -> Style:
    colour = COLOURS.get(cell.fg, cell.fg)
    if colour is not None and re.fullmatch("[0-9a-f]{6}", colour):
        colour = f"#{colour}"
    return Style(color=colour and colour.replace("bright", "bright_"), bold=cell.bold, italic=cell.italics)


def main() -> None:
    """Take it."""
    with tempfile.TemporaryDirectory() as directory:
        screen = screen_of([sys.executable, "-m", "budgetguard", "demo"], Path(directory))
    PICTURE.write_text(drawn(screen, "budgetguard demo"), "utf-8")


if __name__ == "__main__":
    main()
