"""What the views of these applications do: small calls to a model, plain and streamed."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any

from budgetguard import budget
from budgetguard.guards.scope import current

MESSAGES = [{"role": "user", "content": "hi"}]
CALL = {"model": "gpt-4o-mini", "messages": MESSAGES, "max_tokens": 10}
DEAR = {"model": "gpt-4", "max_tokens": 1000}
"""What makes it a call of six cents, for which no user has room."""


def ask(client: Any, **more: Any) -> str:
    """One call's answer."""
    return str(client.chat.completions.create(**{**CALL, **more}).choices[0].message.content)


async def aask(client: Any, **more: Any) -> str:
    """The same, awaited."""
    return str((await client.chat.completions.create(**{**CALL, **more})).choices[0].message.content)


def pieces(client: Any, **more: Any) -> Generator[str]:
    """One call's answer, as it comes."""
    for chunk in client.chat.completions.create(**{**CALL, **more}, stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


async def apieces(client: Any, **more: Any) -> AsyncGenerator[str]:
    """The same, awaited."""
    async for chunk in await client.chat.completions.create(**{**CALL, **more}, stream=True):
        if chunk.choices and chunk.choices[0].delta.content:
            yield chunk.choices[0].delta.content


def scope() -> budget:
    """The scope that the view's own context has."""
    found = current.get()
    assert found is not None
    assert isinstance(found.opened_by, budget)
    return found.opened_by
