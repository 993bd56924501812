"""
`patch`, `unpatch` and `guard`: which seams are in place, and by whose budgets they act.

Nothing is imported for it: a package is patched when the program imports it, and one that is never imported costs
nothing.
"""

from __future__ import annotations

from typing import Any

from ..config import configured_guard
from ..errors import ConfigError
from ..guards.guard import Guard
from ..prices.given import GivenPrices
from . import stainless, websockets
from .hooks import Manages, Patches, default_guard, guard_in, hook, mark, unhook

__all__ = ["default_guard", "guard_client", "install", "patch", "unpatch"]


def patch(manager: Manages | Guard | None = None, *, prices: GivenPrices | None = None) -> None:
    """
    Guard every client of the SDKs in this process, whenever it was made: OpenAI's and Anthropic's.

    `manager`, if given, becomes the process's default: its budgets hold wherever no other manager is entered.
    Without one, a store named in `budgetguard.toml` or `BUDGETGUARD_STORE` makes the default. Calling it again
    changes the default and nothing else. `prices` are those of that default: models that the list does not have
    (`{"my-model": {"input": 0.15, "output": 0.60}}`, dollars per million tokens), the path of a price file, or a
    `PriceBook`. Raises `ConfigError` for those beside a manager, which has its own.
    """
    if prices is not None and (manager is not None or Patches.managed):
        raise ConfigError("patch(prices=...): the manager has prices of its own: write BudgetManager(..., prices=...)")
    if manager is not None:
        Patches.guard, Patches.managed = guard_in(manager), True
    elif Patches.guard is None or prices is not None:
        Patches.guard = configured_guard(prices=prices)
    Patches.wanted.clear()  # look again: another tool may have taken ours out since
    install()
    Patches.everywhere = True


def unpatch() -> None:
    """Undo `patch`: the SDKs' classes are what they were, and the process has no default manager."""
    unhook()


def guard_client(client: Any, manager: Manages | Guard | None = None) -> Any:
    """
    Guard one client of an SDK, and the copies that `with_options` makes of it, without patching the others.

    Returns the client. Raises `TypeError` for what is no client of an SDK that is known here.
    """
    if not stainless.is_client(client):
        raise TypeError(f"guard(client): {stainless.CLIENTS} client is needed, not {type(client).__name__}")
    install()
    mark(client, (None if manager is None else guard_in(manager),))
    return client


def install() -> None:
    """Have the wrappers in place, now or when the SDK is imported; they act for guarded clients and inside scopes."""
    hook(_HOOKS)


_HOOKS = {**stainless.HOOKS, **websockets.HOOKS}
"""What is patched in which module."""
