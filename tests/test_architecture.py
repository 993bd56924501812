"""The layout and rules of ARCHITECTURE.md, checked on the syntax trees of the package."""

import ast
import re
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "budgetguard"

FLOORS = [
    ["errors", "calls"],
    ["money"],
    ["concurrency", "ledger"],
    ["adapters", "prices", "providers", "stores"],
    ["budgets"],
    ["process", "litellm", "alerts", "telemetry", "reports"],
    ["guards"],
    ["config"],
    ["sdks"],
    ["scopes", "completions"],
    ["manager"],
    ["middleware", "server", "testing"],
    ["cli"],
    ["__main__"],
]
"""From the bottom up: a room imports from lower floors, and from itself; rooms of one floor do not know each other."""

FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}

ENTRIES = 28
FILES = 10
LINES = 400
FUNCTION_LINES = 40


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """A module's name within the package; "" for the package itself."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in modules()}


def room_of(name: str) -> str:
    return name.partition(".")[0]


def imported(path: Path) -> Iterator[str]:
    """Absolute names of what a module imports, those for type checkers among them."""
    package = ("budgetguard", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *([node.module] if node.module else [])))
            yield stem
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def ours(path: Path) -> set[str]:
    """The modules of ours that a module imports; a package only where nothing inside of it is named."""
    names = {name.removeprefix("budgetguard.") for name in imported(path) if name.startswith("budgetguard.")}
    found = {name for name in names if name in MODULES}
    return {name for name in found if not any(other.startswith(f"{name}.") for other in found)}


STORE_ASKED = {
    node.name if isinstance(node, ast.FunctionDef) else ast.unparse(node.target)
    for protocol in ast.parse(MODULES["ledger.store"].read_text("utf-8")).body
    if isinstance(protocol, ast.ClassDef)
    for node in protocol.body
    if isinstance(node, ast.FunctionDef | ast.AnnAssign)
}
"""The names of all that a store may be asked."""

GRAPH = {name: ours(path) for name, path in MODULES.items() if name}


@pytest.mark.parametrize("name", sorted(GRAPH))
def test_imports_point_down(name: str) -> None:
    """A change on one floor can only be felt above it. Imports for type checkers count: they tie files as others do."""
    room = room_of(name)
    assert room in FLOOR, f"{name} is on no floor: put it into FLOORS, and into ARCHITECTURE.md"
    others = {other for other in GRAPH[name] if room_of(other) != room}
    assert {other for other in others if FLOOR[room_of(other)] >= FLOOR[room]} == set()


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Each can be read, and understood, after those that it imports."""
    graph = dict(GRAPH)
    while ends := {name for name, others in graph.items() if not others & graph.keys()}:
        graph = {name: others for name, others in graph.items() if name not in ends}
    assert sorted(graph) == []


def test_a_room_has_few_entries() -> None:
    """A newcomer finds the room for a change by the names in a folder."""
    shown = {path.name for path in PACKAGE.iterdir()} - {"__pycache__"}
    assert len(shown) <= ENTRIES
    folders = defaultdict(list)
    for path in PACKAGE.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            folders[str(path.parent.relative_to(PACKAGE))].append(path.name)
    assert {folder: len(files) for folder, files in folders.items() if len(files) > FILES} == {}


def test_no_file_and_no_function_is_long() -> None:
    """One screen a function, and a file that a reader can hold in the head."""
    files, functions = set(), set()
    for path in modules():
        shown, text = str(path.relative_to(PACKAGE)), path.read_text("utf-8")
        if len(text.splitlines()) > LINES:
            files.add(shown)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                if node.end_lineno - node.lineno + 1 > FUNCTION_LINES:
                    functions.add(f"{shown} {node.name}")
    assert files == set()
    assert functions == set()


def test_no_class_name_is_used_twice() -> None:
    """A name that is read in a message or a signature is that of one thing."""
    homes = defaultdict(list)
    for path in modules():
        tree = ast.parse(path.read_text("utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                homes[node.name].append(name_of(path))
            elif isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
                homes[ast.unparse(node.target)].append(name_of(path))
    assert {name: found for name, found in homes.items() if len(found) > 1} == {}


def test_no_module_is_named_in_a_string() -> None:
    """What imports what can be read, searched and moved."""
    calls = {"import_module", "__import__"}
    named = [
        f"{name_of(path)}: {ast.unparse(node)}"
        for path in modules()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).rpartition(".")[2] in calls
        and not (node.args and isinstance(node.args[0], ast.Constant) and not str(node.args[0].value).startswith("."))
    ]
    assert named == ["sdks.hooks: import_module(name)"], "that one waits for an SDK which another thread is importing"


@pytest.mark.parametrize("name", sorted(name for name in GRAPH if room_of(name) == "stores"))
def test_a_store_never_hears_of_budgets_models_or_sdks(name: str) -> None:
    """So that adding one takes one folder and no knowledge of the rest."""
    assert {room_of(other) for other in GRAPH[name]} <= {
        "ledger",
        "money",
        "errors",
        "concurrency",
        "stores",
    }
    engine = name.split(".")[1:2]
    if len(name.split(".")) > 2:
        others = {other for other in GRAPH[name] if other.startswith("stores.") and other.count(".") > 1}
        assert {other for other in others if other.split(".")[1:2] != engine} <= {"stores.memory.reports"}


@pytest.mark.parametrize("name", sorted(name for name in GRAPH if room_of(name) == "adapters"))
def test_an_adapter_reads_plain_data_and_does_no_io(name: str) -> None:
    """So that the SDK's hook and a gateway can share one reader, and recordings can test it."""
    path = MODULES[name]
    assert {room_of(other) for other in GRAPH[name]} <= {"calls", "adapters"}
    api = name.split(".")[1:2]
    assert {other for other in GRAPH[name] if other.split(".")[1:2] not in (api, [], ["common"])} == set()
    packages = {each.partition(".")[0] for each in imported(path)}
    assert not packages & {"openai", "anthropic", "httpx", "httpx2", "socket", "os", "io"}
    assert "open(" not in path.read_text("utf-8").replace("def open(", "")


def test_the_guard_names_no_engine_and_no_sdk() -> None:
    """It would work as well with others."""
    names = {each for name, path in MODULES.items() if room_of(name) == "guards" for each in imported(path)}
    assert {
        name for name in names if name.startswith(("budgetguard.stores", "budgetguard.sdks", "openai", "anthropic"))
    } == set()


def reached(name: str) -> set[str]:
    """The modules of ours that a module imports, those that these import, and so on."""
    found, queue = set[str](), [name]
    while queue:
        for other in GRAPH[queue.pop()] - found:
            found.add(other)
            queue.append(other)
    return found


PATCHING = {"sdks", "scopes", "manager", "completions"}


@pytest.mark.parametrize("name", sorted(name for name in GRAPH if room_of(name) == "server"))
def test_a_server_reaches_nothing_that_patches(name: str) -> None:
    """It keeps budgets for programs in other processes: nothing in its own is watched, or may be changed."""
    assert {other for other in reached(name) if room_of(other) in PATCHING} == set()


def test_a_server_loads_nothing_that_patches() -> None:
    """Nor an SDK, also by what is imported only when it is needed."""
    program = (
        "import sys; import budgetguard.server.app; budgetguard.server.app.App('memory://', open_mode=True); "
        f"print([name for name in sys.modules if name.startswith(tuple('budgetguard.' + room for room in {PATCHING})) "
        "or name.partition('.')[0] in {'openai', 'wrapt', 'tiktoken', 'genai_prices'}])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_only_shells_seams_and_the_edges_await() -> None:
    """Everything that decides is written once, for sync and async code."""
    waiting = set()
    for name, path in MODULES.items():
        tree = ast.parse(path.read_text("utf-8"))
        if any(isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith) for node in ast.walk(tree)):
            waiting.add(name)
    rooms = {
        name
        for name in waiting
        if room_of(name) not in {"sdks", "scopes", "completions", "middleware", "server", "cli", "testing"}
    }
    assert rooms == {"guards.shells", "concurrency.loops"}


def test_only_seams_set_attributes_of_other_peoples_modules() -> None:
    """There is one place to look for what was patched, and one to undo it."""
    patching = {name for name, path in MODULES.items() if "FunctionWrapper" in path.read_text("utf-8")}
    assert {room_of(name) for name in patching} - {"cli", "testing"} == {"sdks"}


def test_nobody_asks_a_store_whether_it_can() -> None:
    """All that a store may be asked is in a protocol of `ledger.store`, where engines and type checkers find it."""
    asking = [
        f"{name}: {ast.unparse(node)}"
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"getattr", "hasattr"}
        and (
            re.search(r"\b(store|books|ledger)\b", ast.unparse(node.args[0]))
            or (isinstance(node.args[1], ast.Constant) and node.args[1].value in STORE_ASKED)
        )
    ]
    assert asking == []


def test_every_lock_is_made_in_one_place() -> None:
    """There they can be listed, and asked for their owner: `tests/concurrency/test_locks.py` walks through them."""
    made = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "allocate_lock"}
    elsewhere = [
        f"{name}: {ast.unparse(node)}"
        for name, path in MODULES.items()
        if name != "concurrency.locks" and room_of(name) != "testing"
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in made
    ]
    assert elsewhere == []


FORK_HOOKS = {
    "concurrency.errands",
    "concurrency.locks",
    "concurrency.queue",
    "concurrency.reaper",
    "ledger.ids",
    "process.journal",
    "process.leases",
    "process.state",
    "process.tally",
    "stores.base",
}
"""Where a forked child lets go of what is its parent's."""


def test_every_fork_hook_is_listed() -> None:
    """They run in the order of imports, so each stands alone. All stores share one."""
    found = {
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and node.attr == "register_at_fork"
    }
    assert found == FORK_HOOKS


class _Sync(ast.NodeTransformer):
    """Takes `async` and `await` off."""

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        self.generic_visit(node)
        return ast.FunctionDef(node.name, node.args, node.body, node.decorator_list, node.returns, lineno=0)

    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        return node.value


def _methods(name: str) -> dict[str, str]:
    tree = ast.parse(MODULES["guards.shells"].read_text("utf-8"))
    shell = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name)
    found = {}
    for node in shell.body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            plain = _Sync().visit(node)
            plain.args = ast.arguments(posonlyargs=[], args=plain.args.args, kwonlyargs=[], kw_defaults=[], defaults=[])
            for argument in plain.args.args:
                argument.annotation = None
            found[plain.name] = ast.dump(ast.Module([plain], []))
    return found


@pytest.mark.parametrize("method", ["send", "run"])
def test_the_shells_differ_by_async_and_await_only(method: str) -> None:
    """What is right for sync calls is right for async ones."""
    assert _methods("Shell")[method] == _methods("AsyncShell")[method]


def test_importing_the_package_brings_nothing_heavy() -> None:
    """A program that imports us for one function must not pay for an SDK, a tokenizer or a driver."""
    program = (
        "import sys; import budgetguard; "
        "print([name for name in ('openai', 'anthropic', 'tiktoken', 'pydantic', 'genai_prices', 'httpx', 'httpx2', "
        "'sqlite3', 'wrapt', 'asyncio', 'typer', 'rich') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_every_module_says_what_it_is() -> None:
    """A newcomer reads the first lines."""
    silent = [path.name for path in modules() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert silent == []
