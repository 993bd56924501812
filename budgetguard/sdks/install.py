"""
`patch`, `unpatch` and `guard`: which seams are in place, and by whose budgets they act.

Nothing is imported for it: a package is patched when the program imports it, and one that is never imported costs
nothing.
"""

from __future__ import annotations

from typing import Any

from ..config import configured_guard
from ..guards.guard import Guard
from ..guards.scope import Scope, current
from ..process.state import PROCESS
from . import stainless, websockets
from .contexts import processes, threads
from .contexts.absent import AbsentGuard
from .hooks import Manages, Patches, default_guard, guard_in, hook, mark, unhook

__all__ = ["default_guard", "enter_process", "guard_client", "install", "patch", "unpatch"]


def patch(manager: Manages | Guard | None = None, *, threads: bool = False) -> None:
    """
    Guard every client of the SDKs in this process, whenever it was made: OpenAI's and Anthropic's.

    `manager`, if given, becomes the process's default: its budgets hold wherever no other manager is entered.
    Without one, a store named in `budgetguard.toml` or `BUDGETGUARD_STORE` makes the default. Calling it again
    changes the default and nothing else.

    `threads`: a thread that is started inside a scope, and what a `ThreadPoolExecutor` is handed there (so
    `loop.run_in_executor`, too), runs in that scope, as if by `carry_scope`; until `unpatch()`.
    """
    if manager is not None:
        Patches.guard, Patches.given = guard_in(manager), True
    elif Patches.guard is None:
        Patches.guard = configured_guard()
    Patches.threads = Patches.threads or threads
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


def enter_process(luggage: processes.Luggage) -> Scope | None:
    """Have what another process sent hold in this one; the scope that was among it."""
    install()
    if luggage.max_budget is not None and (PROCESS.tally is None or PROCESS.tally.left_behind):
        PROCESS.adopt(luggage.max_budget)
    if luggage.everywhere and not Patches.everywhere:
        Patches.everywhere = True
        Patches.guard = AbsentGuard.patched() if luggage.managed else configured_guard()
    return None if luggage.scope is None else luggage.scope.scope()


def begin_process(luggage: processes.Luggage) -> processes.Inheritance:
    """The same at the beginning of a process, which has the scope that it was started in."""
    if luggage.max_budget is not None:
        PROCESS.adopt(luggage.max_budget)
    current.set(enter_process(luggage))
    return INHERITANCE


INHERITANCE = processes.Inheritance(begin_process)

_HOOKS = {**stainless.HOOKS, **websockets.HOOKS, **threads.HOOKS, **processes.hooks(INHERITANCE)}
"""What is patched in which module."""
