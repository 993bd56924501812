"""
All benchmarks, one after the other: `python -m benchmarks [--quick]`.

Each prints all of its rows, and ends with the number of those that missed their floor; so does this, with their sum. A
benchmark that breaks counts as one.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from .floors import MOST_STATUS

MODULES = ("imports", "calls", "redis", "postgres", "leases", "hosted", "gateway")
PLAIN = frozenset({"imports", "hosted"})
"""Those that are quick as they are."""

HERE = Path(__file__).parent
LITELLM = HERE.parent / ".cache/litellm/bin/python"


def commands(quick: bool) -> list[list[str]]:
    """Every benchmark; LiteLLM's manager has an environment of its own."""
    modules = [
        [sys.executable, "-m", f"benchmarks.{name}", *(["--quick"] if quick and name not in PLAIN else [])]
        for name in MODULES
    ]
    beside = str(HERE / "litellm_manager.py")
    theirs = [[str(LITELLM), beside, "litellm"]] if LITELLM.exists() else []
    return [*modules, [sys.executable, beside, "budgetguard"], *theirs]


def run(each: Sequence[Sequence[str]]) -> int:
    """Run all of them, whatever some say; how many rows missed."""
    missed = 0
    for command in each:
        print(f"\n== {' '.join(command[1:])}", flush=True)
        missed += abs(subprocess.run(command, check=False).returncode)
    return missed


def main() -> None:
    missed = run(commands("--quick" in sys.argv[1:]))
    print(f"\n{missed} rows missed their floor" if missed else "\nevery row keeps its floor")
    raise SystemExit(min(missed, MOST_STATUS))


if __name__ == "__main__":
    main()
