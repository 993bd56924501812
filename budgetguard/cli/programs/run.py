"""`run script.py --budget 5`: a program that knows nothing of budgets, under one."""

from __future__ import annotations

import os
import runpy
import sys
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import thread as pools
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...config.file import beside
from ...config.forms import require_known, variable
from ...errors import BudgetExceededError, BudgetGuardError, ConfigError, find_budget_error
from ...money import Money, format_nano, parse_dollars
from .. import FAILED, REFUSED
from ..common.options import PricesOption, ProjectOption, StoreOption, readable
from .keeping import KeptRun
from .running import RunProgress, progress_of

if TYPE_CHECKING:
    from ...process.state import Process

RAISED, INTERRUPTED = 1, 130
"""Exit codes of a program that ends by an exception, as the interpreter has them."""


ProgramArgument = Annotated[str, typer.Argument(help="A Python file; with --module the name of a module.")]
ArgumentsArgument = Annotated[list[str] | None, typer.Argument(help="For the program; after -- if we have the same.")]
BudgetOption = Annotated[
    str | None,
    typer.Option("--budget", envvar="BUDGETGUARD_MAX_BUDGET", metavar="DOLLARS", help="What this run may spend."),
]
UserOption = Annotated[
    str | None, typer.Option(help="Who spends it; their own budget in the store holds as well.", callback=readable)
]
ModuleOption = Annotated[bool, typer.Option("--module", help="Run a module, as python -m does.")]
SettingsOption = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A setting, such as usage_hosts=localhost:8080; may be repeated."),
]
NoStoreOption = Annotated[bool, typer.Option("--no-store", help="Keep nothing of what it spends.")]
ProgressOption = Annotated[
    str,
    typer.Option(help="auto (on a terminal: its title, and lines at 50, 80 and 95 %), lines, title or off."),
]
EveryOption = Annotated[
    float, typer.Option(metavar="SECONDS", help="How often there is a line, with --progress lines.")
]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing, but why it ended.")]


def run(
    program: ProgramArgument,
    arguments: ArgumentsArgument = None,
    *,
    budget: BudgetOption = None,
    user: UserOption = None,
    module: ModuleOption = False,
    prices: PricesOption = None,
    store: StoreOption = None,
    name: ProjectOption = None,
    no_store: NoStoreOption = False,
    progress: ProgressOption = "auto",
    every: EveryOption = 10.0,
    quiet: QuietOption = False,
    settings: SettingsOption = None,
) -> None:
    """Run any program under a budget.

    It need not know of budgets. What it spends is kept in the store, by its name (budgetguard spend --by run), and said
    on stderr at its end; its exit code is kept.

    Example: budgetguard run --budget 5 script.py
    """
    from ...process.state import PROCESS

    limit = _limit(budget)
    _require(program, module=module)
    shows = RunProgress(PROCESS, progress_of("off" if quiet else progress, every))
    _state(settings or [], store=store, project=name, prices=prices)
    kept = KeptRun.of(store, name, program, no_store=no_store, quiet=quiet)
    with ExitStack() as stack:
        _guard(stack, user)
        PROCESS.max_budget, PROCESS.tags = limit, kept.tags
        stack.enter_context(shows)
        code = _guarded(lambda: _run(program, arguments or [], module=module))
        _wait(PROCESS)
        said = _report(PROCESS)
    if not quiet:
        print("\n".join([said, *kept.said()]), file=sys.stderr)
    raise typer.Exit(code)


def _limit(budget: str | None) -> float:
    if budget is None:
        raise ConfigError("--budget is missing: say how many dollars the program may spend, such as --budget 5")
    return float(Money(parse_dollars(budget, name="--budget")))


def _require(program: str, *, module: bool) -> None:
    if not module and not Path(program).is_file():
        raise ConfigError(f"{program!r} is no file: name a Python file, or a module with --module")


def _set(pairs: list[str]) -> None:
    """Put settings where the program's own managers find them, too: into its environment."""
    for pair in pairs:
        name, separator, value = pair.partition("=")
        if not (separator and value):
            raise ConfigError(f"--set {pair!r}: write NAME=VALUE, such as usage_hosts=localhost:8080")
        require_known([name], "--set")
        os.environ[variable(name)] = value


def _state(settings: list[str], *, store: str | None, project: str | None, prices: Path | None) -> None:
    """Likewise what was said of where budgets live, which holds wherever the program goes."""
    _set(settings)
    here = Path.cwd()
    said = {
        "store": None if store is None else beside(store, here),
        "project": project,
        "prices": None if prices is None else str(here / prices),
    }
    os.environ.update({variable(name): value for name, value in said.items() if value is not None})


def _guard(stack: ExitStack, user: str | None) -> None:
    """Patch the SDKs, by what the settings say, and stay inside the user's scope."""
    import budgetguard

    from ...sdks.install import default_guard

    budgetguard.patch()
    stack.callback(budgetguard.unpatch)
    stack.callback(lambda: default_guard().close())
    if user is not None:
        stack.enter_context(budgetguard.budget(user=user))


def _run(program: str, arguments: list[str], *, module: bool) -> None:
    sys.argv = [program, *arguments]
    if module:
        sys.path.insert(0, "")
        runpy.run_module(program, run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, str(Path(program).resolve().parent))
        runpy.run_path(program, run_name="__main__")


def _guarded(target: Callable[[], None]) -> int:
    """Run the program; its exit code, as the interpreter would have it."""
    try:
        target()
    except SystemExit as end:
        return _exit_code(end.code)
    except KeyboardInterrupt:
        return INTERRUPTED
    except BaseException as error:
        refusal = find_budget_error(error)
        if refusal is not None or isinstance(error, BudgetGuardError):
            print(f"error: {_refusal(refusal) if refusal is not None else error}", file=sys.stderr)
            return FAILED if refusal is None else REFUSED
        _print_traceback(error)
        return RAISED
    return 0


def _exit_code(code: Any) -> int:
    if code is None or isinstance(code, int):
        return code or 0
    print(code, file=sys.stderr)
    return 1


def _refusal(error: BudgetExceededError) -> str:
    return " ".join(str(error).split())


def _print_traceback(error: BaseException) -> None:
    """The program's traceback, without the frames that started it."""
    frames = error.__traceback__
    ours = {__file__, runpy.__file__, "<frozen runpy>"}
    while frames is not None and frames.tb_next is not None and frames.tb_frame.f_code.co_filename in ours:
        frames = frames.tb_next
    traceback.print_exception(type(error), error, frames)


def _wait(process: Process) -> None:
    """Let the program's threads end, as the interpreter would, so that all they spend is counted."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            idle = 0
            while thread.is_alive() and idle < _SURE:
                thread.join(_LOOK_S)
                idle = idle + 1 if _is_idle(thread) else 0
    process.reaper.drain()


_LOOK_S = 0.02
_SURE = 2
"""How often a worker has to be seen idle in a row: between two pieces of work it looks so for an instant."""


def _is_idle(thread: threading.Thread) -> bool:
    """Whether it is an idle worker of a pool that nobody shut down: it ends with the interpreter."""
    queue = pools._threads_queues.get(thread)
    frame = sys._current_frames().get(thread.ident or 0)
    return queue is not None and queue.empty() and frame is not None and frame.f_code is pools._worker.__code__


def _report(process: Process) -> str:
    limit = 0 if process.tally is None else process.tally.account.limit or 0
    return f"budgetguard: {format_nano(process.spent)} of {format_nano(limit)} spent"
