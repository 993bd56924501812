"""A project that is watched: calls and refusals at chosen moments, and commands in a real terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from budgetguard.alerts.refusals import Refusals
from budgetguard.budgets.news import RefusedCall
from budgetguard.ledger import Account, Balance, Entry, Refusal, Store
from tests.support import ENVIRONMENT

COMMAND = (sys.executable, "-m", "budgetguard")
PATIENCE_S = 60.0


def book(store: Store, name: str, ago_ms: int = 0, cost: int = 1_000_000, **said: Any) -> Entry:
    """A call that was settled some time ago, as the books of another process would have it."""
    fields = {"tags": {"user": "ann", "team": "search"}, "provider": "openai", "model": "gpt-4o", **said}
    usage = {"input_tokens": 1_200, "output_tokens": 300}
    made = Entry(name, cost, at_ms=store.now_ms() - ago_ms, usage=usage, **fields)
    store.load(entries=[made])
    return made


def refuse(store: Store, ago_ms: int = 0, user: str = "bob", times: int = 1) -> None:
    """Calls that a budget refused some time ago, within a moment."""
    writer = Refusals(store, time_s=lambda: 0.0)
    account = Account(f"free/{user}/2027-01-01", 200_000_000)
    refusal = Refusal(account, Balance(account.key, 199_000_000), busy=False)
    for _ in range(times):
        at_ms = store.now_ms() - ago_ms
        writer.add(RefusedCall(refusal, 3_000_000, {"user": user, "team": "search"}, "gpt-4o", "openai", at_ms))
    writer.write(final=True)


class Screen:
    """A command in a terminal of its own."""

    def __init__(self, command: Sequence[object], cwd: Path, columns: int, rows: int) -> None:
        self.reader, writer = pty.openpty()
        self.text = ""
        self.resize(columns, rows)
        self.before = termios.tcgetattr(self.reader)
        environment = {name: value for name, value in ENVIRONMENT.items() if name not in {"COLUMNS", "LINES"}}
        environment |= {"TERM": "xterm-256color", "PYTHONUNBUFFERED": "1"}
        self.process = subprocess.Popen(
            list(map(str, command)),
            stdin=writer,
            stdout=writer,
            stderr=writer,
            cwd=cwd,
            env=environment,
            start_new_session=True,
        )
        self._writer = writer  # open as long as its settings are asked for
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        while True:
            try:
                self.text += os.read(self.reader, 65536).decode(errors="replace")
            except OSError:
                return

    def resize(self, columns: int, rows: int) -> None:
        """Make the window so large."""
        fcntl.ioctl(self.reader, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def press(self, key: str) -> None:
        """Type a key."""
        os.write(self.reader, key.encode())

    def until(self, found: Callable[[str], bool]) -> str:
        """Wait until what was written since the last call of `forget` is so."""
        end_s = time.monotonic() + PATIENCE_S
        while not found(self.text):
            assert time.monotonic() < end_s, f"it did not come: {self.text[-4000:]!r}"
            assert self.process.poll() is None or found(self.text), self.text
            time.sleep(0.01)
        return self.text

    def forget(self) -> None:
        """What was written until now is of no interest."""
        self.text = ""

    def wait(self) -> int:
        """Its exit code."""
        return self.process.wait(PATIENCE_S)

    def is_as_before(self) -> bool:
        """Whether the terminal echoes and edits lines as it did."""
        return termios.tcgetattr(self.reader)[3] == self.before[3]

    def close(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self._writer)
        self._thread.join(PATIENCE_S)
        os.close(self.reader)


@contextmanager
def screen(
    arguments: Sequence[object],
    cwd: Path,
    columns: int = 100,
    rows: int = 30,
    command: Sequence[str] = COMMAND,
) -> Iterator[Screen]:
    """A command in a terminal of so many columns and rows."""
    made = Screen([*command, *arguments], cwd, columns, rows)
    try:
        yield made
    finally:
        made.close()
