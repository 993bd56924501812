"""
What is patched, and for whom it acts: wrappers of other people's methods, which can all be taken out again.

The only place where an attribute of an SDK is set. A wrapper acts while ours are wanted, for clients that are guarded
one by one, inside scopes, and for every client once `patch` was called.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import ModuleType
from typing import Any, ClassVar, Protocol

import wrapt

from ..errors import ConfigError
from ..guards.guard import Guard
from ..guards.scope import Scope

MARK = "_budgetguard"
"""Where the guard of a client is found in its `__dict__`."""


class Manages(Protocol):
    """What has budgets: a `BudgetManager`."""

    @property
    def guard(self) -> Guard:
        """The guard that it acts by."""


class Patches:
    """What is installed, and for whom it acts."""

    everywhere = False
    guard: ClassVar[Guard | None] = None
    """The default: that of the manager which `patch` was given."""
    given = False
    """Whether it was given, and not found in the settings."""
    threads = False
    """Whether threads are to carry scopes."""
    wanted: ClassVar[list[bool]] = []
    """Not empty while the wrappers are to act: `wrapt` asks for its truth, and would call a function."""
    hooked: ClassVar[set[str]] = set()
    """Modules that are patched when they are imported."""
    patched: ClassVar[dict[tuple[Any, str], wrapt.FunctionWrapper[..., Any]]] = {}
    """The wrappers in place, by their owner and name."""


def hook(hooks: Mapping[str, Callable[[ModuleType], None]]) -> None:
    """Have modules patched, now or when they are imported: nothing is imported for it."""
    if Patches.wanted:
        return
    Patches.wanted.append(True)
    for module, patch in hooks.items():
        if module not in Patches.hooked:
            Patches.hooked.add(module)
            wrapt.register_post_import_hook(partial(_patched, patch), module)  # at once, if it is imported
        elif module in sys.modules:
            patch(sys.modules[module])


def _patched(patch: Callable[[ModuleType], None], module: ModuleType) -> None:
    if Patches.wanted:
        patch(module)


def unhook() -> None:
    """Take every wrapper out again."""
    Patches.everywhere = Patches.threads = Patches.given = False
    Patches.wanted.clear()
    Patches.guard = None
    for (owner, name), wrapper in list(Patches.patched.items()):
        if owner.__dict__.get(name) is wrapper:
            setattr(owner, name, wrapper.__wrapped__)
            Patches.patched.pop((owner, name), None)  # another thread may be undoing it, too
        # else another tool wrapped over us: ours stays underneath, idle, until we are wanted again


def wrap(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """Put a wrapper of ours in place, unless there is one, under those of other tools perhaps."""
    layer, ours = owner.__dict__[name], Patches.patched.get((owner, name))
    while layer is not None:
        if layer is ours:
            return
        layer = getattr(layer, "__wrapped__", None)
    # Another tool's uninstrument may leave ours behind: the flag makes it idle there.
    wrapped = wrapt.FunctionWrapper(owner.__dict__[name], wrapper, enabled=Patches.wanted)  # type: ignore[arg-type]
    setattr(owner, name, wrapped)
    Patches.patched[owner, name] = wrapped


def unbound(wrapper: Callable[..., Any], wrapped: Any, args: Any, kwargs: Any) -> Any:
    """The wrapper, called by a tool that took the method from the class's `__dict__`: it passes the object first."""
    return wrapper(partial(wrapped, args[0]), args[0], args[1:], kwargs)


def mark(client: Any, guard: tuple[Guard | None]) -> None:
    """Guard one client, and the copies that are made of it: by this guard, or `None` for the process's default."""
    client.__dict__[MARK] = guard
    for name in ("copy", "with_options"):
        for owner in type(client).__mro__:
            if name in owner.__dict__:
                wrap(owner, name, _copied)
                break


def _copied(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_copied, wrapped, args, kwargs)
    made = wrapped(*args, **kwargs)
    guard = instance.__dict__.get(MARK)
    if guard is not None:
        mark(made, guard)
    return made


def default_guard() -> Guard:
    """The process's default guard; without a default manager it has no store and knows the process's limits only."""
    return Patches.guard or _bare_guard()


def guard_in(manager: Manages | Guard) -> Guard:
    """The guard of a manager."""
    guard = getattr(manager, "guard", manager)
    if not isinstance(guard, Guard):
        raise ConfigError(f"manager={manager!r}: a BudgetManager is needed")
    return guard


def guard_of(client: Any, scope: Scope | None) -> Guard | None:
    """The guard of a call: the manager entered here, the client's own, or the process's default."""
    if scope is not None and isinstance(scope.guard, Guard):
        return scope.guard
    own = client.__dict__.get(MARK)
    if own is not None:
        return own[0] or default_guard()
    if not (Patches.everywhere or scope is not None):
        return None
    return Patches.guard or _bare_guard()


_bare: list[Guard] = []


def _bare_guard() -> Guard:
    """The guard without a store, for the limits of this process."""
    if not _bare:
        _bare.append(Guard())
    return _bare[0]
