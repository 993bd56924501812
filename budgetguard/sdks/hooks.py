"""
What is patched, and for whom it acts: wrappers of other people's methods, which can all be taken out again.

The only place where an attribute of an SDK is set. A wrapper acts while ours are wanted, for clients that are guarded
one by one, inside scopes, and for every client once `patch` was called.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from time import monotonic
from types import CellType, FunctionType, ModuleType
from typing import Any, ClassVar, Protocol
from weakref import WeakSet

import wrapt

from ..concurrency.locks import mutex
from ..config import load_config
from ..config.unmanaged import Unmanaged
from ..errors import ConfigError
from ..guards.guard import Guard
from ..guards.scope import Scope

log = logging.getLogger("budgetguard")

MARK = "_budgetguard"
"""Where the guard of a client is found in its `__dict__`."""


class Manages(Protocol):
    """What has budgets: a `BudgetManager`."""

    @property
    def project_name(self) -> str:
        """Whose budgets they are."""

    @property
    def guard(self) -> Guard:
        """The guard that it acts by."""


class Patches:
    """What is installed, and for whom it acts."""

    everywhere = False
    guard: ClassVar[Guard | None] = None
    """The default: that of the manager which `patch` was given."""
    unmanaged: ClassVar[Unmanaged | None] = None
    """The default where it was given none."""
    idle: ClassVar[WeakSet[Manages]] = WeakSet()
    """Managers that were made, and by which nothing acts yet."""
    threads = False
    """Whether threads are to carry scopes."""
    wanted: ClassVar[list[bool]] = []
    """Not empty while the wrappers are to act: `wrapt` asks for its truth, and would call a function."""
    hooked: ClassVar[set[str]] = set()
    """Modules that are patched when they are imported."""
    unknown: ClassVar[set[str]] = set()
    """Modules that could not be patched, which was said."""
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
            wrapt.register_post_import_hook(partial(_patched, module, patch), module)  # at once, if it is imported
        elif module in sys.modules:
            _patched(module, patch, sys.modules[module])


def _patched(name: str, patch: Callable[[ModuleType], None], module: ModuleType) -> None:
    """Patch a module whole or not at all: a version of it that is not as we know it breaks no program's import."""
    if not Patches.wanted:
        return
    before = set(Patches.patched)
    try:
        if getattr(getattr(module, "__spec__", None), "_initializing", None) is True:
            import_module(name)  # waits for another thread that is importing it
        patch(module)
    except Exception as error:
        for place in Patches.patched.keys() - before:
            _unwrap(*place)
        if name not in Patches.unknown:
            Patches.unknown.add(name)
            log.warning(
                "%s is not as budgetguard knows it (%s): its calls may be neither counted nor stopped. "
                "Use a version that is supported (docs/sdks)",
                name,
                f"it has no {error.name}" if isinstance(error, AttributeError) and error.name else error,
            )


def unhook() -> None:
    """Take every wrapper out again."""
    Patches.everywhere = Patches.threads = False
    Patches.wanted.clear()
    Patches.guard = Patches.unmanaged = None
    for owner, name in list(Patches.patched):
        _unwrap(owner, name)


def _unwrap(owner: Any, name: str) -> None:
    wrapper = Patches.patched.get((owner, name))  # another thread may be undoing it, too
    if wrapper is not None and _held(owner, name) is wrapper:
        _put(owner, name, wrapper.__wrapped__)
        Patches.patched.pop((owner, name), None)
    # else another tool wrapped over us: ours stays underneath, idle, until we are wanted again


def wrap(owner: Any, name: str, wrapper: Callable[..., Any]) -> None:
    """
    Put a wrapper of ours in place, unless there is one, under those of other tools perhaps.

    What a function holds in its closure is put there, by the name that it has for it. Raises `AttributeError` where
    there is nothing to wrap.
    """
    layer = held = _held(owner, name)
    if held is None:
        raise AttributeError(f"{owner.__name__} has no {name}")
    ours = Patches.patched.get((owner, name))
    while layer is not None:
        if layer is ours:
            return
        layer = getattr(layer, "__wrapped__", None)
    # Another tool's uninstrument may leave ours behind: the flag makes it idle there.
    wrapped = wrapt.FunctionWrapper(held, wrapper, enabled=Patches.wanted)  # type: ignore[arg-type]
    _put(owner, name, wrapped)
    Patches.patched[owner, name] = wrapped


def _held(owner: Any, name: str) -> Any:
    return _cell(owner, name).cell_contents if isinstance(owner, FunctionType) else owner.__dict__.get(name)


def _put(owner: Any, name: str, value: Any) -> None:
    if isinstance(owner, FunctionType):
        _cell(owner, name).cell_contents = value
    else:
        setattr(owner, name, value)


def _cell(function: FunctionType, name: str) -> CellType:
    assert function.__closure__ is not None
    return function.__closure__[function.__code__.co_freevars.index(name)]


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


_making = mutex("default guard")


def default_guard() -> Guard:
    """The process's default guard: that of `patch`'s manager, else one that acts by what the settings say."""
    if Patches.guard is not None:
        return Patches.guard
    unmanaged = Patches.unmanaged
    if unmanaged is None:
        with _making:  # threads that call first, at once, share one guard: what it has said, and what it keeps
            unmanaged = Patches.unmanaged = Patches.unmanaged or Unmanaged(load_config())
    return unmanaged.guard if monotonic() < unmanaged.look_s else unmanaged.look()


def guard_in(manager: Manages | Guard) -> Guard:
    """The guard of a manager, which is idle no more."""
    if isinstance(manager, Guard):
        return manager
    guard = getattr(manager, "guard", None)
    if not isinstance(guard, Guard):
        raise ConfigError(f"manager={manager!r}: a BudgetManager is needed")
    Patches.idle.discard(manager)
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
    if Patches.guard is None and scope is not None and "user" in scope.tags and Patches.idle:
        _say_idle()
    return default_guard()


def _say_idle() -> None:
    """Say once of each manager that nothing acts by it, while scopes name users, whose budgets it may have."""
    for manager in list(Patches.idle):
        Patches.idle.discard(manager)
        log.warning(
            "BudgetManager(%r) was made, but nothing acts by it: no budget of its users holds. "
            "Write budgetguard.patch(manager), or `with manager:` around the calls",
            manager.project_name,
        )
