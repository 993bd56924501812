"""
What is patched in LiteLLM.

Each of its public functions is one that `litellm.utils.client` made, and calls its `original_function`: that is
wrapped, in the closure that holds it. So whoever imported `completion` before is guarded, and `Router` is. It lies
below the cache, retries and fallbacks, which are LiteLLM's own, and above the request.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import CodeType, FunctionType, ModuleType
from typing import Any, Final
from weakref import WeakKeyDictionary

from ...errors import BudgetGuardError
from ...guards.guard import Guard
from ..asides import is_aside
from ..calling import acting_for, call, call_async
from ..exchange import charging
from ..hooks import wrap
from .calls import PROGRAM, LiteLLMCall
from .costs import Costs
from .operations import LiteLLMFunction, function_of

log = logging.getLogger("budgetguard")

_MADE: Final = "original_function"
"""What each function that `client` made holds."""

_NAMES: Final = frozenset({"wrapper", "wrapper_async"})

_costs: WeakKeyDictionary[Guard, Costs] = WeakKeyDictionary()


def _install(litellm: ModuleType) -> None:
    """Wrap what was made so far."""
    codes = _codes(sys.modules["litellm.utils"])
    found = [
        value
        for name, module in list(sys.modules.items())
        if (name == "litellm" or name.startswith("litellm.")) and isinstance(module, ModuleType)
        for value in list(vars(module).values())
        if type(value) is FunctionType and value.__code__ in codes
    ]
    if not found:
        log.warning("this version of litellm is not known here: what it asks is not counted, and no budget stops it")
    for function in found:
        _guard(function)


def _install_maker(utils: ModuleType) -> None:
    """Wrap what is made later: LiteLLM imports many of its modules when they are first used."""
    wrap(utils, "client", _made)


def _install_logging(logging_module: ModuleType) -> None:
    for name in ("pre_call", "post_call"):
        if name in vars(logging_module.Logging):
            wrap(logging_module.Logging, name, _aside)


def _install_router(router: ModuleType) -> None:
    if "should_retry_this_error" in vars(router.Router):  # until 1.80 or so; a later one asks the error (`calls`)
        wrap(router.Router, "should_retry_this_error", _tried_again)


HOOKS: Final[Mapping[str, Callable[[ModuleType], None]]] = {
    "litellm.utils": _install_maker,
    "litellm.litellm_core_utils.litellm_logging": _install_logging,
    "litellm.router": _install_router,
    "litellm": _install,
}
"""What is patched in which module."""


def _codes(utils: ModuleType) -> frozenset[CodeType]:
    """The code of the functions that `client` makes."""
    made = getattr(utils.client, "__wrapped__", utils.client)
    return frozenset(each for each in made.__code__.co_consts if isinstance(each, CodeType) and each.co_name in _NAMES)


def _made(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    function = wrapped(*args, **kwargs)
    if type(function) is FunctionType and _MADE in function.__code__.co_freevars:
        _guard(function)
    return function


def _guard(function: FunctionType) -> None:
    """Wrap what a function calls, if that costs anything."""
    closure = function.__closure__
    assert closure is not None
    original = closure[function.__code__.co_freevars.index(_MADE)].cell_contents
    operation = function_of(getattr(original, "__wrapped__", original))
    if operation is not None:
        awaited = function.__code__.co_name == "wrapper_async"
        wrap(function, _MADE, partial(_called_async if awaited else _called, partial(_begin, operation)))


def _called(begin: Any, wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    return call(begin, wrapped, PROGRAM, args, kwargs)


async def _called_async(begin: Any, wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    return await call_async(begin, wrapped, PROGRAM, args, kwargs)


def _begin(
    operation: LiteLLMFunction,
    wrapped: Any,
    _client: Any,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    *,
    is_async: bool,
) -> LiteLLMCall | None:
    """The call, if it costs money or tells of what does, some ledger covers it, and no call above has its charge."""
    guard, held = acting_for(PROGRAM)
    endpoint = operation.endpoint
    if guard is None or not (endpoint.request or is_aside(endpoint)):
        return None
    costs = _costs.get(guard) or _costs.setdefault(guard, Costs(guard.prices))
    request = LiteLLMCall(
        operation, sys.modules["litellm"], wrapped, args, kwargs, guard=guard, costs=costs, is_async=is_async
    )
    if request.passes or (endpoint.free_at_home and request.whom.litellms in {"openai", "azure"}):
        return None
    return request.charged(held=held)


def _tried_again(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    """The wrapper of what a `Router` asks of an error: a refusal is none that another attempt, or deployment, mends."""
    error = kwargs.get("error", args[0] if args else None)
    if isinstance(error, BudgetGuardError):
        raise error
    return wrapped(*args, **kwargs)


def _aside(wrapped: Any, _instance: Any, args: Any, kwargs: Any) -> Any:
    """The wrapper of where callbacks are told of a call: what they ask of a model is no part of it."""
    above = charging.get()
    if above is None:
        return wrapped(*args, **kwargs)
    charging.set(None)
    try:
        return wrapped(*args, **kwargs)
    finally:
        charging.set(above)
