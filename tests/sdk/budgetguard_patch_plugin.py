"""
A pytest plugin for the SDK's own tests: every call in them is guarded.

Every model has a price, unknown ones too, and the budget is ample, so that a guarded call may differ from an unguarded
one in nothing.
"""

from __future__ import annotations

from typing import Any

import budgetguard
from budgetguard import Budget, BudgetManager
from budgetguard.prices.book import PriceBook

UNITS = ("input_characters", "input_audio_seconds", "video_seconds/720x1280", "images/standard/1024x1024")
TOOLS = ("web_searches", "storage_searches", "code_executions")
PRICES = PriceBook(overrides={"*": {"input": 1, "output": 1, **dict.fromkeys((*UNITS, *TOOLS), 0.01)}})
MANAGER = BudgetManager("sdk", store="memory://", prices=PRICES, budgets=[Budget("all", 9_000_000, enforce="soft")])


def pytest_configure(config: Any) -> None:
    """Patch before any test module is imported."""
    budgetguard.patch(MANAGER)


def pytest_unconfigure(config: Any) -> None:
    """Say how many calls were guarded, so that nobody takes an idle patch for a transparent one."""
    path = config.getoption("--calls", default=None)
    if path:
        with open(path, "a", encoding="utf-8") as file:
            file.write(f"{len(list(MANAGER.store.entries()))}\n")


def pytest_addoption(parser: Any) -> None:
    """`--calls FILE`: where to count."""
    parser.addoption("--calls", default=None)
