"""A server of budgetguard on loopback, in a thread of the test, so that its store has the test's clock."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import uvloop

from budgetguard.server.app import App
from budgetguard.server.protocol import Protocol
from tests.support import ROOT
from tests.support.serving import InThread


class Asked:
    """A server on loopback that can be asked."""

    port: int

    def ask(
        self, method: str, path: str, body: Any = None, *, headers: dict[str, str] | None = None
    ) -> tuple[int, Any, Any]:
        """One request: the status, the JSON (or text) of the answer, and its headers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            sent = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
            connection.request(method, path, sent, {"budgetguard-project": "shop", **(headers or {})})
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        kind = answer.getheader("content-type", "")
        return answer.status, json.loads(data) if kind.startswith("application/json") else data, answer.headers

    def post(self, path: str, body: Any, **more: Any) -> tuple[int, Any]:
        """A POST: the status, and the JSON of the answer."""
        return self.ask("POST", path, body, **more)[:2]


class Hosted(Asked):
    """A server in a thread."""

    def __init__(
        self,
        store: str,
        *,
        open_mode: bool = True,
        clock: Callable[[], float] | None = None,
        around: Callable[[App], Any] = lambda app: app,
        **more: Any,
    ) -> None:
        self.app = App(store, open_mode=open_mode, clock=clock, **more)
        as_serve_has_it: dict[str, Any] = {"http": Protocol, "timeout_keep_alive": 75, "lifespan": "on"}
        self.served = InThread(around(self.app), uvloop.new_event_loop, **as_serve_has_it)
        self.port = self.served.port
        self.url = f"http://127.0.0.1:{self.port}"
        self.served.start()

    def keep_alive(self, seconds: float) -> None:
        """How long an idle connection stays, of those that are made from now on."""
        self.served.config.timeout_keep_alive = seconds  # type: ignore[assignment]  # whole seconds are too slow here

    def stop(self) -> None:
        """End it, and close its store."""
        self.served.stop()
        self.app.close()


class Process(Asked):
    """`budgetguard serve`, or another that listens, as a process of its own, in a folder of its own."""

    def __init__(self, store: str, *arguments: str, port: int = 0, verb: str = "serve", **environ: str) -> None:
        self._directory = tempfile.TemporaryDirectory(prefix="budgetguard-test-")
        self._log = Path(self._directory.name, "log")
        begin = time.monotonic()
        command = [sys.executable, "-m", "budgetguard.cli", verb, "--store", store, "--port", str(port), *arguments]
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                command, stderr=log, cwd=self._directory.name, env={**os.environ, "PYTHONPATH": str(ROOT), **environ}
            )
        self.pid = self._process.pid
        self.port = self._find_port()
        while True:
            try:
                assert self.ask("GET", "/health")[0] == 200
                break
            except OSError:
                time.sleep(0.01)
        self.ready_s = time.monotonic() - begin
        self.url = f"http://127.0.0.1:{self.port}"

    def _find_port(self) -> int:
        for _ in range(3000):
            for line in self.log().splitlines():
                if '"listening"' in line:
                    return urlsplit(json.loads(line)["url"]).port or 0
            assert self._process.poll() is None, self.log()
            time.sleep(0.02)
        raise AssertionError("the server did not listen")

    def log(self) -> str:
        """What it wrote on stderr."""
        return self._log.read_text()

    @property
    def memory_kb(self) -> int:
        """Its resident memory."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
        raise AssertionError("no VmRSS")

    @property
    def descriptors(self) -> int:
        """How many files and sockets it has open."""
        return len(list(Path(f"/proc/{self._process.pid}/fd").iterdir()))

    def terminate(self) -> None:
        """SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """SIGKILL."""
        self._process.kill()
        self._process.wait(10)

    def wait(self) -> int:
        """Its exit code."""
        return self._process.wait(30)

    def stop(self) -> int:
        """End it with SIGTERM; its exit code."""
        self.terminate()
        return self.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.kill()
        self._directory.cleanup()
