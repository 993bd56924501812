"""
The command line: `budgetguard demo`, `users`, `budget`, `spend`, `run`, `doctor`, ...

An error of budgetguard is one line on stderr and exit code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..budgets.said.shown import on_lines
from ..errors import BudgetGuardError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command, by `sys.argv` unless `arguments` are given; ends in `SystemExit`."""
    from .app import app

    try:
        app(args=None if arguments is None else list(arguments), prog_name="budgetguard")
    except BudgetGuardError as error:
        fail(str(error))


def fail(message: str) -> None:
    """Say one line on stderr and exit with 2."""
    print(f"error: {on_lines(message)}", file=sys.stderr)
    sys.exit(2)
