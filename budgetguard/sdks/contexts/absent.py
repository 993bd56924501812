"""A manager that did not come along into another process: the calls that it should decide on are refused."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

from ...calls import UNKNOWN_HOST, Endpoint, Host
from ...errors import ConfigError
from ...guards.guard import Guard
from ...guards.scope import Scope

_PATCHED = (
    "the parent of this process has the budgets of a manager, which do not come along into a new interpreter: make the "
    "BudgetManager and call budgetguard.patch(manager) here, too: where modules are imported, outside of "
    "`if __name__ == '__main__'`, or in the pool's initializer"
)
_ENTERED = (
    "this scope is inside `with manager`, and a manager does not come along into another process: enter it in the "
    "function that is sent there, or call budgetguard.patch(manager) in both processes instead of entering it"
)


class AbsentGuard(Guard):
    """Says what to write instead."""

    def __init__(self, why: str) -> None:
        super().__init__()
        self.why = why

    @classmethod
    def patched(cls) -> AbsentGuard:
        """For the manager that was given to `patch`."""
        return cls(_PATCHED)

    @classmethod
    def entered(cls) -> AbsentGuard:
        """For a manager that was entered."""
        return cls(_ENTERED)

    def covers(self, scope: Scope | None) -> bool:
        """Nobody knows."""
        return True

    def charge(
        self,
        endpoint: Endpoint,
        body: Mapping[str, Any],
        files: Sequence[Any],
        provider: str | None,
        scope: Scope | None,
        *,
        host: Host = UNKNOWN_HOST,
    ) -> NoReturn:
        """Raises `ConfigError`."""
        raise ConfigError(self.why)
