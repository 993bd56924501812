"""
Hard budgets for LLM calls.

    import budgetguard

    budgetguard.patch()              # once at start-up: every OpenAI client of the process
    budgetguard.max_budget = 5.00    # dollars, this process
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .errors import (
    BudgetBusyError,
    BudgetExceededError,
    BudgetGuardError,
    ConfigError,
    ConflictError,
    StoreError,
    UnknownUserError,
    UnpricedModelError,
    find_budget_error,
)

if TYPE_CHECKING:
    from .budgets import Budget
    from .completions import acompletion, completion
    from .context import budget
    from .decorators import budgeted
    from .guards import Settings
    from .install import guard_client as guard
    from .install import patch, unpatch
    from .manager import BudgetManager
    from .money import Money
    from .prices import PriceBook
    from .scope import carry_scope

    max_budget: float | None
    _current_cost: float

__version__ = "0.2.0"

__all__ = [
    # guard calls
    "patch",
    "unpatch",
    "guard",
    "completion",
    "acompletion",
    # say who, and how much
    "max_budget",
    "budget",
    "budgeted",
    "carry_scope",
    "Budget",
    "BudgetManager",
    "Money",
    "PriceBook",
    "Settings",
    # when it says no
    "BudgetExceededError",
    "BudgetBusyError",
    "UnpricedModelError",
    "find_budget_error",
    # other errors
    "BudgetGuardError",
    "ConfigError",
    "ConflictError",
    "StoreError",
    "UnknownUserError",
]

_LAZY = {
    "Budget": ("budgets", "Budget"),
    "BudgetManager": ("manager", "BudgetManager"),
    "Money": ("money", "Money"),
    "PriceBook": ("prices", "PriceBook"),
    "Settings": ("guards", "Settings"),
    "acompletion": ("completions", "acompletion"),
    "budget": ("context", "budget"),
    "budgeted": ("decorators", "budgeted"),
    "carry_scope": ("scope", "carry_scope"),
    "completion": ("completions", "completion"),
    "guard": ("install", "guard_client"),
    "patch": ("install", "patch"),
    "unpatch": ("install", "unpatch"),
}


class _Package(ModuleType):
    """The package as a module whose `max_budget` is checked when it is set."""

    @property
    def max_budget(self) -> float | None:
        """Dollars that this process may spend on guarded calls; `None` for no such limit."""
        from .process import PROCESS

        return PROCESS.max_budget

    @max_budget.setter
    def max_budget(self, value: object) -> None:
        from .process import PROCESS

        PROCESS.max_budget = value

    @property
    def _current_cost(self) -> float:
        """Dollars that this process has spent under `max_budget`. Setting it to 0 begins again."""
        from .process import PROCESS

        return PROCESS.spent / 1_000_000_000

    @_current_cost.setter
    def _current_cost(self, value: float) -> None:
        from .process import PROCESS

        if value != 0:
            raise ConfigError(f"_current_cost={value!r}: it counts by itself, and can only be set to 0")
        PROCESS.reset()

    def __getattr__(self, name: str) -> Any:
        if name not in _LAZY:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        from importlib import import_module

        module, attribute = _LAZY[name]
        value = getattr(import_module(f".{module}", self.__name__), attribute)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *__all__})


sys.modules[__name__].__class__ = _Package
