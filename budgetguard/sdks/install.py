"""
`patch`, `unpatch` and `guard`: which seams are in place, and by whose budgets they act.

Nothing is imported for it: a package is patched when the program imports it, and one that is never imported costs
nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from types import ModuleType
from typing import Any, TypeAlias

from ..alerts.options import Alerts
from ..budgets.rules import Budget
from ..config import load_config
from ..config.unmanaged import Unmanaged
from ..errors import ConfigError, StoreError
from ..guards.guard import Guard
from ..guards.scope import Scope, current
from ..prices.given import GivenPrices
from ..process.state import PROCESS
from .aws import hooks as aws
from .contexts import processes, threads
from .contexts.absent import AbsentGuard
from .floor import MODULES as FLOOR
from .floor import refusals
from .google import MODULES as GOOGLE
from .hooks import Manages, Patches, default_guard, guard_in, hook, mark, unhook
from .litellm import MODULES as LITELLM
from .sockets import DOORS, LEGACY
from .sockets import MODULES as SOCKETS
from .speakeasy import MODULES as SPEAKEASY
from .stainless import hooks as stainless
from .stainless import packages as stainless_packages
from .unseen import hooks as unseen

__all__ = ["default_guard", "enter_process", "guard_all", "guard_client", "install", "patch", "unpatch"]


def patch(
    manager: Manages | Guard | None = None,
    *,
    threads: bool = False,
    prices: GivenPrices | None = None,
    budgets: Sequence[Budget] | None = None,
    alerts: Alerts | Sequence[Any] | None = None,
) -> None:
    """
    Guard every client of the SDKs in this process, whenever it was made: those of openai, anthropic, google-genai,
    boto3 and aioboto3 (Bedrock), mistralai, openrouter, groq, together, cerebras, fireworks, perplexity, sambanova,
    writerai and dedalus_labs; every function of litellm that asks a model; and what is sent to a model by httpx, by
    hand or by an SDK above it (ollama, cohere, huggingface_hub, zai), or over a WebSocket.

    `manager`, if given, becomes the process's default: its budgets hold wherever no other manager is entered.
    Without one, what the environment and `budgetguard.toml` say makes the default, in the store that they name, or
    else in `sqlite:///budgetguard.db` if that is there, then or later. Calling it again changes the default and nothing
    else.

    `threads`: a thread that is started inside a scope, and what a `ThreadPoolExecutor` is handed there (so
    `loop.run_in_executor`, too), runs in that scope, as if by `carry_scope`; until `unpatch()`.

    `prices` are those of that default: models that the list does not have (`{"my-model": {"input": 0.15, "output":
    0.60}}`, dollars per million tokens), the path of a price file, or a `PriceBook`. `budgets` are its rules, and
    `alerts` who is told of them, instead of those of `budgetguard.toml`. Raises `ConfigError` for settings that cannot
    be used, and for any of these three beside a manager, which has its own.
    """
    given = _given(manager, prices=prices, budgets=budgets, alerts=alerts)
    if manager is not None:
        Patches.guard = guard_in(manager)
    elif Patches.guard is None:
        config = load_config()
        if Patches.unmanaged is None or Patches.unmanaged.config != config or given:
            Patches.unmanaged = Unmanaged(config, prices, budgets, alerts)
        with suppress(StoreError):  # a file that cannot be read now is told of by the first call, if it still cannot
            Patches.unmanaged.look()
    Patches.threads = Patches.threads or threads
    guard_all()


def _given(manager: Manages | Guard | None, **own: object) -> bool:
    """Whether any of these is; raises `ConfigError` if it is beside a manager, now or since before."""
    name = next((name for name, each in own.items() if each is not None), None)
    if name is not None and (manager is not None or Patches.guard is not None):
        raise ConfigError(f"patch({name}=...): the manager has {name} of its own: write BudgetManager(..., {name}=...)")
    return name is not None


def guard_all() -> None:
    """Have every client guarded, by the process's default and its limits."""
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
    from .google import hooks as google
    from .speakeasy import packages as speakeasy

    kinds = (google, aws, speakeasy, stainless_packages)
    senders = next((found for kind in kinds if (found := kind.senders_in(client))), ())
    if not senders:
        known = ", ".join(kind.CLIENTS for kind in kinds)
        raise TypeError(f"guard(client): {known} client is needed, not {type(client).__name__}")
    install()
    guard = (None if manager is None else guard_in(manager),)
    for each in senders:
        mark(each, guard)
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
        Patches.guard = AbsentGuard.patched() if luggage.managed else None
    if luggage.tags:
        PROCESS.tags = luggage.tags
    if luggage.scope is None:
        return None
    PROCESS.scoped = True
    return luggage.scope.scope()


def begin_process(luggage: processes.Luggage) -> processes.Inheritance:
    """The same at the beginning of a process, which has the scope that it was started in."""
    if luggage.max_budget is not None:
        PROCESS.adopt(luggage.max_budget)
    current.set(enter_process(luggage))
    return INHERITANCE


INHERITANCE = processes.Inheritance(begin_process)

Hooks: TypeAlias = Mapping[str, Callable[[ModuleType], None]]
"""What is done with which module when it is imported."""


def _later(seam: Callable[[], Hooks], modules: Iterable[str]) -> Hooks:
    """The hooks of a seam that is imported with the first of its SDK's modules: without that, it has no use."""
    return {name: partial(_patch_by, seam, name) for name in modules}


def _patch_by(seam: Callable[[], Hooks], name: str, module: ModuleType) -> None:
    seam()[name](module)


def _google() -> Hooks:
    from .google.hooks import HOOKS

    return HOOKS


def _litellm() -> Hooks:
    from .litellm.hooks import HOOKS

    return HOOKS


def _speakeasy() -> Hooks:
    from .speakeasy.hooks import HOOKS

    return HOOKS


def _floor() -> Hooks:
    from .floor.hooks import HOOKS

    return HOOKS


def _sockets() -> Hooks:
    from .sockets.hooks import HOOKS

    return HOOKS


def _legacy() -> Hooks:
    from .sockets.legacy import HOOKS

    return HOOKS


def _doors() -> Hooks:
    from .sockets.doors import HOOKS

    return HOOKS


_HOOKS = {
    **unseen.HOOKS,
    **_later(_litellm, LITELLM),
    **stainless.HOOKS,
    **aws.HOOKS,
    **_later(_google, GOOGLE),
    **_later(_speakeasy, SPEAKEASY),
    **_later(_floor, FLOOR),
    **refusals.HOOKS,
    **_later(_sockets, SOCKETS),
    **_later(_doors, DOORS),
    **_later(_legacy, LEGACY),
    **threads.HOOKS,
    **processes.hooks(INHERITANCE),
}
"""What is patched in which module."""
