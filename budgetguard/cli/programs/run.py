"""`run script.py --budget 5`: a program that knows nothing of budgets, under one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...config.file import beside
from ...config.forms import require_known, variable
from ...errors import ConfigError
from ...money import Money, format_nano, parse_dollars
from .. import FAILED, REFUSED
from ..common.options import PricesOption, ProjectOption, StoreOption, readable
from .ending import Stderr, at_the_end, guarded
from .keeping import KeptRun
from .mains import run_file, run_module
from .running import RunProgress, progress_of

if TYPE_CHECKING:
    from ...process.state import Process

_OURS = frozenset({__file__, run_file.__code__.co_filename, guarded.__code__.co_filename})
"""Where the frames are that start a program."""

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
    _guard(user)
    PROCESS.max_budget, PROCESS.tags = limit, kept.tags
    stderr = Stderr()
    at_the_end(PROCESS, lambda: _end(PROCESS, shows, kept, quiet=quiet), stderr)
    shows.__enter__()
    raise typer.Exit(guarded(lambda: _run(program, arguments or [], module=module), stderr, _OURS, (FAILED, REFUSED)))


def _end(process: Process, shows: RunProgress, kept: KeptRun, *, quiet: bool) -> list[str]:
    """What is said when all is on the books."""
    shows.__exit__()
    return [] if quiet else [_report(process), *kept.said()]


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


def _guard(user: str | None) -> None:
    """Patch the SDKs, by what the settings say, and enter the user's scope: both last as long as the process."""
    import budgetguard

    budgetguard.patch()
    if user is not None:
        budgetguard.budget(user=user).__enter__()


def _run(program: str, arguments: list[str], *, module: bool) -> None:
    (run_module if module else run_file)(program, arguments)


def _report(process: Process) -> str:
    limit = 0 if process.tally is None else process.tally.account.limit or 0
    return f"budgetguard: {format_nano(process.spent)} of {format_nano(limit)} spent"
