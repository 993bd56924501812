"""
The demo's calls: an ordinary program that uses the `openai` SDK in every way at once.

Nothing in here looks at a budget: it says whose call it is, and hears of a
refusal as of any other exception.
"""

from __future__ import annotations

import asyncio
import queue
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ...errors import BudgetExceededError
from ...money import Money
from ...scopes.context import budget
from .endpoints import Site

if TYPE_CHECKING:
    from openai import AsyncOpenAI, OpenAI

AT_ONCE = 4
PATIENCE_S = 20.0
"""How long a call waits for room that calls in flight hold."""


@dataclass(frozen=True, slots=True)
class Made:
    """One call that was made, or refused."""

    user: str
    shape: str
    cost: Money | None = None
    """`None`: refused."""
    text: str = ""
    refusal: BudgetExceededError | None = None


class Traffic:
    """All calls of one run; what became of each is put on `made`."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.made: queue.SimpleQueue[Made] = queue.SimpleQueue()

    def run(self) -> None:
        """Every user at the same time: in threads first, then as tasks of an event loop."""
        with ThreadPoolExecutor(len(self.site.budgets)) as threads:
            for done in [threads.submit(self._run_user, user) for user in self.site.budgets]:
                done.result()

    def _run_user(self, user: str) -> None:
        from openai import AsyncOpenAI, OpenAI

        with OpenAI(base_url=self.site.base_url, api_key="none", max_retries=0) as client:
            shapes = [plain, streamed, response] * self.site.calls + [abandoned]
            with ThreadPoolExecutor(AT_ONCE) as threads:
                list(threads.map(lambda job: self._call(user, client, *job), enumerate(shapes)))

        async def tasks() -> None:
            async with AsyncOpenAI(base_url=self.site.base_url, api_key="none", max_retries=0) as client:
                shapes = [plain_async, streamed_async] * self.site.calls
                await asyncio.gather(*(self._call_async(user, client, *job) for job in enumerate(shapes)))

        asyncio.run(tasks())

    def _call(self, user: str, client: OpenAI, number: int, shape: Callable[..., str]) -> None:
        name = _name(shape)
        try:
            with budget(user=user, tags={"shape": name}, wait=PATIENCE_S) as scope:
                text = shape(client, self.site, number)
            self.made.put(Made(user, name, scope.spent, text))
        except BudgetExceededError as refusal:
            self.made.put(Made(user, name, refusal=refusal))

    async def _call_async(self, user: str, client: AsyncOpenAI, number: int, shape: Callable[..., Any]) -> None:
        name = _name(shape)
        try:
            async with budget(user=user, tags={"shape": name}, wait=PATIENCE_S) as scope:
                text = await shape(client, self.site, number)
            self.made.put(Made(user, name, scope.spent, text))
        except BudgetExceededError as refusal:
            self.made.put(Made(user, name, refusal=refusal))


def plain(client: OpenAI, site: Site, number: int) -> str:
    """A chat completion."""
    reply = client.chat.completions.create(model=site.model, messages=_ask(number), max_tokens=site.max_tokens)
    return reply.choices[0].message.content or ""


def streamed(client: OpenAI, site: Site, number: int) -> str:
    """A chat completion, word by word."""
    stream = client.chat.completions.create(
        model=site.model, messages=_ask(number), max_tokens=site.max_tokens, stream=True
    )
    return "".join(_words(stream))


def abandoned(client: OpenAI, site: Site, number: int) -> str:
    """A stream that is left after five words: what arrived is paid for."""
    stream = client.chat.completions.create(
        model=site.model, messages=_ask(number), max_tokens=site.max_tokens, stream=True
    )
    with stream:
        words = _words(stream)
        return "".join(word for word, _ in zip(words, range(5), strict=False))


def response(client: OpenAI, site: Site, number: int) -> str:
    """The Responses API."""
    text = _ask(number)[0]["content"]
    return client.responses.create(model=site.model, input=text, max_output_tokens=site.max_tokens).output_text


async def plain_async(client: AsyncOpenAI, site: Site, number: int) -> str:
    """A chat completion, awaited."""
    reply = await client.chat.completions.create(model=site.model, messages=_ask(number), max_tokens=site.max_tokens)
    return reply.choices[0].message.content or ""


async def streamed_async(client: AsyncOpenAI, site: Site, number: int) -> str:
    """A chat completion, word by word, awaited."""
    stream = await client.chat.completions.create(
        model=site.model, messages=_ask(number), max_tokens=site.max_tokens, stream=True
    )
    return "".join([choice.delta.content or "" async for chunk in stream for choice in chunk.choices])


def _words(stream: Iterable[Any]) -> Iterator[str]:
    for chunk in stream:
        for choice in chunk.choices:
            yield choice.delta.content or ""


def _ask(number: int) -> list[Any]:
    return [{"role": "user", "content": f"Write {30 + 7 * (number % 10)} words about money."}]


def _name(shape: Callable[..., Any]) -> str:
    return shape.__name__.replace("_", ", ")
