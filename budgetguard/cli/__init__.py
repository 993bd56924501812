"""
The command line: `budgetguard demo`, `users`, `budget`, `spend`, `run`, `doctor`, ...

It needs typer and rich, the `cli` extra. An error of budgetguard is one line on
stderr and exit code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..errors import BudgetGuardError

_NEEDED = {"typer", "rich", "click", "tomlkit"}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command, by `sys.argv` unless `arguments` are given; ends in `SystemExit`."""
    try:
        from .app import app
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        fail(f"the command line needs {error.name}: install the extra `cli`, as in budgetguard-llm[cli]")
    try:
        app(args=None if arguments is None else list(arguments), prog_name="budgetguard")
    except BudgetGuardError as error:
        fail(str(error))


def fail(message: str) -> None:
    """Say one line on stderr and exit with 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
