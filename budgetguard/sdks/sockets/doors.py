"""
The openai SDK's ways to open a socket: which they are, and the gate in front of each.

No room, no connection. They know for which client a socket is opened, so that one that is guarded by itself is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import Any, Final

from ...adapters.openai.jobs import job
from ...calls import Endpoint
from ...guards.background.unasked import look
from ...guards.guard import Guard
from ...guards.scope import current
from ...process.state import PROCESS
from ..exchange import require_scope_of
from ..hooks import MARK, default_guard, guard_of, unbound, wrap
from . import DOORS
from .session import Opened, opening

SOCKETS: Final[Mapping[str, Endpoint]] = {
    module: Endpoint(f"{name}.connect", "GET", "", request=job, opaque=name == "live.sideband")
    for module, name in DOORS.items()
}
"""The operation of each module that has connections."""

_CONNECTS: Final = "_connect_ws"
"""The method of a connection's manager that connects, anew after a connection broke, too."""
_ENTRANCES: Final = {"__enter__": ("__enter__", "enter"), "__aenter__": ("__aenter__", "enter")}
"""Those that open a connection where it has none such: `enter` is the same function under a second name."""


def entrances(module: ModuleType) -> Iterator[tuple[type, str, bool]]:
    """The methods of a module that open a connection: their class and name, and whether they are awaited."""
    for owner in list(vars(module).values()):
        if isinstance(owner, type) and owner.__module__ == module.__name__:
            for method, names in _ENTRANCES.items():
                if owner.__name__.endswith("ConnectionManager") and method in owner.__dict__:
                    found = (_CONNECTS,) if _CONNECTS in owner.__dict__ else names
                    yield from ((owner, name, method == "__aenter__") for name in found if name in owner.__dict__)


def client_of(manager: Any) -> Any:
    """The client that a connection manager connects for; the SDK keeps it under a private name of its class."""
    return _private(manager, "client")


def _private(manager: Any, name: str) -> Any:
    return next((value for key, value in vars(manager).items() if key.endswith(f"Manager__{name}")), None)


def _endpoint_of(manager: Any) -> Endpoint:
    for owner in type(manager).__mro__:
        if owner.__module__ in SOCKETS:
            return SOCKETS[owner.__module__]
    raise LookupError(f"{type(manager).__qualname__} is no connection manager of the SDK")


def _install(module: ModuleType) -> None:
    for owner, name, is_async in entrances(module):
        wrap(owner, name, _enter_async if is_async else _enter)


def _enter(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_enter, wrapped, args, kwargs)
    guard, steps = _gate(instance)
    if guard is not None:
        guard.shell.run(steps)
    before = opening.get()
    opening.set(Opened(client_of(instance).__dict__.get(MARK), looked=guard is not None))
    try:
        return wrapped(*args, **kwargs)
    finally:
        opening.set(before)  # by no token: a coroutine that is thrown away may end in another context


async def _enter_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return await unbound(_enter_async, wrapped, args, kwargs)
    guard, steps = _gate(instance)
    if guard is not None:
        await guard.async_shell.run(steps)
    before = opening.get()
    opening.set(Opened(client_of(instance).__dict__.get(MARK), looked=guard is not None))
    try:
        return await wrapped(*args, **kwargs)
    finally:
        opening.set(before)  # by no token: a coroutine that is thrown away may end in another context


def _gate(manager: Any) -> tuple[Guard | None, Any]:
    """The guard of a connection that is opened here, if some ledger covers it, and how it is asked for room."""
    client, scope = client_of(manager), current.get()
    guard = guard_of(client, scope)
    covered = guard is not None and guard.covers(scope)
    if not covered and (scope is not None or not PROCESS.scoped):
        return None, None
    guard = guard or default_guard()
    model = _private(manager, "model")
    body = {"model": model} if isinstance(model, str) else {}
    charge = guard.charge(_endpoint_of(manager), body, (), guard.prices.provider(client.base_url.host), scope)
    if covered:
        return guard, look(charge)
    require_scope_of(charge)
    return None, None


HOOKS: Final[Mapping[str, Callable[[ModuleType], None]]] = dict.fromkeys(SOCKETS, _install)
"""What is patched in which module."""
