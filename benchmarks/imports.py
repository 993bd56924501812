"""What `import budgetguard` costs, in fresh interpreters, and that it brings no SDK along."""

from __future__ import annotations

import statistics
import subprocess
import sys

from .floors import Floors

MOST_MS = 40.0

PROGRAM = """
import sys, time
before = set(sys.modules)
started = time.perf_counter()
import budgetguard
took = time.perf_counter() - started
heavy = {"openai", "tiktoken", "pydantic", "genai_prices", "httpx", "httpx2", "sqlite3", "wrapt"} & set(sys.modules)
print(took * 1000, ",".join(sorted(heavy)))
"""


def main() -> None:
    runs = [
        subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True) for _ in range(11)
    ]
    times = [float(run.stdout.split()[0]) for run in runs[1:]]
    heavy = runs[-1].stdout.split()[1:]
    floors, took = Floors(), statistics.median(times)
    mark = floors.mark(took <= MOST_MS and not heavy)
    print(f"import budgetguard: {took:.1f} ms (floor {MOST_MS:.0f} ms), heavy imports: {heavy or 'none'}{mark}")
    floors.leave()


if __name__ == "__main__":
    main()
