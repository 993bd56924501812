"""A real Jupyter kernel, and what a notebook shows of what it answers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jupyter_client.manager import KernelManager

from budgetguard.testing import FakeProvider
from tests.support import ROOT

WAIT_S = 60


@dataclass
class Shown:
    """What a notebook has below a cell."""

    printed: str = ""
    error: str | None = None
    traceback: list[str] = field(default_factory=list)
    displayed: list[Any] = field(default_factory=list)
    updated: list[Any] = field(default_factory=list)
    """What took the place of something displayed."""

    @property
    def value(self) -> str:
        """The last thing that was shown, as text."""
        return self.displayed[-1]["text/plain"]


@dataclass
class Kernel:
    """A kernel that runs."""

    client: Any

    def run(self, code: str) -> Shown:
        """Run a cell, as a front end does."""
        shown = Shown()

        def hear(message: Any) -> None:
            content = message["content"]
            match message["msg_type"]:
                case "stream":
                    shown.printed += content["text"]
                case "error":
                    shown.error, shown.traceback = content["ename"], content["traceback"]
                case "display_data" | "execute_result":
                    shown.displayed.append(content["data"])
                case "update_display_data":
                    shown.updated.append(content["data"])

        self.client.execute_interactive(code, output_hook=hear, timeout=WAIT_S)
        return shown


@contextmanager
def running_kernel(provider: FakeProvider, directory: Path) -> Iterator[Kernel]:
    """A kernel whose environment names a provider."""
    names = {"OPENAI_BASE_URL": provider.base_url, "OPENAI_API_KEY": "none", "PYTHONPATH": str(ROOT)}
    manager = KernelManager(transport="ipc", connection_file=str(directory / "k.json"))  # no port: another may take it
    manager.start_kernel(env={**os.environ, **names})
    client = manager.blocking_client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=WAIT_S)
        yield Kernel(client)
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
