"""What every test starts from: nothing patched, no process-wide limit, no store in the environment."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import budgetguard
from budgetguard.process import PROCESS


@pytest.fixture(autouse=True)
def _clean_process(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in [name for name in os.environ if name.startswith("BUDGETGUARD_")]:
        monkeypatch.delenv(name)
    yield
    budgetguard.unpatch()
    budgetguard.max_budget = None
    PROCESS.reaper.drain()
    PROCESS.reset()
