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
    UnscopedCallError,
    find_budget_error,
)

if TYPE_CHECKING:
    from .budgets.rules import Budget
    from .completions import acompletion, completion
    from .guards.settings import Settings
    from .manager import BudgetManager
    from .money import Money
    from .prices.book import PriceBook
    from .scopes.carry import carry_scope
    from .scopes.context import budget
    from .scopes.decorators import budgeted
    from .scopes.progress import track
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
    "budget",
    "budgeted",
    "carry_scope",
    "track",
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
    "UnscopedCallError",
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


def _progress() -> ModuleType:
    from .scopes import progress

    return progress


def _notebook() -> ModuleType:
    from .middleware import notebook

    return notebook


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
    "track": _progress,
    "load_ipython_extension": _notebook,
    "unload_ipython_extension": _notebook,
}
"""Where a public name is from; imported only when it is asked for."""


BudgetExceededError.from_nano = staticmethod(lambda nano: _money().Money(nano))


class _Package(ModuleType):
    """The package as a module whose `max_budget` is checked when it is set."""

    @property
    def max_budget(self) -> float | None:
        """
        Dollars that this process may spend; `None` for no such limit. Set, it holds for every client until `unpatch`.

        `from budgetguard import max_budget` raises `ConfigError`: it would be a copy, and setting that sets nothing.
        """
        from .process.state import PROCESS

        asking = sys._getframe(1).f_code  # `from ... import` asks by this function of Python's, and nothing else does
        if asking.co_name == "_handle_fromlist" and asking.co_filename.startswith("<frozen importlib"):
            raise ConfigError(
                "from budgetguard import max_budget: that copies its value, and setting the copy limits nothing: "
                "write `import budgetguard` and `budgetguard.max_budget = 5.00`"
            )
        return PROCESS.max_budget

    @max_budget.setter
    def max_budget(self, value: object) -> None:
        from .process.state import PROCESS

        PROCESS.max_budget = value
        if value is not None:
            from .sdks.install import guard_all

            guard_all()

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
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)
        value = getattr(_HOMES[name](), name)
        setattr(self, name, value)
        return value

    def __setattr__(self, name: str, value: object) -> None:
        replaced = isinstance(value, ModuleType) or (callable(value) and name in _HOMES)  # by an import, by a test
        if not (replaced or name == "max_budget" or name.startswith("_")):
            from .budgets.said.words import word_for

            near = word_for(name, ["max_budget"])
            meant = f"did you mean budgetguard.{near}?" if near else "only max_budget can be set"
            raise ConfigError(f"budgetguard.{name} = ...: nothing is set by this name: {meant}")
        super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *__all__, "max_budget"})


sys.modules[__name__].__class__ = _Package
