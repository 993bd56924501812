"""
Every error of budgetguard.

    BudgetGuardError
    ├── BudgetExceededError     a call was refused before it was sent
    │   └── BudgetBusyError     ... by money that is only held: it may pass in a moment
    ├── AnswerCutError          an answer ended at a cap that a budget added (only where `on_cut="raise"` asks for it)
    ├── UnpricedModelError      the price of a model is not known (also a LookupError)
    ├── UnknownUserError        no budget was created for this user (also a KeyError)
    ├── ConfigError             an argument, setting or file cannot be used (also a ValueError)
    │   └── ContendedError      others change the same all the time: it may succeed in a moment
    └── StoreError              the store of budgets did not answer, or is not one
        ├── ConflictError       a call was settled again at another cost
        └── AmountError         an amount is beyond what a store can book, now and for ever

None of them derives from an SDK's error, so no retry loop takes a refusal for a
passing fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from datetime import datetime


class Amount(Protocol):
    """An amount of dollars, as `Money` is one, which errors themselves do not know."""

    nano: int

    def __float__(self) -> float:
        """In dollars."""


class BudgetGuardError(Exception):
    """The base of every error of budgetguard."""


class BudgetExceededError(BudgetGuardError):
    """
    A call was refused, before anything was sent: a budget has no room for it.

    `budget`, `user`, `window` name the budget, `unit` says what it counts: "dollars", "tokens" or "requests".
    `spent`, `held`, `limit`, `projected` are `Money`, or whole numbers of another unit; `resets_at` is when the window
    ends, or `None`. `current_cost` and `max_budget` are LiteLLM's: dollars, or as many of the budget's unit.
    """

    def __init__(
        self,
        current_cost: float,
        max_budget: float,
        message: str | None = None,
        *,
        budget: str = "",
        user: str | None = None,
        window: str | None = None,
        spent: Amount | int | None = None,
        held: Amount | int | None = None,
        limit: Amount | int | None = None,
        projected: Amount | int | None = None,
        resets_at: datetime | None = None,
        unit: str = "dollars",
    ) -> None:
        self.current_cost = current_cost
        self.max_budget = max_budget
        self.budget = budget
        self.user = user
        self.window = window
        self.spent = spent
        self.held = held
        self.limit = limit
        self.projected = projected
        self.resets_at = resets_at
        self.unit = unit
        self.message = message or (f"Budget has been exceeded! Current cost: {current_cost}, Max budget: {max_budget}")
        super().__init__(self.message)

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep every attribute through pickle, which calls an exception's class with `args` alone."""
        return _rebuild, (type(self), self.args, self.__dict__)


class BudgetBusyError(BudgetExceededError):
    """A call was refused because calls in flight hold the room it needs: it may pass in a moment."""


class AnswerCutError(BudgetGuardError):
    """
    An answer ended at an output cap that a hard budget added: it was paid for, and is on the books.

    `answer` is what the SDK returned; `None` for a stream, whose items came before. `cap` is in output tokens.
    """

    def __init__(self, message: str, *, answer: Any = None, cap: int = 0) -> None:
        super().__init__(message)
        self.answer = answer
        self.cap = cap

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


class UnpricedModelError(BudgetGuardError, LookupError):
    """No price is known for a model, so what a call costs cannot be known either. Its text has the line to add."""

    def __init__(self, message: str, *, model: str = "", provider: str | None = None) -> None:
        super().__init__(message)
        self.model = model
        self.provider = provider

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


class UnknownUserError(BudgetGuardError, KeyError):
    """No budget was created for this user, whose name is `user`."""

    def __init__(self, message: str = "", *, user: str = "") -> None:
        super().__init__(message)
        self.user = user

    def __str__(self) -> str:  # KeyError would show the quoted repr
        return str(self.args[0])


class ConfigError(BudgetGuardError, ValueError):
    """An argument, a setting or a file cannot be used as it is; the text says what to do."""


class ContendedError(ConfigError):
    """Others changed the same budget again and again while this was to change it: try again."""


class StoreError(BudgetGuardError):
    """The store did not answer, cannot be opened, or is not a store of budgetguard."""


class AmountError(StoreError):
    """An amount is below zero, or larger than a store can book: it makes no sense to try again."""


class ConflictError(StoreError):
    """A call that was settled already was settled again at another cost; the first stands."""


def find_budget_error(error: BaseException | None) -> BudgetExceededError | None:
    """The refusal inside a framework's own error: the first in its chain of causes, contexts and groups, or `None`."""
    seen: set[int] = set()
    queue = [error]
    while queue:
        candidate = queue.pop(0)
        if candidate is None or id(candidate) in seen:
            continue
        if isinstance(candidate, BudgetExceededError):
            return candidate
        seen.add(id(candidate))
        queue += [candidate.__cause__, candidate.__context__]
        if isinstance(candidate, BaseExceptionGroup):
            queue += candidate.exceptions
    return None


def _rebuild(kind: type[Exception], args: tuple[Any, ...], state: dict[str, Any]) -> Exception:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error
