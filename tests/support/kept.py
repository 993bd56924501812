"""
Programs of versions before, which run beside the present one: what their wheels contained is in `tests/upgrades/kept`.

    with Program("0.2.0") as before:
        before.run("from budgetguard import BudgetManager")
        assert before.ask("BudgetManager('shop', store=url).get_users()", url=url) == ["ann"]

A kept version is unpacked once, and runs over the packages that are installed here.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any, Self

import pytest

from tests.support import ENVIRONMENT, ROOT

KEPT = ROOT / "tests" / "upgrades" / "kept"

VERSIONS = ("0.2.0", "gateway")
"""
The release before, and what was between it and this version: with units and the gateway, without records.

Their formats: SQLite 1 and 2, PostgreSQL 3 and 5, the journal 1 and 2.
"""

_VOCABULARIES = ROOT / "budgetguard" / "prices" / "data"
"""The only files of a wheel that are not kept: they are large, and are the same today."""

_LOOP = """
import ast, json, sys
said, told = sys.stdin, sys.stdout
sys.stdout = sys.stderr
there = {}
for line in said:
    asked = json.loads(line)
    there.update(asked["values"])
    try:
        lines = ast.parse(asked["program"]).body
        last = lines.pop() if asked["asks"] else None
        exec(compile(ast.Module(lines, []), "<asked>", "exec"), there)
        answer = None if last is None else eval(compile(ast.Expression(last.value), "<asked>", "eval"), there)
        line = json.dumps({"answer": answer}, default=str)
    except BaseException as error:
        line = json.dumps({"error": type(error).__name__, "message": str(error)})
    print(line, file=told, flush=True)
"""


class ProgramError(Exception):
    """What a program of another version raised: the name of its class, and its message."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(f"{kind}: {message}")
        self.kind, self.message = kind, message


def unpacked(version: str) -> Path:
    """The folder with the package of a kept version, for `PYTHONPATH`."""
    archive = KEPT / f"{version}.tar.xz"
    if not archive.exists() and not (ROOT / ".git").exists():
        pytest.skip("a source distribution has no versions before in it; a checkout has")
    home = ROOT / ".cache" / "kept" / f"{version}-{hashlib.sha256(archive.read_bytes()).hexdigest()[:12]}"
    if not home.exists():
        home.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=home.parent) as scratch:
            _unpack(archive, Path(scratch, version))
            try:
                Path(scratch, version).rename(home)
            except OSError:  # another process of the tests was faster
                assert home.exists()
    return home


def _unpack(archive: Path, into: Path) -> None:
    with tarfile.open(archive) as opened:
        opened.extractall(into, filter="data")
    data = next(path for path in into.rglob("data") if (path / "prices.toml").exists())
    for vocabulary in _VOCABULARIES.glob("*.xz"):
        (data / vocabulary.name).symlink_to(vocabulary)


def environment(version: str) -> dict[str, str]:
    """Of a process in which `budgetguard` is that version; what tests share can be imported, too."""
    return {**ENVIRONMENT, "PYTHONPATH": os.pathsep.join([str(unpacked(version)), str(ROOT)])}


def command(version: str, *arguments: str, cwd: Path, **environ: str) -> subprocess.CompletedProcess[str]:
    """A command line of that version, in a folder of the test."""
    line = [sys.executable, "-m", "budgetguard.cli", *arguments]
    around = {**environment(version), "COLUMNS": "200", **environ}
    return subprocess.run(line, cwd=cwd, env=around, capture_output=True, text=True, timeout=60, check=False)


class Program:
    """A process of that version, which does what it is told, and answers in JSON."""

    def __init__(self, version: str) -> None:
        self._home = tempfile.TemporaryDirectory(prefix="budgetguard-kept-")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _LOOP],
            cwd=self._home.name,
            env=environment(version),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, program: str, **values: Any) -> None:
        """Run these lines, in which `values` are there; names stay from one call to the next."""
        self._tell(program, values, asks=False)

    def ask(self, program: str, **values: Any) -> Any:
        """The same; the value of the last line, an expression."""
        return self._tell(program, values, asks=True)

    def _tell(self, program: str, values: dict[str, Any], *, asks: bool) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(json.dumps({"program": program, "values": values, "asks": asks}), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        assert line, f"the program ended: {self._process.wait(10)}"
        heard = json.loads(line)
        if "error" in heard:
            raise ProgramError(heard["error"], heard["message"])
        return heard["answer"]

    def end(self) -> int:
        """Have it end as programs do; its exit code."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        return self._process.wait(30)

    def kill(self) -> None:
        """`kill -9`."""
        self._process.kill()
        self._process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.end()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()
        self._home.cleanup()
