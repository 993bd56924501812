"""The tests themselves: what they may import, that each says why it matters, and that one failure stays one."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

from tests.support import ENVIRONMENT, ROOT

FILES = sorted((ROOT / "tests").rglob("test_*.py"))
HELPERS = sorted((ROOT / "tests/support").rglob("*.py"))
BORROWED = re.compile(r"^\s*(?:from|import) (benchmarks|conftest|test_\w+|tests\.(?!support\b)[\w.]+)", re.MULTILINE)


def functions(path: Path) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    """All that a file defines, methods and inner functions too."""
    tree = ast.parse(path.read_text("utf-8"))
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def test_every_test_has_its_sentence() -> None:
    """The name is the claim; what it would cost to break it is said once, where it is read when it fails."""
    silent = [
        f"{path.name} {each.name}"
        for path in FILES
        for each in functions(path)
        if each.name.startswith("test_") and not ast.get_docstring(each)
    ]
    assert silent == []


def test_a_test_imports_neither_benchmarks_nor_another_test() -> None:
    """Else what one of them needs breaks the other. So do programs that a test starts; the benchmarks' own test may."""
    borrowed = {path.name: BORROWED.findall(path.read_text("utf-8")) for path in [*FILES, *HELPERS]}
    assert {name: found for name, found in borrowed.items() if found and name != "test_benchmarks.py"} == {}


def test_helpers_hold_no_tests() -> None:
    """They would run nowhere."""
    assert [each.name for path in HELPERS for each in functions(path) if each.name.startswith("test_")] == []


def test_a_fixture_is_written_once() -> None:
    """What several files begin with stands in `conftest.py`: whoever changes it finds all of it."""
    homes = defaultdict(set)
    for path in [*FILES, *(ROOT / "tests").rglob("conftest.py")]:
        for each in functions(path):
            if any("pytest.fixture" in ast.unparse(decorator) for decorator in each.decorator_list):
                said = each.body[1:] if ast.get_docstring(each) else each.body
                homes["\n".join(map(ast.unparse, said))].add(path.name)
    assert [found for found in homes.values() if len(found) > 1] == []


LEAKY = """
from budgetguard.process.state import PROCESS

class Left:
    missed = False
    def living(self): return ()
    def abandon(self): pass

def test_that_leaves_a_call_open(): PROCESS.open[1] = Left()
def test_after_it(): assert not PROCESS.open
"""


def test_a_test_that_leaves_a_call_open_is_the_only_one_to_fail(tmp_path: Path) -> None:
    """A hundred others would fail after it, and none of them would say why."""
    (tmp_path / "test_leaky.py").write_text(LEAKY)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider", tmp_path]
    done = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True)
    assert "ERROR test_leaky.py::test_that_leaves_a_call_open - AssertionError: calls are" in done.stdout
    assert done.stdout.splitlines()[-1].startswith("2 passed, 1 error"), done.stdout
