"""
Every error of budgetguard.

    BudgetGuardError
    ├── BudgetExceededError     a call was refused before it was sent
    │   └── BudgetBusyError     ... by money that is only held: it may pass in a moment
    ├── AnswerCutError          an answer ended at a cap that a budget added (only where `on_cut="raise"` asks for it)
    ├── UnpricedModelError      the price of a model is not known (also a LookupError)
    ├── UnknownUserError        no budget was created for this user (also a KeyError)
    ├── UnscopedCallError       a call was refused that does not say whose it is
    ├── ConfigError             an argument, setting or file cannot be used (also a ValueError)
    │   └── ContendedError      others change the same all the time: it may succeed in a moment
    ├── BillError               a provider did not tell what it bills, or not as it says that it does
    └── StoreError              the store of budgets did not answer, or is not one
        ├── ConflictError       a call was settled again at another cost
        └── AmountError         an amount is beyond what a store can book, now and for ever

None of them derives from an SDK's error, so no retry loop takes a refusal for a
passing fault.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any, ClassVar, Protocol


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

    `budget`, `user`, `window` name the budget, `unit` says what it counts: "dollars", "tokens", "requests" or
    "parallel", the calls in flight.
    `spent`, `held`, `limit`, `projected` are `Money`, or whole numbers of another unit; `resets_at` is when the window
    ends, or `None`; `retry_after_s` in how many seconds there may be room again, from when it was raised: `None` where
    nobody knows. `paused`: people stopped all calls on this budget, until it is resumed. `current_cost` and
    `max_budget` are LiteLLM's: dollars, or as many of the budget's unit.

    Its `args` are plain JSON values that make it again: current cost, maximum, message, and `facts`, which are the
    attributes in whole nano-dollars and ISO 8601. So it comes back as itself from a pickle, and from a task queue
    that keeps results as JSON.
    """

    from_nano: ClassVar[Callable[[int], Amount]]
    """Makes `Money`, which errors do not know."""

    def __init__(
        self,
        current_cost: float,
        max_budget: float,
        message: str | None = None,
        facts: Mapping[str, Any] = MappingProxyType({}),
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
        retry_after_s: float | None = None,
        paused: bool = False,
    ) -> None:
        self.current_cost = current_cost
        self.max_budget = max_budget
        self.budget = facts.get("budget", budget)
        self.user = facts.get("user", user)
        self.window = facts.get("window", window)
        self.unit = facts.get("unit", unit)
        self.spent = self._amount(facts, "spent", spent)
        self.held = self._amount(facts, "held", held)
        self.limit = self._amount(facts, "limit", limit)
        self.projected = self._amount(facts, "projected", projected)
        self.retry_after_s: float | None = facts.get("retry_after_s", retry_after_s)
        self.paused: bool = facts.get("paused", paused)
        self.resets_at = datetime.fromisoformat(facts["resets_at"]) if "resets_at" in facts else resets_at
        self.message = message or (f"Budget has been exceeded! Current cost: {current_cost}, Max budget: {max_budget}")
        super().__init__(current_cost, max_budget, self.message, self._facts())

    def __str__(self) -> str:
        return self.message

    def add(self, text: str) -> None:
        """Say more, at the end of the message."""
        self.message += text
        self.args = (*self.args[:2], self.message, *self.args[3:])

    def _amount(self, facts: Mapping[str, Any], name: str, given: Amount | int | None) -> Amount | int | None:
        if name not in facts:
            return given
        plain: int = facts[name]
        return BudgetExceededError.from_nano(plain) if self.unit == "dollars" else plain

    def _facts(self) -> dict[str, Any]:
        """Every other attribute that says something, as JSON."""
        amounts = {"spent": self.spent, "held": self.held, "limit": self.limit, "projected": self.projected}
        said = {
            "budget": self.budget or None,
            "user": self.user,
            "window": self.window,
            "unit": self.unit,
            "retry_after_s": self.retry_after_s,
            "paused": self.paused or None,
            **{name: getattr(amount, "nano", amount) for name, amount in amounts.items()},
            "resets_at": None if self.resets_at is None else self.resets_at.isoformat(),
        }
        return {name: value for name, value in said.items() if value is not None}


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
    """
    No price is known for a model, so what a call costs cannot be known either. Its text has the line to add.

    `host` is where the call was to go, if it was one. `advice` makes the rest of the text from it, once somebody reads
    it: names are compared for that, and most of these errors are never shown.
    """

    def __init__(
        self,
        message: str,
        *,
        model: str = "",
        provider: str | None = None,
        host: str = "",
        advice: Callable[[str], str] | None = None,
    ) -> None:
        super().__init__(message)
        self.model = model
        self.provider = provider
        self.host = host
        self._advice = advice

    def __str__(self) -> str:
        advice = self._advice
        if advice is not None:
            text = f"{self.args[0]}{advice(self.host)}"
            self.args, self._advice = (text,), None
        return str(self.args[0])

    def __reduce__(self) -> tuple[Any, ...]:
        text = str(self)  # the advice cannot travel, its text can
        return _rebuild, (type(self), (text,), self.__dict__)


class UnknownUserError(BudgetGuardError, KeyError):
    """No budget was created for this user, whose name is `user`."""

    def __init__(self, message: str = "", *, user: str = "") -> None:
        super().__init__(message)
        self.user = user

    def __str__(self) -> str:  # KeyError would show the quoted repr
        return str(self.args[0])


class UnscopedCallError(BudgetGuardError):
    """
    A call was refused, before anything was sent: it does not say whose it is, so budgets would not hold for it.

    Its text names the line of the program, and what to write there.
    """


class ConfigError(BudgetGuardError, ValueError):
    """An argument, a setting or a file cannot be used as it is; the text says what to do."""


class ContendedError(ConfigError):
    """Others changed the same budget again and again while this was to change it: try again."""


class BillError(BudgetGuardError):
    """A provider did not tell what it bills: it did not answer, refused the key, or answered what is no bill."""


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
