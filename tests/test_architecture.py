"""The layers and rules of ARCHITECTURE.md, checked on the syntax trees of the package."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "budgetguard"

LAYERS = [
    ["errors", "locks", "interrupts"],
    ["reaper", "waiting"],
    ["money"],
    ["calls", "ledger"],
    ["periods"],
    ["budgets", "tally"],
    ["tokens", "tariffs"],
    ["tiers"],
    ["declared"],
    ["shipped", "pricelist", "hosts"],
    ["prices"],
    ["stores", "adapters"],
    ["answers"],
    ["refusals", "keeper", "process", "scope", "journal", "journal_files", "lease_post", "leases", "steps", "copying"],
    ["loops"],
    ["projection", "coverage", "estimates"],
    ["admission"],
    ["charge"],
    ["batches"],
    ["pieces"],
    ["background"],
    ["guards"],
    ["watches"],
    ["streams"],
    ["attempts"],
    ["request"],
    ["stated", "asides"],
    ["config"],
    ["sockets"],
    ["install"],
    ["context", "completions"],
    ["decorators", "records"],
    ["hosted"],
    ["manager"],
    ["server", "cli", "testing"],
]
"""From the bottom up: a module imports from lower layers, and from its own."""

RANK = {name: rank for rank, names in enumerate(LAYERS) for name in names}


def modules() -> list[Path]:
    return sorted(PACKAGE.rglob("*.py"))


def layer_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return parts[0]


def imports(path: Path, typing_too: bool = False) -> Iterator[str]:
    """Absolute names of what a module imports, those for type checkers alone left out."""
    tree = ast.parse(path.read_text("utf-8"))
    skipped = set()
    if not typing_too:
        for node in ast.walk(tree):
            if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
                skipped |= {id(inner) for inner in ast.walk(node)}
    package = ("budgetguard", *path.relative_to(PACKAGE).parent.parts)
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            stem = ".".join((*base, *([node.module] if node.module else [])))
            yield stem
            yield from (f"{stem}.{alias.name}" for alias in node.names)


def own_layers(path: Path) -> set[str]:
    """The layers of ours that a module imports."""
    parts = [name.split(".") for name in imports(path) if name.startswith("budgetguard.")]
    return {names[1] for names in parts if names[1] in RANK}


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_down(path: Path) -> None:
    """A change in one layer can only be felt above it."""
    layer = layer_of(path)
    if layer == "__init__":
        return
    assert layer in RANK, f"{path.name} is in no layer: put it into LAYERS, and into ARCHITECTURE.md"
    above = sorted(other for other in own_layers(path) if RANK[other] > RANK[layer])
    assert above == []


@pytest.mark.parametrize("path", sorted((PACKAGE / "stores").glob("*.py")), ids=lambda path: path.name)
def test_a_store_never_hears_of_budgets_models_or_sdks(path: Path) -> None:
    """So that adding one takes one file and no knowledge of the rest."""
    assert own_layers(path) <= {"ledger", "money", "errors", "locks", "interrupts", "stores"}


@pytest.mark.parametrize("path", sorted((PACKAGE / "adapters").glob("*.py")), ids=lambda path: path.name)
def test_an_adapter_reads_plain_data_and_does_no_io(path: Path) -> None:
    """So that the SDK's hook and a gateway can share one reader, and recordings can test it."""
    assert own_layers(path) <= {"calls", "adapters"}
    names = set(imports(path))
    assert not {name.partition(".")[0] for name in names} & {"openai", "httpx", "httpx2", "socket", "os", "io"}
    assert "open(" not in path.read_text("utf-8").replace("def open(", "")


def test_only_guards_streams_and_the_edges_await() -> None:
    """Everything that decides is written once, for sync and async code."""
    waiting = set()
    for path in modules():
        tree = ast.parse(path.read_text("utf-8"))
        if any(isinstance(node, ast.Await | ast.AsyncFor | ast.AsyncWith) for node in ast.walk(tree)):
            waiting.add(layer_of(path))
    assert waiting <= {
        "guards",
        "loops",
        "streams",
        "watches",
        "install",
        "sockets",
        "decorators",
        "completions",
        "server",
        "cli",
        "testing",
    }


def test_only_install_sets_attributes_of_other_peoples_modules() -> None:
    """There is one place to look for what was patched, and one to undo it."""
    patching = {
        layer_of(path)
        for path in modules()
        if layer_of(path) not in {"cli", "testing"} and "FunctionWrapper" in path.read_text("utf-8")
    }
    assert patching <= {"install", "sockets"}


def test_every_lock_is_made_in_one_place() -> None:
    """There they can be listed, and asked for their owner: `tests/test_locks.py` walks through them."""
    made = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "allocate_lock"}
    elsewhere = [
        f"{path.name}: {ast.unparse(node)}"
        for path in modules()
        if layer_of(path) not in {"locks", "testing"}
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in made
    ]
    assert elsewhere == []


class _Sync(ast.NodeTransformer):
    """Takes `async` and `await` off."""

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> ast.AST:
        self.generic_visit(node)
        return ast.FunctionDef(node.name, node.args, node.body, node.decorator_list, node.returns, lineno=0)

    def visit_Await(self, node: ast.Await) -> ast.AST:
        self.generic_visit(node)
        return node.value


def _methods(name: str) -> dict[str, str]:
    tree = ast.parse((PACKAGE / "guards.py").read_text("utf-8"))
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
        "print([name for name in ('openai', 'tiktoken', 'pydantic', 'genai_prices', 'httpx', 'httpx2', 'sqlite3', "
        "'wrapt', 'asyncio', 'typer', 'rich') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_every_module_says_what_it_is() -> None:
    """A newcomer reads the first lines."""
    silent = [path.name for path in modules() if not ast.get_docstring(ast.parse(path.read_text("utf-8")))]
    assert silent == []
