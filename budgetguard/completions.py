"""`completion` and `acompletion`: a guarded chat call in one line, with no client to make."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

from .sdks.install import guard_client, install

_OF_CLIENT = ("api_key", "base_url", "organization", "max_retries")
_OF_ENVIRONMENT = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID")

_async_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Any, Any]] = WeakKeyDictionary()
"""An async client's connections belong to one event loop."""


def completion(model: str, messages: Iterable[Mapping[str, Any]], **arguments: Any) -> Any:
    """
    `client.chat.completions.create` of a client made from the environment, guarded whether or not `patch()` was called.

    `api_key`, `base_url`, `organization` and `max_retries` go to the client, all else to the call (`stream=True`
    gives a stream). Returns the SDK's own objects; raises its errors, `BudgetExceededError` and
    `UnpricedModelError`.
    """
    settings, rest = _split(arguments)
    client = _client(settings, os.getpid())
    return client.chat.completions.create(model=model, messages=list(messages), **rest)


async def acompletion(model: str, messages: Iterable[Mapping[str, Any]], **arguments: Any) -> Any:
    """`completion` for async code."""
    from openai import AsyncOpenAI

    settings, rest = _split(arguments)
    clients = _async_clients.setdefault(asyncio.get_running_loop(), {})
    if settings not in clients:
        clients[settings] = _make(AsyncOpenAI, settings)
    return await clients[settings].chat.completions.create(model=model, messages=list(messages), **rest)


def _split(arguments: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What makes the client, the environment included, and what goes to the call."""
    install()  # an `unpatch` since the client was made took the wrappers away
    own = tuple((name, arguments[name]) for name in _OF_CLIENT if name in arguments)
    environment = tuple(os.environ.get(name) for name in _OF_ENVIRONMENT)
    return (own, environment), {name: value for name, value in arguments.items() if name not in _OF_CLIENT}


@lru_cache(maxsize=32)
def _client(settings: tuple[Any, ...], pid: int) -> Any:
    """A client for each set of settings, and each process: a forked child must not share its parent's connections."""
    from openai import OpenAI

    return _make(OpenAI, settings)


def _make(kind: Any, settings: tuple[Any, ...]) -> Any:
    own, _ = settings
    return guard_client(kind(**dict(own)))
