"""
Four SDKs in one process at once: each speaks its own API to one endpoint, sync and async, plain and streamed, and all
spend from the budget of one user.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Iterable, Mapping
from contextlib import AsyncExitStack, ExitStack
from typing import Any

import budgetguard
from budgetguard.testing.provider.clients import SdkClients
from tests.support.endpoint import BEDROCK, CLAUDE, GEMINI, LONGEST, MESSAGES, MODEL, USER, Caller

TEXT = MESSAGES[0]["content"]
PARTS = [{"role": "user", "content": [{"text": TEXT}]}]

Ask = Callable[[bool], Any]
"""One call, streamed or not."""


class Site(SdkClients):
    """The endpoint of a caller, as clients are told of it."""

    def __init__(self, caller: Caller) -> None:
        self._url = caller.base_url

    @property
    def base_url(self) -> str:
        return self._url

    @property
    def root_url(self) -> str:
        return self._url.removesuffix("/v1")

    def async_bedrock(self) -> Any:
        """A client of aiobotocore for Bedrock, once it is entered."""
        from aiobotocore.config import AioConfig
        from aiobotocore.session import get_session

        keys = {"aws_access_key_id": "none", "aws_secret_access_key": "none", "region_name": "us-east-1"}
        config = AioConfig(retries={"total_max_attempts": 1}, max_pool_connections=50)
        return get_session().create_client("bedrock-runtime", endpoint_url=self.root_url, config=config, **keys)


def several(caller: Caller) -> None:
    """The calls of a burst, an eighth by each SDK in threads and in tasks."""
    with ExitStack() as stack:
        asks = _sync(caller, stack)
        threads = [threading.Thread(target=_once, args=(caller, each)) for each in asks.values() for _ in _each(caller)]
        tasks = threading.Thread(target=lambda: asyncio.run(_gather(caller)))
        for thread in (*threads, tasks):
            thread.start()
        for thread in (*threads, tasks):
            thread.join()


def _each(caller: Caller) -> Iterable[int]:
    return range(max(1, caller.burst // 8))


def _once(caller: Caller, ask: Ask) -> None:
    """A plain call and a streamed one."""
    for stream in (False, True):
        with caller.outcome(), budgetguard.budget(user=USER):
            said = ask(stream)
            if stream:
                for _ in said:
                    pass


async def _once_async(caller: Caller, ask: Callable[[bool], Awaitable[Any]]) -> None:
    for stream in (False, True):
        with caller.outcome():
            async with budgetguard.budget(user=USER):
                said = await ask(stream)
                if stream:
                    async for _ in said:
                        pass


def _asked(caller: Caller) -> tuple[Mapping[str, Any], Mapping[str, Any], Mapping[str, Any], Mapping[str, Any]]:
    """What each SDK is asked: openai, anthropic (which has to state a cap), google-genai, boto3."""
    stated = caller.stated
    return (
        {"model": MODEL, "messages": MESSAGES, **({"max_tokens": LONGEST} if stated else {})},
        {"model": CLAUDE, "messages": MESSAGES, "max_tokens": LONGEST},
        {"model": GEMINI, "contents": TEXT, **({"config": {"max_output_tokens": LONGEST}} if stated else {})},
        {"modelId": BEDROCK, "messages": PARTS, **({"inferenceConfig": {"maxTokens": LONGEST}} if stated else {})},
    )


def _sync(caller: Caller, stack: ExitStack) -> Mapping[str, Ask]:
    chat, message, content, converse = _asked(caller)
    site = Site(caller)
    openai, claude = stack.enter_context(site.client()), stack.enter_context(site.anthropic())
    gemini, bedrock = site.gemini(), site.bedrock()
    return {
        "openai": lambda stream: openai.chat.completions.create(**chat, stream=stream),
        "anthropic": lambda stream: claude.messages.create(**message, stream=stream),
        "google-genai": lambda stream: (
            gemini.models.generate_content_stream if stream else gemini.models.generate_content
        )(**content),
        "boto3": lambda stream: (
            bedrock.converse_stream(**converse)["stream"] if stream else bedrock.converse(**converse)
        ),
    }


async def _gather(caller: Caller) -> None:
    chat, message, content, converse = _asked(caller)
    site = Site(caller)
    async with AsyncExitStack() as stack:
        openai = await stack.enter_async_context(site.async_client())
        claude = await stack.enter_async_context(site.async_anthropic())
        bedrock = await stack.enter_async_context(site.async_bedrock())
        gemini = site.gemini().aio

        async def converse_async(stream: bool) -> Any:
            return (
                (await bedrock.converse_stream(**converse))["stream"] if stream else await bedrock.converse(**converse)
            )

        asks: list[Callable[[bool], Awaitable[Any]]] = [
            lambda stream: openai.chat.completions.create(**chat, stream=stream),
            lambda stream: claude.messages.create(**message, stream=stream),
            lambda stream: (gemini.models.generate_content_stream if stream else gemini.models.generate_content)(
                **content
            ),
            converse_async,
        ]
        await asyncio.gather(*[_once_async(caller, ask) for ask in asks for _ in _each(caller)])
