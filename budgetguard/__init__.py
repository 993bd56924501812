"""
Hard budgets for LLM calls.

    import budgetguard

    budgetguard.patch()              # once at start-up: every OpenAI client of the process
    budgetguard.max_budget = 5.00    # dollars, this process
"""

from __future__ import annotations

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from .errors import (
    AnswerCutError,
    BudgetBusyError,
    BudgetExceededError,
    BudgetGuardError,
    ConfigError,
    ConflictError,
    ContendedError,
    StoreError,
    UnknownUserError,
    UnpricedModelError,
    find_budget_error,
)

if TYPE_CHECKING:
    from .budgets.rules import Budget
    from .completions import acompletion, completion
    from .guards.scope import carry_scope
    from .guards.settings import Settings
    from .manager import BudgetManager
    from .money import Money
    from .prices.book import PriceBook
    from .scopes.context import budget
    from .scopes.decorators import budgeted
    from .sdks.install import guard_client as guard
    from .sdks.install import patch, unpatch

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
    "AnswerCutError",
    "BudgetBusyError",
    "UnpricedModelError",
    "find_budget_error",
    # other errors
    "BudgetGuardError",
    "ConfigError",
    "ConflictError",
    "ContendedError",
    "StoreError",
    "UnknownUserError",
]


def _sdks() -> ModuleType:
    from . import sdks

    return sdks


def _completions() -> ModuleType:
    from . import completions

    return completions


def _budgets() -> ModuleType:
    from . import budgets

    return budgets


def _manager() -> ModuleType:
    from . import manager

    return manager


def _money() -> ModuleType:
    from . import money

    return money


def _prices() -> ModuleType:
    from . import prices

    return prices


def _guards() -> ModuleType:
    from . import guards

    return guards


def _scopes() -> ModuleType:
    from . import scopes

    return scopes


_HOMES: Final = {
    "patch": _sdks,
    "unpatch": _sdks,
    "guard": _sdks,
    "completion": _completions,
    "acompletion": _completions,
    "Budget": _budgets,
    "BudgetManager": _manager,
    "Money": _money,
    "PriceBook": _prices,
    "Settings": _guards,
    "budget": _scopes,
    "budgeted": _scopes,
    "carry_scope": _scopes,
}
"""Where a public name is from; imported only when it is asked for."""


class _Package(ModuleType):
    """The package as a module whose `max_budget` is checked when it is set."""

    @property
    def max_budget(self) -> float | None:
        """Dollars that this process may spend on guarded calls; `None` for no such limit."""
        from .process.state import PROCESS

        return PROCESS.max_budget

    @max_budget.setter
    def max_budget(self, value: object) -> None:
        from .process.state import PROCESS

        PROCESS.max_budget = value

    @property
    def _current_cost(self) -> float:
        """Dollars that this process has spent under `max_budget`. Setting it to 0 begins again."""
        from .process.state import PROCESS

        return PROCESS.spent / 1_000_000_000

    @_current_cost.setter
    def _current_cost(self, value: float) -> None:
        from .process.state import PROCESS

        if value != 0:
            raise ConfigError(f"_current_cost={value!r}: it counts by itself, and can only be set to 0")
        PROCESS.reset()

    def __getattr__(self, name: str) -> Any:
        if name not in _HOMES:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        value = getattr(_HOMES[name](), name)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *__all__})


sys.modules[__name__].__class__ = _Package
