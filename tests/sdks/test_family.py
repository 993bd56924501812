"""
The SDKs of Stainless's older kind, which send in the middle of `request`: one row each, every shape to the nano-dollar.

Over real sockets to a provider that keeps its own bill.
"""

from __future__ import annotations

import asyncio
import importlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, PriceBook
from budgetguard.adapters.common.failures import never_sent
from budgetguard.guards import Settings
from budgetguard.testing import FakeProvider, Plan
from tests.support.sdk_shapes import each, enter, run, wait

MODEL = "a-model"
ASKED: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": "hi there"}]}
CLIENTS = {
    "groq": "Groq",
    "together": "Together",
    "cerebras.cloud.sdk": "Cerebras",
    "fireworks": "Fireworks",
    "perplexity": "Perplexity",
    "sambanova": "SambaNova",
    "writerai": "Writer",
    "dedalus_labs": "Dedalus",
}
LIMIT = 1_000_000
"""Nano-dollars of the budget."""


@pytest.fixture(params=CLIENTS)
def package(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider(prices={MODEL: (1, 2)}, tokens=20, retry_after_ms=1) as own:
        yield own


@pytest.fixture
def books(provider: FakeProvider) -> Iterator[BudgetManager]:
    prices = PriceBook()
    prices.add(MODEL, input=1, output=2, max_output=400)
    asked = Settings(usage_hosts=frozenset({provider.base_url.split("/")[2]}))
    manager = BudgetManager("t", store="memory://", budgets=[Budget("all", "0.001")], prices=prices, settings=asked)
    budgetguard.patch(manager)
    yield manager
    assert manager.store.holds() == []


@pytest.fixture
def ask(package: str, provider: FakeProvider, books: BudgetManager, loop: Any) -> Callable[..., Any]:
    """Have a client of the SDK, sync or async, used for something, and close it."""
    module, name = importlib.import_module(package), CLIENTS[package]

    def go(use: Callable[[Any], Any], **more: Any) -> Any:
        made = getattr(module, name if loop is None else f"Async{name}")
        more |= {"warm_tcp_connection": False} if name == "Cerebras" else {}
        client = made(**{"api_key": "none", "base_url": provider.root_url, "max_retries": 2, **more})

        async def used() -> Any:
            try:
                return await use(client)
            finally:
                await wait(client.close())

        return run(used(), loop)

    return go


def chats(client: Any) -> Any:
    """What chats are asked of: Writer's clients have no `completions` there."""
    return client.chat if hasattr(client.chat, "chat") else client.chat.completions


def asking(chats: Any) -> Callable[..., Any]:
    return chats.chat if hasattr(chats, "chat") else chats.create  # type: ignore[no-any-return]


async def plain(client: Any) -> Any:
    return await wait(asking(chats(client))(**ASKED))


async def streamed(client: Any) -> Any:
    return [item async for item in each(await wait(asking(chats(client))(**ASKED, stream=True)))]


async def raw(client: Any) -> Any:
    return await wait((await wait(asking(chats(client).with_raw_response)(**ASKED))).parse())


async def unread(client: Any) -> Any:
    async with enter(asking(chats(client).with_streaming_response)(**ASKED)) as response:
        return await wait(response.read())


async def copied(client: Any) -> Any:
    return await plain(client.with_options(timeout=9))


def costs(manager: BudgetManager) -> list[int]:
    return [entry.cost for entry in manager.store.entries()]


def billed(provider: FakeProvider) -> list[int]:
    return [bill.amount for bill in provider.ledger]


@pytest.mark.parametrize("use", [plain, streamed, raw, unread, copied])
def test_every_shape_costs_what_its_provider_bills(
    use: Any, ask: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """A program whose SDK is not OpenAI's spends from the same budget."""
    ask(use)
    assert costs(books) == billed(provider) != []
    assert not any("estimated" in entry.flags for entry in books.store.entries())


@pytest.mark.parametrize("use", [plain, streamed, raw, unread])
def test_what_does_not_fit_is_refused_before_any_traffic(
    use: Any, ask: Callable[..., Any], provider: FakeProvider
) -> None:
    """A refusal reaches the caller as itself, after one attempt, with nothing sent."""
    with budgetguard.budget(limit=0.000001), pytest.raises(BudgetExceededError):
        ask(use)
    assert [each for each in provider.requests if each.method == "POST"] == []


def test_a_budget_caps_what_nobody_capped(ask: Callable[..., Any], provider: FakeProvider) -> None:
    """Without a cap of the caller's, the dearest answer must still fit."""
    with budgetguard.budget(limit=0.0002):
        ask(plain)
    [sent] = [each.body for each in provider.requests if each.method == "POST"]
    assert sent.get("max_tokens", sent.get("max_completion_tokens")) is not None


def test_an_attempt_that_may_have_been_billed_costs_what_was_held(
    ask: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """The SDK tries again by itself, and the answer that was lost is on the bill: unknown is not free."""
    provider.fail_next({"drop": "headers"})
    ask(plain)
    [cost], paid = costs(books), billed(provider)
    assert len(paid) == 2
    assert cost > sum(paid)


def test_an_error_status_costs_nothing(ask: Callable[..., Any], provider: FakeProvider, books: BudgetManager) -> None:
    """Nobody bills an attempt that was answered with an error."""
    provider.fail_next(500, 429)
    ask(plain)
    assert costs(books) == billed(provider)
    assert len(costs(books)) == 1
    provider.plan = Plan(status=400)
    with pytest.raises(Exception, match="400"):
        ask(plain)
    assert len(costs(books)) == 1


def test_what_never_connected_costs_nothing(ask: Callable[..., Any], books: BudgetManager) -> None:
    """A server that is not there bills nothing, however often it is tried."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        there = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(Exception, match=r"Connection error|timed out"):
            ask(plain, base_url=there, max_retries=0)
    assert costs(books) == []


def test_a_stream_that_is_left_costs_what_was_held(
    ask: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """The provider writes on for nobody, and bills it."""

    async def left(client: Any) -> None:
        stream = await wait(asking(chats(client))(**ASKED, stream=True))
        async for _ in each(stream):
            break
        await wait(stream.response.aclose() if hasattr(stream, "__aiter__") else stream.close())

    ask(left)
    [cost] = costs(books)
    assert cost >= sum(billed(provider))
    assert cost <= LIMIT


def test_one_client_alone_may_be_guarded(package: str, provider: FakeProvider) -> None:
    """`guard` takes a client of every SDK of this kind, and refuses before anything is sent."""
    module = importlib.import_module(package)
    with getattr(module, CLIENTS[package])(api_key="none", base_url=provider.root_url) as client:
        budgetguard.unpatch()
        asking(chats(client))(**ASKED)
        before = len(provider.ledger)
        budgetguard.guard(client, BudgetManager("t", store="memory://", budgets=[Budget("none", 0)]))
        with pytest.raises(budgetguard.BudgetGuardError):
            asking(chats(client))(**ASKED)
    assert len(provider.ledger) == before


@pytest.mark.parametrize("package", ["fireworks", "sambanova"], indirect=True)
def test_messages_are_anthropics_api_there(
    ask: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """Two of them speak a second API, with a usage of other names."""

    async def message(client: Any) -> None:
        await wait(client.messages.create(**ASKED, max_tokens=50))

    ask(message)
    assert costs(books) == billed(provider) != []


def test_a_server_that_hung_up_may_have_been_asked_whatever_the_transport_calls_it() -> None:
    """aiohttp beneath httpx has a connection that broke and one that was never made become the same error."""
    import aiohttp
    import httpx

    def mapped(error: Exception) -> Exception:
        made = httpx.ConnectTimeout("late")
        made.__cause__ = error
        return made

    assert not never_sent(mapped(aiohttp.ServerDisconnectedError()))
    assert not never_sent(mapped(aiohttp.ClientOSError(104, "reset")))
    assert never_sent(mapped(aiohttp.ConnectionTimeoutError()))
    assert never_sent(httpx.ConnectTimeout("late"))


def test_the_same_hosts_other_name_has_its_prices() -> None:
    """Together's clients ask a host that the price list knows by the name it had before."""
    assert PriceBook().provider("api.together.ai") == PriceBook().provider("api.together.xyz") == "together"


def test_other_requests_of_httpx_pass(provider: FakeProvider, books: BudgetManager) -> None:
    """What a program sends by httpx itself is none of these calls, whatever is on its way beside it."""
    import groq  # noqa: F401
    import httpx

    assert httpx.get(f"{provider.root_url}/v1/models").status_code < 500

    async def many() -> None:
        async with httpx.AsyncClient() as own:
            await own.get(f"{provider.root_url}/v1/models")

    asyncio.run(many())
    assert costs(books) == []
