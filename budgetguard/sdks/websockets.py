"""
The SDK's WebSockets: which they are, and the gate in front of each.

They are the one way around `request`. Their cost is not read from their events
yet, so a connection is refused where a budget has no room left, and otherwise
warned of once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from ..adapters.openai.jobs import job
from ..calls import Endpoint
from ..guards.charge import Charge
from ..guards.scope import Scope, current
from ..process.state import PROCESS
from .exchange import require_scope_of
from .hooks import default_guard, guard_of, unbound, wrap

if TYPE_CHECKING:
    from ..guards.guard import Guard

SOCKETS: Final[Mapping[str, Endpoint]] = {
    f"openai.resources.{module}": Endpoint(f"{name}.connect", "GET", "", request=job, opaque=True)
    for module, name in (
        ("realtime.realtime", "realtime"),
        ("realtime.translations.translations", "realtime.translations"),
        ("beta.realtime.realtime", "beta.realtime"),
        ("live.live", "live"),
        ("live.sideband", "live.sideband"),
        ("live.forks", "live.forks"),
        ("responses.responses", "responses"),
        ("beta.responses.responses", "beta.responses"),
    )
}
"""The operation of each module that has connections (openai 2.54 to 3.54; not every version has all of them)."""

_ENTRANCES: Final = {"__enter__": ("__enter__", "enter"), "__aenter__": ("__aenter__", "enter")}
"""The methods that open a connection: `enter` is the same function under a second name."""


def entrances(module: ModuleType) -> Iterator[tuple[type, str, bool]]:
    """The methods of a module that open a connection: their class and name, and whether they are awaited."""
    for owner in list(vars(module).values()):
        if isinstance(owner, type) and owner.__module__ == module.__name__:
            for method, names in _ENTRANCES.items():
                if owner.__name__.endswith("ConnectionManager") and method in owner.__dict__:
                    yield from ((owner, name, method == "__aenter__") for name in names if name in owner.__dict__)


def client_of(manager: Any) -> Any:
    """The client that a connection manager connects for; the SDK keeps it under a private name of its class."""
    return _private(manager, "client")


def gate(guard: Guard, manager: Any, scope: Scope | None) -> Charge:
    """The charge of a connection: it asks for room, holds nothing, and warns that nothing is counted."""
    model = _private(manager, "model")
    body = {"model": model} if isinstance(model, str) else {}
    provider = guard.prices.provider(client_of(manager).base_url.host)
    for owner in type(manager).__mro__:
        if owner.__module__ in SOCKETS:
            return guard.charge(SOCKETS[owner.__module__], body, (), provider, scope)
    raise LookupError(f"{type(manager).__qualname__} is no connection manager of the SDK")


def _private(manager: Any, name: str) -> Any:
    return next((value for key, value in vars(manager).items() if key.endswith(f"Manager__{name}")), None)


def _install_gates(module: ModuleType) -> None:
    for owner, name, is_async in entrances(module):
        wrap(owner, name, _enter_async if is_async else _enter)


def _enter(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return unbound(_enter, wrapped, args, kwargs)
    guard, charge = _gate(instance)
    if guard is not None and charge is not None:
        guard.shell.send(charge, lambda: None, lambda _: None, lambda _: None)
    return wrapped(*args, **kwargs)


async def _enter_async(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
    if instance is None:
        return await unbound(_enter_async, wrapped, args, kwargs)
    guard, charge = _gate(instance)
    if guard is not None and charge is not None:
        await guard.async_shell.send(charge, _nothing, lambda _: None, lambda _: None)
    return await wrapped(*args, **kwargs)


async def _nothing() -> None:
    """What is sent for a gate."""


def _gate(manager: Any) -> tuple[Guard | None, Charge | None]:
    """The guard and the charge of a WebSocket connection, if some ledger covers it."""
    scope = current.get()
    guard = guard_of(client_of(manager), scope)
    if guard is None or not guard.covers(scope):
        if scope is None and PROCESS.scoped:
            require_scope_of(gate(guard or default_guard(), manager, scope))
        return None, None
    return guard, gate(guard, manager, scope)


HOOKS: Final[Mapping[str, Callable[[ModuleType], None]]] = dict.fromkeys(SOCKETS, _install_gates)
"""What is patched in which module."""
