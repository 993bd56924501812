"""`completion` and `acompletion`: a guarded chat call in one line, with no client to make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from .install import guard_client


def completion(model: str, messages: Iterable[Mapping[str, Any]], **arguments: Any) -> Any:
    """
    `client.chat.completions.create` of a client made from the environment, guarded whether or not `patch()` was called.

    `api_key`, `base_url`, `organization`, `timeout` and `max_retries` go to the client, all else to the call
    (`stream=True` gives a stream). Returns the SDK's own objects; raises its errors, `BudgetExceededError` and
    `UnpricedModelError`.
    """
    client, rest = _client("OpenAI", arguments)
    return client.chat.completions.create(model=model, messages=list(messages), **rest)


async def acompletion(model: str, messages: Iterable[Mapping[str, Any]], **arguments: Any) -> Any:
    """`completion` for async code. The client belongs to the running event loop's thread of use."""
    client, rest = _client("AsyncOpenAI", arguments)
    return await client.chat.completions.create(model=model, messages=list(messages), **rest)


_OF_CLIENT = ("api_key", "base_url", "organization", "timeout", "max_retries")


def _client(kind: str, arguments: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    settings = tuple((name, arguments[name]) for name in _OF_CLIENT if name in arguments)
    return _make(kind, settings), {name: value for name, value in arguments.items() if name not in _OF_CLIENT}


@lru_cache(maxsize=32)
def _make(kind: str, settings: tuple[tuple[str, Any], ...]) -> Any:
    import openai

    return guard_client(getattr(openai, kind)(**dict(settings)))
