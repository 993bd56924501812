"""
The command line: `budgetguard demo`, `users`, `budget`, `spend`, `run`, `doctor`, ...

An error of budgetguard is one line on stderr and exit code 2; where a budget said no, it is 3.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..budgets.said.shown import on_lines
from ..errors import BudgetExceededError, BudgetGuardError

FAILED, REFUSED = 2, 3
"""Exit codes: of what cannot be done, and of a budget that says no."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command, by `sys.argv` unless `arguments` are given; ends in `SystemExit`."""
    said = list(sys.argv[1:] if arguments is None else arguments)
    try:
        if said[:1] == ["statusline"]:  # for a prompt: it does not wait for the other commands to be imported
            from .live.statusline import statusline_app

            statusline_app(args=said[1:], prog_name="budgetguard statusline")
        from .app import app

        app(args=said, prog_name="budgetguard")
    except BudgetGuardError as error:
        fail(str(error), REFUSED if isinstance(error, BudgetExceededError) else FAILED)


def fail(message: str, code: int = FAILED) -> None:
    """Say one line on stderr and exit."""
    print(f"error: {on_lines(message)}", file=sys.stderr)
    sys.exit(code)
