"""
What a child process takes along that starts as a new interpreter (spawn, forkserver): the limits that hold around it.

A forked child has them in its memory. Another one is sent its process object, and in that what `multiprocessing` calls
its configuration. An entry of ours in there is packed when a process starts, and unpacked when its main module has been
imported, before its function is called: so it does not matter what the main module says of limits, or leaves out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType, ModuleType
from typing import Any, NamedTuple

from ...budgets.said.fallbacks import Fallbacks
from ...guards.scope import OnCut, Scope, current, run_within
from ...process.family.file import FAMILY, SentLimit
from ...process.state import PROCESS
from ..hooks import Patches, unbound, wrap
from .absent import AbsentGuard

ENTRY = "budgetguard"
"""The name of our entry in the configuration of a process."""


class PackedScope(NamedTuple):
    """A scope as it is sent."""

    tags: dict[str, str]
    limits: tuple[SentLimit, ...]
    wait_s: float
    on_cut: OnCut | None
    managed: bool
    """Whether it is inside of a manager."""
    fallbacks: tuple[Fallbacks, ...] = ()

    @classmethod
    def of(cls, scope: Scope | None) -> PackedScope | None:
        """What another process needs of a scope, whose limits are shared for it."""
        if scope is None:
            return None
        limits = tuple(FAMILY.part_of(tally) for tally in scope.tallies)
        return cls(dict(scope.tags), limits, scope.wait_s, scope.on_cut, scope.guard is not None, scope.fallbacks)

    def scope(self) -> Scope:
        """The scope, in the process that it was sent to."""
        return Scope(
            tags=MappingProxyType(self.tags),
            tallies=tuple(FAMILY.tally_of(part) for part in self.limits),
            guard=AbsentGuard.entered() if self.managed else None,
            wait_s=self.wait_s,
            on_cut=self.on_cut,
            fallbacks=self.fallbacks,
        )


class Luggage(NamedTuple):
    """What another process is sent."""

    max_budget: SentLimit | None
    scope: PackedScope | None
    everywhere: bool
    """Whether `patch` was called."""
    managed: bool
    """Whether that was with a manager."""
    tags: Mapping[str, str] = MappingProxyType({})
    """Those of all calls of the process."""

    @classmethod
    def of(cls, scope: Scope | None) -> Luggage:
        """What there is in this process, with a scope."""
        tally, guard = PROCESS.tally, Patches.guard
        managed = guard is not None and (guard.store is not None or bool(guard.budgets))
        whole = None if tally is None else FAMILY.part_of(tally)
        managed = managed or isinstance(guard, AbsentGuard)
        return cls(whole, PackedScope.of(scope), Patches.everywhere, managed, dict(PROCESS.tags))


class Inheritance:
    """Our entry in the configuration of a process. `arrive` unpacks it in the child, and returns one for its own."""

    def __init__(self, arrive: Callable[[Luggage], Inheritance]) -> None:
        self._arrive = arrive

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        from multiprocessing.context import get_spawning_popen

        if Patches.wanted and get_spawning_popen() is not None:
            luggage = Luggage.of(current.get())
            if luggage.everywhere or luggage.scope is not None or luggage.max_budget is not None:
                return self._arrive, (luggage,)
        return dict, ()


def _make_pool(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """`Pool.__init__`: a worker that takes the place of one that ended is started by a thread that has no scope."""
    if instance is None:
        return unbound(_make_pool, wrapped, args, kwargs)
    scope = current.get()
    if scope is not None:
        instance.Process = partial(_worker, scope, instance.Process)
    return wrapped(*args, **kwargs)


def _worker(scope: Scope, make: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A process that starts in a scope, whoever starts it."""
    process = make(*args, **kwargs)
    process.start = partial(_start, scope, process, process.start)
    return process


def _start(scope: Scope, process: Any, start: Callable[[], None]) -> None:
    del process.start  # the instance's, which cannot be sent
    run_within(scope, start)


def _spawn(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """`ProcessPoolExecutor._spawn_process`: the same, in the scope of whoever had the first one started."""
    if instance is None:
        return unbound(_spawn, wrapped, args, kwargs)
    scope = instance.__dict__.setdefault("_budgetguard_scope", current.get())
    return wrapped(*args, **kwargs) if scope is None else run_within(scope, wrapped, *args, **kwargs)


def _patch_pool(module: ModuleType) -> None:
    wrap(module.Pool, "__init__", _make_pool)


def _patch_executor(module: ModuleType) -> None:
    if "_spawn_process" in vars(module.ProcessPoolExecutor):  # a name of its own, which may change
        wrap(module.ProcessPoolExecutor, "_spawn_process", _spawn)


def hooks(inheritance: Inheritance) -> Mapping[str, Callable[[ModuleType], None]]:
    """What is to be done when `multiprocessing` is imported."""

    def patch(module: ModuleType) -> None:
        module.current_process()._config[ENTRY] = inheritance

    return {
        "multiprocessing.process": patch,
        "multiprocessing.pool": _patch_pool,
        "concurrent.futures.process": _patch_executor,
    }
