"""
The command line: `budgetguard demo`, `users`, `budget`, `spend`, `run`, `doctor`, ...

An error of budgetguard is one line on stderr and exit code 2.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from ..errors import BudgetGuardError, ConfigError


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command, by `sys.argv` unless `arguments` are given; ends in `SystemExit`."""
    from .app import app

    try:
        _require_readable(sys.argv[1:] if arguments is None else arguments)
        app(args=None if arguments is None else list(arguments), prog_name="budgetguard")
    except BudgetGuardError as error:
        fail(str(error))


def _require_readable(arguments: Sequence[str]) -> None:
    """Raise `ConfigError` for letters that the locale does not have: the name that they make is nobody's."""
    encoding = sys.getfilesystemencoding()
    if encoding == "utf-8":
        return
    for each in arguments:
        if any("\udc80" <= letter <= "\udcff" for letter in each):
            raise ConfigError(f"{each!a} has letters that this locale ({encoding}) does not have: set PYTHONUTF8=1")


def fail(message: str) -> None:
    """Say one line on stderr and exit with 2."""
    print(f"error: {message}", file=sys.stderr)
    sys.exit(2)
