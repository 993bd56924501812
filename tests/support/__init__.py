"""What tests and benchmarks share: servers, providers, shapes of calls, books. No tests."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""

for _name in ("COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR"):  # of the terminal in which the tests happen to run
    os.environ.pop(_name, None)
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
"""Of a process that imports from here, wherever it runs."""
