"""What tests and benchmarks share: servers, providers, shapes of calls, books. No tests."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The checkout."""

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
"""Of a process that imports from here, wherever it runs."""
