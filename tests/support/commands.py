"""The command line, called as a function."""

from __future__ import annotations

import pytest

from budgetguard.cli import main


def exit_code(*arguments: str) -> int:
    """Its exit code."""
    with pytest.raises(SystemExit) as end:
        main(arguments)
    return int(end.value.code or 0)
