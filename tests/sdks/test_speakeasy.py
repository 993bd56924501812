"""
The SDKs that Speakeasy generates, Mistral's and OpenRouter's: every shape to the nano-dollar.

Over real sockets to a provider that keeps its own bill.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx2
import mistralai.client
import openrouter
import pytest

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, PriceBook, UnpricedModelError
from budgetguard.testing import FakeProvider, Plan
from tests.support.sdk_shapes import each, enter, run, wait

MODEL = "a-model"
AGENT = "ag_1"
HI = [{"role": "user", "content": "hi there"}]


def bill(model: str, usage: Mapping[str, Any]) -> int:
    """By hand, in nano-dollars: 1 and 2 dollars per million tokens, or 2 (annotated 3) per thousand pages."""
    if "pages_processed" in usage:
        return int(usage["pages_processed"]) * (3_000_000 if usage.get("annotated") else 2_000_000)
    sent = usage["prompt_tokens"] + usage.get("connector_tokens", 0)
    return int(sent) * 1_000 + int(usage.get("completion_tokens", 0)) * 2_000


@pytest.fixture
def provider() -> Iterator[FakeProvider]:
    with FakeProvider(prices=bill, tokens=20, usage_unasked=True, model=None) as own:
        yield own


@pytest.fixture
def books() -> Iterator[BudgetManager]:
    prices = PriceBook()
    for model in (MODEL, "mistral-medium-latest"):
        prices.add(model, input=1, output=2, max_output=400, context=32_000)
    prices.add(AGENT, alias_of="mistral-medium-latest")
    prices.add("ocr", input_document_pages="0.002", input_annotated_document_pages="0.003")
    manager = BudgetManager("t", store="memory://", budgets=[Budget("all", 10)], prices=prices)
    budgetguard.patch(manager)
    yield manager
    assert manager.store.holds() == []


class Client:
    """An SDK's client, called in one way whether it is awaited or not."""

    def __init__(self, inner: Any, *, is_async: bool) -> None:
        self.inner = inner
        self.is_async = is_async

    async def call(self, name: str, **arguments: Any) -> Any:
        """`call("chat.complete", ...)`: the method of this name, or the one that is awaited."""
        found = self.inner
        *parts, last = name.split(".")
        for part in parts:
            found = getattr(found, part)
        return await wait(getattr(found, f"{last}_async" if self.is_async else last)(**arguments))


@pytest.fixture
def use(provider: FakeProvider, books: BudgetManager, loop: Any) -> Callable[..., Any]:
    """Have a client of an SDK, sync or async, used for something, and close it."""

    def go(work: Callable[[Client], Any], sdk: str = "mistral", **more: Any) -> Any:
        if sdk == "mistral":
            made: Any = mistralai.client.Mistral(**{"api_key": "none", "server_url": provider.root_url, **more})
        else:
            made = openrouter.OpenRouter(**{"api_key": "none", "server_url": provider.base_url, **more})

        async def used() -> Any:
            if loop is None:
                with made:
                    return await work(Client(made, is_async=False))
            async with made:
                return await work(Client(made, is_async=True))

        return run(used(), loop)

    return go


async def mistral_chat(client: Client) -> Any:
    return await client.call("chat.complete", model=MODEL, messages=HI)


async def mistral_stream(client: Client) -> Any:
    async with enter(await client.call("chat.stream", model=MODEL, messages=HI)) as stream:
        return [item async for item in each(stream)]


async def mistral_fim(client: Client) -> Any:
    return await client.call("fim.complete", model=MODEL, prompt="def f(", suffix="return a + b")


async def mistral_agent(client: Client) -> Any:
    return await client.call("agents.complete", agent_id=AGENT, messages=HI)


async def mistral_agent_stream(client: Client) -> Any:
    async with enter(await client.call("agents.stream", agent_id=AGENT, messages=HI)) as stream:
        return [item async for item in each(stream)]


async def mistral_conversation(client: Client) -> Any:
    return await client.call("beta.conversations.start", model=MODEL, inputs="hi there")


async def mistral_conversation_stream(client: Client) -> Any:
    async with enter(await client.call("beta.conversations.start_stream", model=MODEL, inputs=HI)) as stream:
        return [item async for item in each(stream)]


async def mistral_conversation_more(client: Client) -> Any:
    return await client.call("beta.conversations.append", conversation_id="conv_1", inputs="go on")


async def mistral_embeddings(client: Client) -> Any:
    return await client.call("embeddings.create", model=MODEL, inputs=["hi there"])


async def openrouter_chat(client: Client) -> Any:
    return await client.call("chat.send", model=MODEL, messages=HI)


async def openrouter_stream(client: Client) -> Any:
    async with enter(await client.call("chat.send", model=MODEL, messages=HI, stream=True)) as stream:
        return [item async for item in each(stream)]


async def openrouter_embeddings(client: Client) -> Any:
    return await client.call("embeddings.generate", model=MODEL, input="hi there")


SHAPES = [
    mistral_chat,
    mistral_stream,
    mistral_fim,
    mistral_agent,
    mistral_agent_stream,
    mistral_conversation,
    mistral_conversation_stream,
    mistral_embeddings,
    openrouter_chat,
    openrouter_stream,
    openrouter_embeddings,
]


def sdk_of(shape: Any) -> str:
    return str(shape.__name__.partition("_")[0])


def costs(manager: BudgetManager) -> list[int]:
    return [entry.cost for entry in manager.store.entries()]


def billed(provider: FakeProvider) -> list[int]:
    return [each.amount for each in provider.ledger]


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_costs_what_its_provider_bills(
    shape: Any, use: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """A program whose SDK is Mistral's or OpenRouter's spends from the same budget."""
    use(shape, sdk_of(shape))
    assert costs(books) == billed(provider) != []
    assert not any("estimated" in entry.flags for entry in books.store.entries())


@pytest.mark.parametrize("shape", [mistral_chat, mistral_stream, mistral_conversation, openrouter_chat])
def test_what_does_not_fit_is_refused_before_any_traffic(
    shape: Any, use: Callable[..., Any], provider: FakeProvider
) -> None:
    """A refusal reaches the caller as itself, after one attempt, with nothing sent."""
    with budgetguard.budget(limit=0.000001), pytest.raises(BudgetExceededError):
        use(shape, sdk_of(shape))
    assert provider.requests == []


@pytest.mark.parametrize("shape", [mistral_chat, mistral_conversation, openrouter_chat])
def test_a_budget_caps_what_nobody_capped(shape: Any, use: Callable[..., Any], provider: FakeProvider) -> None:
    """Without a cap of the caller's, the dearest answer must still fit; each API has its cap in a place of its own."""
    with budgetguard.budget(limit=0.0004):
        use(shape, sdk_of(shape))
    [sent] = provider.requests
    assert 0 < sent.body.get("completion_args", sent.body)["max_tokens"] < 400


def test_what_connectors_read_is_billed_as_input(
    use: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """A web search fills the model's context, and stands beside the prompt in the usage."""
    provider.plan = Plan(usage={"connector_tokens": 7_000})
    use(mistral_conversation)
    assert costs(books) == billed(provider)
    assert costs(books)[0] > 7_000_000


def test_a_conversation_that_is_stored_has_a_model_that_nobody_names(use: Callable[..., Any]) -> None:
    """What it costs cannot be known before: it is refused where a budget has to hold, and not let through."""
    with pytest.raises(UnpricedModelError):
        use(mistral_conversation_more)


@pytest.mark.parametrize("annotated", [False, True])
def test_pages_are_counted(
    annotated: bool, use: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """Documents are billed by the page, and dearer where they are annotated."""
    schema = {"name": "a", "schema": {"type": "object"}}
    more = {"document_annotation_format": {"type": "json_schema", "json_schema": schema}} if annotated else {}
    provider.plan = Plan(usage={"annotated": 1} if annotated else None)

    async def read(client: Client) -> None:
        document = {"type": "document_url", "document_url": "https://a.place/paper.pdf"}
        await client.call("ocr.process", model="ocr", document=document, pages=[0, 1, 2], **more)

    use(read)
    assert costs(books) == billed(provider) == [9_000_000 if annotated else 6_000_000]


@pytest.mark.parametrize("shape", [mistral_chat, openrouter_chat])
def test_an_attempt_that_may_have_been_billed_costs_what_was_held(
    shape: Any, use: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """The SDK tries again by itself, and the answer that was lost is on the bill: unknown is not free."""
    utils = mistralai.client.utils if shape is mistral_chat else openrouter.utils
    again = utils.RetryConfig("backoff", utils.BackoffStrategy(1, 2, 1, 5_000), retry_connection_errors=True)
    provider.fail_next(500, 503)
    use(shape, sdk_of(shape), retry_config=again)
    assert costs(books) == billed(provider)
    assert len(provider.requests) == 3


@pytest.mark.parametrize("shape", [mistral_chat, mistral_stream, openrouter_chat, openrouter_stream])
def test_an_error_status_costs_nothing(
    shape: Any, use: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """It is a response here, not an exception, where the hold has to end; the caller gets the SDK's own error."""
    for status in (400, 404, 429):
        provider.fail_next(status)
        with pytest.raises(Exception, match=r"\w") as caught:
            use(shape, sdk_of(shape))
        assert type(caught.value).__module__.startswith(("mistralai", "openrouter"))
    assert costs(books) == []


def test_what_never_connected_costs_nothing(use: Callable[..., Any], books: BudgetManager) -> None:
    """A server that is not there bills nothing."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        with pytest.raises(Exception, match="onnect"):
            use(mistral_chat, server_url=f"http://127.0.0.1:{nobody.getsockname()[1]}")
    assert costs(books) == []


def test_a_stream_that_is_left_costs_what_was_held(
    use: Callable[..., Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """The provider writes on for nobody, and bills it."""

    async def left(client: Client) -> None:
        async with enter(await client.call("chat.stream", model=MODEL, messages=HI)) as stream:
            async for _ in each(stream):
                break

    use(left)
    [cost] = costs(books)
    assert cost >= sum(billed(provider.wait()))


def test_recordings_are_billed_by_the_second(books: BudgetManager) -> None:
    """The bill of a transcript is its sound; the tokens in its usage are not."""
    usage = {"prompt_audio_seconds": 60, "prompt_tokens": 4, "completion_tokens": 9, "total_tokens": 13}
    said = {"model": "voxtral-mini-2602", "text": "hello", "language": None, "segments": [], "usage": usage}
    transport = httpx2.MockTransport(lambda _request: httpx2.Response(200, json=said))
    file = {"file_name": "hello.mp3", "content": b"\0" * 20_000}
    with mistralai.client.Mistral(api_key="none", client=httpx2.Client(transport=transport)) as client:
        client.audio.transcriptions.complete(model="voxtral-mini-2602", file=file)
    [entry] = books.store.entries()
    assert entry.cost == 3_000_000  # $0.18 an hour
    assert entry.provider == "mistral"


@pytest.mark.parametrize("sdk", ["mistral", "openrouter"])
def test_one_client_alone_may_be_guarded(sdk: str, provider: FakeProvider) -> None:
    """`guard` takes a client of these SDKs, and refuses before anything is sent."""
    budgetguard.unpatch()
    if sdk == "mistral":
        client: Any = mistralai.client.Mistral(api_key="none", server_url=provider.root_url)
        ask = lambda: client.chat.complete(model=MODEL, messages=HI)  # noqa: E731
    else:
        client = openrouter.OpenRouter(api_key="none", server_url=provider.base_url)
        ask = lambda: client.chat.send(model=MODEL, messages=HI)  # noqa: E731
    with client:
        ask()
        budgetguard.guard(client, BudgetManager("t", store="memory://", budgets=[Budget("none", 0)]))
        with pytest.raises(budgetguard.BudgetGuardError):
            ask()
    assert len(provider.requests) == 1
