"""
`completion` and `acompletion`: a guarded chat call in one line, with no client to make.

"provider/model" asks that provider, by its OpenAI-compatible API; `providers/` knows where that is, and whose key it
takes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from .providers.routes import api_key, base_url, first, named
from .providers.table import MAIN, providers
from .sdks.install import guard_client, install
from .sdks.places import name_provider

_OF_CLIENT = ("api_key", "base_url", "organization", "max_retries")
_OF_SDK: tuple[str, ...] = (
    "OPENAI_API_KEY",
    "OPENAI_BASE_URL",
    "OPENAI_API_BASE",
    "OPENAI_ORG_ID",
    "OPENAI_PROJECT_ID",
)

_async_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Any, Any]] = WeakKeyDictionary()
"""An async client's connections belong to one event loop."""


class _Asked(NamedTuple):
    """What makes a client: calls that agree in it share one."""

    provider: str
    own: tuple[tuple[str, Any], ...]
    """The caller's arguments."""
    environment: tuple[str | None, ...]
    """What the variables say that are read for it."""

    def __repr__(self) -> str:
        """Without what it has: keys, which tools that show the variables of a traceback would show."""
        return f"_Asked({self.provider!r})"


def completion(model: str, messages: Iterable[Mapping[str, Any]], **arguments: Any) -> Any:
    """
    `client.chat.completions.create` of a client made from the environment, guarded whether or not `patch()` was called.

    `model` may name a provider before it, as LiteLLM does: "anthropic/claude-haiku-4-5", "groq/llama-3.3-70b-versatile"
    (`budgetguard providers` lists them). Its key is in its usual variable, another base URL in `{PROVIDER}_API_BASE`.
    `api_key`, `base_url`, `organization` and `max_retries` go to the client, all else to the call (`stream=True`
    gives a stream). Returns the SDK's own objects; raises its errors, `BudgetExceededError`, `UnpricedModelError`, and
    `ConfigError` for a provider that nobody knows, or that has no key.
    """
    asked, name, rest = _split(model, arguments)
    client = _client(asked, os.getpid())
    return client.chat.completions.create(model=name, messages=list(messages), **rest)


async def acompletion(model: str, messages: Iterable[Mapping[str, Any]], **arguments: Any) -> Any:
    """`completion` for async code."""
    from openai import AsyncOpenAI

    asked, name, rest = _split(model, arguments)
    clients = _async_clients.setdefault(asyncio.get_running_loop(), {})
    if asked not in clients:
        clients[asked] = _make(AsyncOpenAI, asked)
    return await clients[asked].chat.completions.create(model=name, messages=list(messages), **rest)


def _split(model: str, arguments: Mapping[str, Any]) -> tuple[_Asked, str, dict[str, Any]]:
    """What makes the client, the environment included, the model's name there, and what goes to the call."""
    install()  # an `unpatch` since the client was made took the wrappers away
    own = tuple((name, arguments[name]) for name in _OF_CLIENT if name in arguments)
    rest = {name: value for name, value in arguments.items() if name not in _OF_CLIENT}
    provider, read = MAIN, _OF_SDK
    if isinstance(model, str) and "/" in model:
        placed = bool(arguments.get("base_url") or first(providers()[MAIN].bases, os.environ))
        row, model = named(model, placed=placed)
        if row.name != MAIN:
            provider, read = row.name, row.variables
    return _Asked(provider, own, tuple(map(os.environ.get, read))), model, rest


@lru_cache(maxsize=32)
def _client(asked: _Asked, pid: int) -> Any:
    """A client for each set of settings, and each process: a forked child must not share its parent's connections."""
    from openai import OpenAI

    return _make(OpenAI, asked)


def _make(kind: Any, asked: _Asked) -> Any:
    own, provider = dict(asked.own), providers()[asked.provider]
    if provider.name == MAIN:
        if not own.get("base_url") and (base := first(provider.bases, os.environ)) is not None:
            own["base_url"] = base  # the SDK itself reads one of the two variables
        return guard_client(kind(**own))
    own["base_url"] = base_url(provider, os.environ, own.get("base_url"))
    own["api_key"] = _plain(own.get("api_key")) or api_key(provider, os.environ)
    client = kind(**own)
    # The SDK reads those of OpenAI's account from the environment, for every client: they are nobody else's affair.
    client.organization, client.project, client._custom_headers = own.get("organization"), None, {}
    name_provider(client, provider.prices)
    return guard_client(client)


def _plain(key: Any) -> Any:
    """A key without the end of the line that it was read with: no header can have that, and an error would show it."""
    return key.strip() if isinstance(key, str) else key
