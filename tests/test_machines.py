"""Every machine: one without POSIX, one whose locale knows ASCII only, any Python that is there."""

from __future__ import annotations

import ast
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from budgetguard.stores.sqlite.store import SQLiteStore
from tests.support import ENVIRONMENT, ROOT
from tests.support.elsewhere import MODULES

ELSEWHERE = "from tests.support.elsewhere import hide; hide()\n"


def run(program: str, *arguments: object, directory: Path | None = None, **environment: str) -> str:
    """What a program prints that ends well, and says nothing else."""
    command = [sys.executable, "-W", "error", "-c", program, *map(str, arguments)]
    done = subprocess.run(
        command, cwd=directory, env={**ENVIRONMENT, **environment}, capture_output=True, encoding="utf-8", timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout


def test_what_only_posix_has_is_seen_where_it_is_hidden() -> None:
    """If nothing was hidden the tests below would pass for ever: so each is asked for as a module of ours would."""
    asked = ["import fcntl", "from fcntl import flock", "import resource", "import os; os.fork"]
    asked += ["import os; os.register_at_fork", "from os import O_DIRECTORY", "import signal; signal.setitimer"]
    program = f"""{ELSEWHERE}
for source in {asked!r}:
    exec(source, {{"__name__": "planted"}})  # others see everything
    try:
        exec(source, {{"__name__": "budgetguard.planted"}})
    except (ImportError, AttributeError):
        print(source)
"""
    assert run(program).splitlines() == asked


def test_every_module_can_be_imported_without_posix() -> None:
    """Those that nobody thought of, too; none of them has an entry that must stay closed."""
    program = f"""{ELSEWHERE}
import pkgutil, importlib, budgetguard
for found in pkgutil.walk_packages(budgetguard.__path__, "budgetguard."):
    if not found.name.endswith("__main__"):
        importlib.import_module(found.name)
        print(found.name)
"""
    assert len(run(program).splitlines()) > 200


def test_what_only_posix_has_is_asked_for_before_it_is_imported() -> None:
    """Also inside of functions, which the import of a module does not reach."""
    bare = []
    for path in sorted((ROOT / "budgetguard").rglob("*.py")):
        tree = ast.parse(path.read_text("utf-8"))
        tried = {id(node) for each in ast.walk(tree) if isinstance(each, ast.Try) for node in each.body}
        for node in ast.walk(tree):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) and not node.level else []
            if {name.partition(".")[0] for name in names} & MODULES and id(node) not in tried:
                bare.append(f"{path.name}: {ast.unparse(node)}")
    assert bare == []


GUARDED = """
import sys, budgetguard
from budgetguard import BudgetExceededError, BudgetManager, PriceBook
from budgetguard.testing import FakeProvider

prices = PriceBook(overrides={"a-model": {"input": 0.15, "output": 0.60, "max_output": 100}})
with FakeProvider(tokens=20, prices={"a-model": (0.15, 0.60)}) as provider, provider.client(max_retries=0) as client:
    for store in ("memory://", sys.argv[1]):
        before = provider.billed
        manager = BudgetManager("shop", store=store, prices=prices)
        manager.create_budget(1, user="ann")
        budgetguard.patch(manager)
        for limit in (0.01, 0.0000001):
            try:
                with budgetguard.budget(user="ann", limit=limit):
                    client.chat.completions.create(model="a-model", messages=[{"role": "user", "content": "hi"}])
            except BudgetExceededError:
                print("refused", end=" ")
        print(0 < manager.get_current_cost("ann") == provider.billed - before)
        budgetguard.unpatch()
        manager.close()
"""


def test_calls_are_guarded_without_posix(tmp_path: Path) -> None:
    """`import`, `patch()`, the memory store and a SQLite file: the promise is the same on Windows."""
    shown = run(ELSEWHERE + GUARDED, f"sqlite:///{tmp_path}/books.db")
    assert shown.splitlines() == ["refused True"] * 2


SPENDER = """
import sys
from budgetguard.ledger import Account, Admitted, Entry, Hold, new_id
from budgetguard.stores.sqlite.store import SQLiteStore

account, admitted = Account("one", 500), 0
store = SQLiteStore(sys.argv[1], reserve_s=20)
print("ready", flush=True)
sys.stdin.readline()
for _ in range(40):
    held = Hold(new_id(), (account,), 10)
    if isinstance(store.reserve(held), Admitted):
        admitted += 1
        store.settle(held, Entry(held.id, 10))
store.close()
print(admitted)
"""


def test_two_processes_share_a_file_without_posix(tmp_path: Path) -> None:
    """Its gate is held by the library's locks: what both may spend together is what was said, to the last call."""
    path = tmp_path / "books.db"
    command, pipe = [sys.executable, "-c", ELSEWHERE + SPENDER, path], subprocess.PIPE
    spenders = [subprocess.Popen(command, env=ENVIRONMENT, stdin=pipe, stdout=pipe, text=True) for _ in range(2)]
    for each in spenders:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    counts = [int(each.communicate("go\n", timeout=60)[0]) for each in spenders]
    assert sum(counts) == 50
    assert min(counts) >= 10  # each has tried 40 times
    store = SQLiteStore(path)
    assert store.balances(["one"])[0].settled == 500
    store.close()


KEPT = """
import os, sys
from budgetguard.errors import StoreError
from budgetguard.ledger import Account, Entry, Hold
from budgetguard.process.journal import Journal
from budgetguard.process.journal_files import JournalFile, Kept, files_in, waiting_in
from budgetguard.stores.sqlite.store import SQLiteStore

def away(kept):
    raise StoreError("away")

store = SQLiteStore(sys.argv[1])
held = Hold("a", (Account("one", 100),), 50)
store.reserve(held)
journal = Journal(away, store.release, store.journal, store.namespace, background=False)
journal.keep(Kept(held, Entry("a", 7)))
[path] = files_in(store.journal)
print(JournalFile.take(path), tuple(waiting_in(store.journal)), flush=True)
os._exit(0)  # as a process that is killed
"""
LANDED = """
import logging, os, sys
from budgetguard.process.journal import Journal
from budgetguard.process.journal_files import waiting_in
from budgetguard.stores.sqlite.store import SQLiteStore

logging.disable()
store = SQLiteStore(sys.argv[1])
found = tuple(waiting_in(store.journal))
settle = lambda kept: store.settle(kept.hold, kept.entry)
assert Journal(settle, store.release, store.journal, store.namespace, background=False).replay()
print(found, store.balances(["one"])[0].settled, os.listdir(store.journal))
"""


def test_what_a_process_left_lands_without_posix(tmp_path: Path) -> None:
    """The lock on its file says that it lives, and ends with it."""
    path = tmp_path / "books.db"
    assert run(ELSEWHERE + KEPT, path) == "None (0, 1)\n"

    assert run(ELSEWHERE + LANDED, path) == "(1, 0) 7 []\n"


SHOWN = """
from budgetguard.cli import main
for command in (["users"], ["spend", "--by", "user", "--chart"], ["users", "--json"]):
    try:
        main([*command, "--store", sys.argv[1], "--project", "shop"])
    except SystemExit as end:
        assert not end.code
"""


def test_paths_and_names_of_any_letters_work_where_the_locale_is_ascii(tmp_path: Path) -> None:
    """A container has no locale, and often no home to write to; a user's directory has a name, with its letters."""
    directory = tmp_path / "Zoë's büro"
    directory.mkdir()
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "HOME": str(tmp_path / "none")}
    program = (GUARDED + SHOWN).replace('"ann"', '"Zo\\u00eb"')
    shown = run(program, "sqlite:///Bücher 1.db", directory=directory, **plain)
    assert shown.startswith("refused True\n" * 2)
    assert (directory / "Bücher 1.db").exists()
    assert json.loads(shown[shown.index("\n[") :])[0]["user"] == "Zoë"


def test_the_package_is_the_command() -> None:
    """`python -m budgetguard` works where no script is on the path, as on Windows and in a notebook."""
    done = subprocess.run([sys.executable, "-m", "budgetguard", "--version"], capture_output=True, text=True)
    assert done.stdout.startswith("budgetguard ")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A directory with our Makefile, and a `bin` beside it with no Python in it."""
    (tmp_path / "bin").mkdir()
    shutil.copy(ROOT / "Makefile", tmp_path)
    return tmp_path


def put(checkout: Path, name: str, *, new: bool) -> None:
    """A Python of this name, which is new enough or not."""
    script = checkout / "bin" / name
    script.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n' if new else "#!/bin/sh\nexit 1\n")
    script.chmod(0o755)


def make(checkout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What `make` would do for the virtual environment, with no other Python than those that were put there."""
    tool = shutil.which("make")
    assert tool is not None, "make is needed, as for the tests themselves"
    said = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PYTHON"))}
    command = [tool, *arguments, ".venv/bin/uv"]
    said["PATH"] = str(checkout / "bin")
    return subprocess.run(command, cwd=checkout, env=said, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("old", "new", "taken"),
    [
        ([], ["python3.14"], "python3.14"),
        (["python3"], ["python"], "python"),
        (["python"], ["python3", "python3.12", "python3.13"], "python3.12"),
    ],
)
def test_make_finds_a_python_that_is_new_enough(checkout: Path, old: list[str], new: list[str], taken: str) -> None:
    """Who has one does not have to say which."""
    for name in (*old, *new):
        put(checkout, name, new=name in new)
    assert f"{taken} -m venv .venv\n" in make(checkout, "-n").stdout
    assert "mine -m venv .venv\n" in make(checkout, "-n", "PYTHON=mine").stdout


def test_make_says_what_is_missing_where_there_is_no_python(checkout: Path) -> None:
    """Rather than what a shell says of it."""
    put(checkout, "python3", new=False)
    done = make(checkout)
    assert done.returncode != 0
    assert done.stderr.startswith("no Python from 3.11 on was found: install one, or name it, as in make ")
