"""
`patch(threads=True)`: what is handed to another thread runs in the scope that it was handed over in.

Only the scope is carried: the rest of a context is the business of whom it belongs to. Where there is none, nothing is
put around anything.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

from ...guards.scope import Scope, current, run_within
from ..hooks import Patches, unbound, wrap

_INTERNAL = ("concurrent.futures.process", "multiprocessing.queues", "budgetguard.")
"""Threads of these serve everybody: they have nobody's scope."""


def _submit(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """`ThreadPoolExecutor.submit`, and so `map` and `loop.run_in_executor`."""
    if instance is None:
        return unbound(_submit, wrapped, args, kwargs)
    scope = current.get()
    if scope is None or not args:
        return wrapped(*args, **kwargs)
    # A worker that is started for it lives on: it is to have nobody's scope.
    token = current.set(None)
    try:
        return wrapped(partial(run_within, scope, args[0]), *args[1:], **kwargs)
    finally:
        current.reset(token)


def _start(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    """`Thread.start`, that of its subclasses too: `run` is theirs, so it is replaced for this one thread."""
    if instance is None:
        return unbound(_start, wrapped, args, kwargs)
    scope = current.get()
    if scope is None or getattr(instance, "_context", None) is not None or _is_internal(instance):
        return wrapped(*args, **kwargs)  # from Python 3.14 on, a thread may have been given a context
    instance.run = partial(_run, scope, instance, instance.run)
    return wrapped(*args, **kwargs)


def _is_internal(thread: Any) -> bool:
    """Whether a thread, or what it is to run, is of a module that serves everybody."""
    home = getattr(getattr(thread, "_target", None), "__module__", None) or ""
    return type(thread).__module__.startswith(_INTERNAL) or home.startswith(_INTERNAL)


def _run(scope: Scope, thread: Any, run: Callable[[], None]) -> None:
    del thread.run  # the instance's, which refers to itself
    run_within(scope, run)


def _patch_threading(module: ModuleType) -> None:
    if Patches.threads:
        wrap(module.Thread, "start", _start)


def _patch_futures(module: ModuleType) -> None:
    if Patches.threads:
        wrap(module.ThreadPoolExecutor, "submit", _submit)


HOOKS = {"threading": _patch_threading, "concurrent.futures.thread": _patch_futures}
