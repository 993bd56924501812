"""
LiteLLM: every call through it is charged once, to the nano-dollar of what its provider bills.

Over real sockets to a provider that keeps its own bill. LiteLLM takes seconds to import: once, for this file.
"""

from __future__ import annotations

import asyncio
import math
import os
import socket
import warnings
from collections.abc import Callable, Iterator
from contextvars import copy_context
from typing import Any

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import openai
import pytest

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, PriceBook
from budgetguard.guards import Settings
from budgetguard.money import Money
from budgetguard.process.state import PROCESS
from budgetguard.sdks.litellm.names import whom as whom_of
from budgetguard.sdks.litellm.operations import function_of
from budgetguard.testing import FakeProvider
from tests.support.sdk_shapes import wait

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # LiteLLM's own, by its age
    import litellm
    from litellm import Router
    from litellm.integrations.custom_logger import CustomLogger

MODEL = "a-model"
pytestmark = [
    pytest.mark.filterwarnings("ignore::Warning"),
    pytest.mark.provider(prices={MODEL: (1, 2)}, tokens=20, retry_after_ms=1),
]

since_1_80 = pytest.mark.skipif(not hasattr(litellm, "anthropic_messages"), reason="an older litellm has not all of it")

ASKED: dict[str, Any] = {"messages": [{"role": "user", "content": "hi there"}]}
PATHS = {"openai": "v1", "anthropic": "", "gemini": "v1beta"}
"""Of the fake one's API, by what LiteLLM calls a provider."""
PROVIDERS = [name for name in PATHS if name != "gemini" or hasattr(litellm, "anthropic_messages")]
"""Who is asked in these tests."""


@pytest.fixture
def books(provider: FakeProvider) -> Iterator[BudgetManager]:
    prices = PriceBook()
    prices.add(MODEL, input=1, output=2, max_output=400)
    asked = Settings(usage_hosts=frozenset({provider.base_url.split("/")[2]}))
    manager = BudgetManager("t", store="memory://", budgets=[Budget("all", "0.1")], prices=prices, settings=asked)
    budgetguard.patch(manager)
    yield manager
    assert manager.store.holds() == []


@pytest.fixture(params=PROVIDERS)
def whom(request: pytest.FixtureRequest, provider: FakeProvider) -> dict[str, Any]:
    """What says who is asked."""
    base = f"{provider.root_url}/{PATHS[request.param]}".rstrip("/")
    return {"model": f"{request.param}/{MODEL}", "api_base": base, "api_key": "none"}


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    """One event loop for all: LiteLLM has a worker in it, which does not care for another one's end."""
    with asyncio.Runner() as own:
        yield own


class Way:
    """LiteLLM's functions, sync or async, and how their streams are read."""

    def __init__(self, runner: asyncio.Runner | None) -> None:
        self.runner = runner

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(litellm, name if self.runner is None else f"a{name}")
        return lambda *args, **kwargs: self.run(function, *args, **kwargs)

    def run(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        if self.runner is None:
            return function(*args, **kwargs)

        async def go() -> Any:
            return await wait(function(*args, **kwargs))

        return self.runner.run(go(), context=copy_context())

    def read(self, stream: Any, most: int = 10_000) -> list[Any]:
        """Up to so many items of a stream."""

        async def items() -> list[Any]:
            found: list[Any] = []
            async for item in stream:
                found.append(item)
                if len(found) == most:
                    break
            return found

        if self.runner is not None:
            return self.runner.run(items(), context=copy_context())
        return [item for item, _ in zip(stream, range(most), strict=False)]


@pytest.fixture(params=["sync", "async"])
def way(request: pytest.FixtureRequest, books: BudgetManager) -> Way:
    return Way(None if request.param == "sync" else request.getfixturevalue("runner"))


def plain(way: Way, whom: dict[str, Any]) -> Any:
    return way.completion(**ASKED, **whom)


def streamed(way: Way, whom: dict[str, Any]) -> Any:
    return way.read(way.completion(**ASKED, **whom, stream=True))


def by_router(way: Way, whom: dict[str, Any]) -> Any:
    router = Router(model_list=[{"model_name": "mine", "litellm_params": whom}])
    return way.run(router.completion if way.runner is None else router.acompletion, model="mine", **ASKED)


def streamed_by_router(way: Way, whom: dict[str, Any]) -> Any:
    router = Router(model_list=[{"model_name": "mine", "litellm_params": whom}])
    made = router.completion if way.runner is None else router.acompletion
    return way.read(way.run(made, model="mine", stream=True, **ASKED))


SHAPES = [plain, streamed, by_router, streamed_by_router]


def costs(manager: BudgetManager) -> list[int]:
    return [entry.cost for entry in manager.store.entries()]


def billed(provider: FakeProvider) -> list[int]:
    return [bill.amount for bill in provider.ledger]


@pytest.mark.parametrize("use", SHAPES)
def test_every_shape_costs_what_its_provider_bills(
    use: Any, way: Way, whom: dict[str, Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """A program that asks through LiteLLM spends from the same budget, once for each call."""
    use(way, whom)
    assert costs(books) == billed(provider) != []
    assert not any("estimated" in entry.flags for entry in books.store.entries())


@pytest.mark.parametrize("use", SHAPES)
def test_what_does_not_fit_is_refused_before_any_traffic(
    use: Any, way: Way, whom: dict[str, Any], provider: FakeProvider
) -> None:
    """A refusal reaches the caller as itself, with nothing sent: LiteLLM makes no error of its own of it."""
    with budgetguard.budget(limit=0.000001), pytest.raises(BudgetExceededError):
        use(way, whom)
    assert provider.requests == []


def test_a_budget_caps_what_nobody_capped(way: Way, whom: dict[str, Any], provider: FakeProvider) -> None:
    """Without a cap of the caller's, the dearest answer must still fit."""
    with budgetguard.budget(limit=0.0004):
        plain(way, whom)
    [sent] = [each.body for each in provider.requests]
    assert max(sent.get("max_tokens", 0), sent.get("generationConfig", {}).get("max_output_tokens", 0)) in range(1, 400)


def test_a_stream_shows_its_caller_what_it_asked_for(way: Way, whom: dict[str, Any], provider: FakeProvider) -> None:
    """The usage that only we asked for is not there for a caller who did not."""
    guarded = streamed(way, whom)
    budgetguard.unpatch()
    alone = streamed(way, whom)
    assert [item.choices[0].delta.content for item in guarded] == [item.choices[0].delta.content for item in alone]
    assert [hasattr(item, "usage") for item in guarded] == [hasattr(item, "usage") for item in alone]


PRICES: Any = {
    "text-embedding-3-small": {"input": 0.02},
    "gpt-image-1": {"input": 5, "output": 40},
    "gpt-4o-mini-tts": {"input": 0.6, "output": 12},
    "gpt-4o-mini-transcribe": {"input": 1.25, "output": 5},
    "tts-1": {"input_characters": 15},
}
WORK: dict[str, dict[str, Any]] = {
    "text_completion": {"model": f"text-completion-openai/{MODEL}", "prompt": "hi there"},
    "responses": {"model": f"openai/{MODEL}", "input": "hi there"},
    "embedding": {"model": "openai/text-embedding-3-small", "input": ["hi", "there"]},
    "image_generation": {"model": "openai/gpt-image-1", "prompt": "a cat", "size": "1024x1024", "quality": "low"},
    "transcription": {"model": "openai/gpt-4o-mini-transcribe", "file": ("hello.mp3", b"\0" * 2000)},
    "speech": {"model": "openai/tts-1", "input": "hi there", "voice": "alloy"},
}


def price(model: str, usage: Any) -> int:
    """What the provider of these tests bills for a usage."""
    rates = {MODEL: {"input": 1, "output": 2}, **PRICES}[model]
    asked = usage.get("prompt_tokens", usage.get("input_tokens", 0))
    made = usage.get("completion_tokens", usage.get("output_tokens", 0))
    said = usage.get("characters", 0)
    nano = (
        asked * rates.get("input", 0) + made * rates.get("output", 0) + said * rates.get("input_characters", 0)
    ) * 1000
    return math.ceil(round(nano, 6))


@since_1_80
@pytest.mark.parametrize("name", WORK)
def test_other_functions_cost_what_their_provider_bills(
    name: str, way: Way, provider: FakeProvider, books: BudgetManager
) -> None:
    """Each function of LiteLLM's has an API of its own beneath."""
    provider.prices = price
    for model, prices in PRICES.items():
        books.guard.prices.add(model, **prices)
    getattr(way, name)(**WORK[name], api_base=provider.base_url, api_key="none")
    assert costs(books) == billed(provider) != []


@since_1_80
@pytest.mark.parametrize("name", ["text_completion", "responses"])
def test_their_streams_cost_it_too(name: str, way: Way, provider: FakeProvider, books: BudgetManager) -> None:
    """The classes of these streams are others."""
    way.read(getattr(way, name)(**WORK[name], api_base=provider.base_url, api_key="none", stream=True))
    assert costs(books) == billed(provider) != []
    assert not any("estimated" in entry.flags for entry in books.store.entries())


@since_1_80
def test_messages_are_anthropics_own_api(way: Way, provider: FakeProvider, books: BudgetManager) -> None:
    """LiteLLM takes requests as Anthropic's SDK does, and gives its replies."""
    asked = {"model": f"anthropic/{MODEL}", "max_tokens": 50, "api_base": provider.root_url, "api_key": "none"}
    if way.runner is None:
        pytest.skip("it is awaited always")
    way.run(litellm.anthropic_messages, **ASKED, **asked)
    assert costs(books) == billed(provider) != []


BRIDGES: dict[str, tuple[str, dict[str, Any]]] = {
    "anthropic": ("responses", {"model": f"anthropic/{MODEL}", "input": "hi there"}),
    "responses": ("completion", {"model": f"openai/responses/{MODEL}", **ASKED}),
    "chat": ("text_completion", {"model": f"openai/{MODEL}", "prompt": "hi there"}),
}


@since_1_80
@pytest.mark.parametrize("beneath", BRIDGES)
def test_what_asks_by_another_api_is_one_call(
    beneath: str, way: Way, provider: FakeProvider, books: BudgetManager
) -> None:
    """LiteLLM makes one function of another, where a provider lacks it: both see the call."""
    name, asked = BRIDGES[beneath]
    base = provider.root_url if beneath == "anthropic" else provider.base_url
    getattr(way, name)(**asked, api_base=base, api_key="none")
    assert costs(books) == billed(provider)
    assert len(costs(books)) == 1


@since_1_80
def test_a_background_response_is_settled_when_it_is_got(provider: FakeProvider, books: BudgetManager) -> None:
    """Until then its hold stays: only then its usage is known."""
    place = {"api_base": provider.base_url, "api_key": "none"}
    begun = litellm.responses(model=f"openai/{MODEL}", input="hi there", background=True, **place)
    assert costs(books) == []
    assert len(books.store.holds()) == 1
    while litellm.get_responses(response_id=begun.id, **place).status != "completed":
        pass
    assert costs(books) == billed(provider) != []


def test_a_positional_argument_counts(way: Way, whom: dict[str, Any], provider: FakeProvider) -> None:
    """`completion(model, messages)` is what most programs write."""
    model = whom.pop("model")
    with budgetguard.budget(limit=0.001) as scope:
        way.completion(model, ASKED["messages"], max_tokens=30, **whom)
    assert scope.spent == Money(sum(billed(provider))) > 0


def test_whoever_imported_it_before_is_guarded_and_unpatch_restores_it(
    whom: dict[str, Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """Programs write `from litellm import completion` at their top; what was there before is there after."""
    held = litellm.main.completion
    place = held.__code__.co_freevars.index("original_function")
    assert hasattr(held.__closure__[place].cell_contents, "__wrapped__")
    held(**ASKED, **whom)
    assert len(costs(books)) == 1
    budgetguard.unpatch()
    assert not hasattr(held.__closure__[place].cell_contents, "__wrapped__")
    held(**ASKED, **whom)
    assert len(costs(books)) == 1


@since_1_80
def test_a_cache_hit_and_a_mock_cost_nothing(
    way: Way, whom: dict[str, Any], provider: FakeProvider, books: BudgetManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is sent for them."""
    monkeypatch.setattr(litellm, "cache", litellm.Cache(type="local"))
    for _ in range(2):
        way.completion(**ASKED, **whom, caching=True)
    way.completion(**ASKED, **whom, mock_response="hello", caching=False)
    assert costs(books) == billed(provider)
    assert len(costs(books)) == 1


def test_an_error_costs_nothing_and_an_attempt_that_was_lost_costs_what_was_held(
    way: Way, provider: FakeProvider, books: BudgetManager
) -> None:
    """The openai SDK beneath tries again by itself: its attempts are this call's."""
    asked = {"model": f"openai/{MODEL}", "api_base": provider.base_url, "api_key": "none", "max_retries": 2}
    provider.fail_next(500, 429)
    way.completion(**ASKED, **asked)
    assert costs(books) == billed(provider)
    provider.fail_next({"drop": "headers"})
    way.completion(**ASKED, **asked)
    assert len(billed(provider)) == 3
    assert costs(books)[1] > sum(billed(provider)[1:])


@since_1_80
def test_a_call_that_failed_is_free_unless_it_may_have_been_answered(
    way: Way, whom: dict[str, Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """LiteLLM gives each error a status, a broken connection's among them."""
    provider.fail_next(400)
    with pytest.raises(litellm.BadRequestError):
        way.completion(**ASKED, **whom, max_retries=0)
    assert costs(books) == []
    provider.fail_next({"drop": "headers"})
    with pytest.raises(Exception, match=r".*"):
        way.completion(**ASKED, **whom, max_retries=0)
    [cost] = costs(books)
    assert cost >= sum(billed(provider)) > 0


def test_what_never_connected_costs_nothing(way: Way, whom: dict[str, Any], books: BudgetManager) -> None:
    """A server that is not there bills nothing."""
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))
        there = f"http://127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(Exception, match=r".*"):
            way.completion(**ASKED, **{**whom, "api_base": there}, max_retries=0)
    assert costs(books) == []


def test_a_stream_that_is_left_costs_what_was_held(
    way: Way, whom: dict[str, Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """The provider writes on for nobody; LiteLLM itself keeps a sync stream until the program ends."""
    stream = way.completion(**ASKED, **whom, stream=True)
    assert len(way.read(stream, most=2)) == 2
    if way.runner is not None and hasattr(stream, "aclose"):
        way.run(stream.aclose)
    del stream
    for each in list(PROCESS.open.values()):  # as at the exit
        each.abandon()
    [cost] = costs(books)
    assert cost >= sum(billed(provider))


def test_a_cancelled_call_costs_what_was_held(
    runner: asyncio.Runner, whom: dict[str, Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """It may have been answered, and nobody waited."""
    provider.fail_next({"stall": "headers"})

    async def cancelled() -> None:
        task = asyncio.create_task(litellm.acompletion(**ASKED, **whom))
        while not provider.requests:
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    runner.run(cancelled())
    [cost] = costs(books)
    assert cost >= sum(billed(provider))


class Judge(CustomLogger):
    """A callback that asks another model, before a call is sent."""

    def __init__(self, client: openai.OpenAI) -> None:
        super().__init__()
        self.client = client

    def log_pre_api_call(self, model: str, messages: Any, kwargs: Any) -> None:
        self.client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "is this fine?"}])


def test_what_a_callback_asks_is_a_call_of_its_own(
    way: Way, whom: dict[str, Any], provider: FakeProvider, books: BudgetManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the provider's own request is the call's: a guardrail that asks a model is billed for it."""
    with provider.client(max_retries=0) as client:
        monkeypatch.setattr(litellm, "input_callback", [Judge(client)])
        plain(way, whom)
    assert sorted(costs(books)) == sorted(billed(provider))
    assert len(costs(books)) == 2


class LateJudge(CustomLogger):
    """Asks a model within a call, after its answer came or while it comes; once."""

    def __init__(self, client: openai.AsyncOpenAI, model: str) -> None:
        super().__init__()
        self.client, self.model, self.asked = client, model, False

    async def judge(self) -> None:
        if not self.asked:
            self.asked = True
            asked: Any = [{"role": "user", "content": "was this fine?"}]
            await self.client.chat.completions.create(model=self.model, messages=asked)

    async def async_post_call_streaming_deployment_hook(
        self, request_data: Any, response_chunk: Any, call_type: Any
    ) -> Any:
        await self.judge()
        return response_chunk

    async def async_should_run_chat_completion_agentic_loop(self, *args: Any, **kwargs: Any) -> Any:
        await self.judge()
        return False, {}


@since_1_80
@pytest.mark.parametrize("use", [plain, streamed])
@pytest.mark.parametrize("model", [MODEL, "a-judge"])
def test_what_a_callback_asks_within_a_call_is_a_call_of_its_own(
    use: Callable[..., Any],
    model: str,
    whom: dict[str, Any],
    runner: asyncio.Runner,
    provider: FakeProvider,
    books: BudgetManager,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A guardrail over the answer, or over each piece of it, passed as an attempt of the call, and was free."""
    if model == MODEL and not whom["model"].startswith("openai/"):
        pytest.skip("by LiteLLM's own client, the answer is not seen before its callbacks are")
    books.guard.prices.add("a-judge", input=3, output=5, max_output=400)
    provider.prices = {MODEL: (1, 2), "a-judge": (3, 5)}
    judge = LateJudge(provider.async_client(max_retries=0), model)
    monkeypatch.setattr(litellm, "callbacks", [judge])
    use(Way(runner), whom)
    runner.run(judge.client.close())
    if not judge.asked:
        pytest.skip("this version has no such hook here")
    assert sorted(costs(books)) == sorted(billed(provider))
    assert len(billed(provider)) == 2


def test_a_router_goes_on_after_a_refusal(way: Way, whom: dict[str, Any], provider: FakeProvider) -> None:
    """A refusal says nothing of a deployment: it is not tried again, and none is cooled down for it."""
    router = Router(
        model_list=[{"model_name": "mine", "litellm_params": whom}], num_retries=2, allowed_fails=0, cooldown_time=60
    )
    made = router.completion if way.runner is None else router.acompletion
    with budgetguard.budget(limit=0.000001), pytest.raises(BudgetExceededError):
        way.run(made, model="mine", **ASKED)
    assert provider.requests == []
    way.run(made, model="mine", **ASKED)
    assert len(billed(provider)) == 1


@since_1_80
def test_fallbacks_are_charged_one_by_one(
    way: Way, whom: dict[str, Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """The first fails, the second answers: one bill."""
    books.guard.prices.add("other", input=3, output=5, max_output=400)
    provider.prices = {MODEL: (1, 2), "other": (3, 5)}
    provider.fail_next(400)
    other = {**whom, "model": whom["model"].replace(MODEL, "other")}
    way.completion(**ASKED, **whom, fallbacks=[other])
    assert costs(books) == billed(provider)
    assert len(billed(provider)) == 1


def test_a_batch_of_completions_is_many_calls(
    whom: dict[str, Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """They run in threads of LiteLLM's."""
    litellm.batch_completion(messages=[ASKED["messages"]] * 3, **whom)
    assert sorted(costs(books)) == sorted(billed(provider))
    assert len(costs(books)) == 3


# -- whose prices ------------------------------------------------------------------------------------------------------


def test_a_price_that_a_call_states_is_its_price(
    way: Way, whom: dict[str, Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """Deployments of one's own are priced where they are named; another call of the same model is not."""
    provider.prices = {MODEL: (7, 9)}
    way.completion(**ASKED, **whom, input_cost_per_token=7e-6, output_cost_per_token=9e-6)
    assert costs(books) == billed(provider)
    way.completion(**ASKED, **whom)
    assert costs(books)[1] < costs(books)[0]


def test_a_model_that_only_litellm_knows_has_its_price(
    way: Way, whom: dict[str, Any], provider: FakeProvider, books: BudgetManager
) -> None:
    """For the hold, and for the bill."""
    litellm.register_model(
        {
            whom["model"].replace(MODEL, "theirs"): {
                "input_cost_per_token": 3e-6,
                "output_cost_per_token": 5e-6,
                "max_output_tokens": 100,
                "max_input_tokens": 1000,
                "litellm_provider": whom["model"].partition("/")[0],
                "mode": "chat",
            }
        }
    )
    provider.prices = {"theirs": (3, 5)}
    way.completion(**ASKED, **{**whom, "model": whom["model"].replace(MODEL, "theirs")})
    assert costs(books) == billed(provider) != []


def test_a_model_that_nobody_knows_is_refused(way: Way, whom: dict[str, Any], provider: FakeProvider) -> None:
    """A hard budget has to know a price."""
    with budgetguard.budget(limit=1), pytest.raises(budgetguard.UnpricedModelError):
        way.completion(**ASKED, **{**whom, "model": whom["model"].replace(MODEL, "nobodys")})
    assert provider.requests == []


@pytest.mark.parametrize(
    ("model", "priced"),
    [
        ("gpt-4o-mini", ("openai", "gpt-4o-mini")),
        ("gemini/gemini-2.5-flash", ("google", "gemini-2.5-flash")),
        ("vertex_ai/gemini-2.5-flash", ("google", "gemini-2.5-flash")),
        ("bedrock/us.anthropic.claude-3-5-haiku-20241022-v1:0", ("aws", "us.anthropic.claude-3-5-haiku-20241022-v1:0")),
        ("bedrock/converse/amazon.nova-lite-v1:0", ("aws", "amazon.nova-lite-v1:0")),
        (
            "together_ai/meta-llama/Llama-3.3-70B-Instruct-Turbo",
            ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ),
        ("xai/grok-3", ("x-ai", "grok-3")),
        ("openai/responses/gpt-4o", ("openai", "gpt-4o")),
        ("azure/mine", ("azure", "mine")),
        ("groq/llama-3.1-8b-instant", ("groq", "llama-3.1-8b-instant")),
        ("openrouter/openai/gpt-4o", ("openrouter", "openai/gpt-4o")),
    ],
)
def test_names_are_those_of_the_price_list(model: str, priced: tuple[str, str]) -> None:
    """LiteLLM has names of its own for who sells a model."""
    asked = whom_of(litellm, {"model": model})
    assert (asked.provider, asked.model) == priced


# -- what cannot be counted --------------------------------------------------------------------------------------------


def test_what_cannot_be_read_is_gated_and_said(books: BudgetManager, caplog: pytest.LogCaptureFixture) -> None:
    """A job, a session, a search: refused where there is no room; that it is not counted is said."""

    def ocr(model: str) -> str:
        return f"read by {model}"

    asked = litellm.utils.client(ocr)  # as a module that LiteLLM imports when it is first used
    asked.__closure__[asked.__code__.co_freevars.index("original_function")].cell_contents(model="openai/reader")
    assert "ocr" in caplog.text
    with budgetguard.budget(limit=0), pytest.raises(BudgetExceededError):
        asked.__closure__[asked.__code__.co_freevars.index("original_function")].cell_contents(model="openai/reader")
    assert costs(books) == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("completion", "chat.completions"),
        ("list_batches", None),
        ("video_status", None),
        ("delete_responses", None),
        ("get_responses", "responses.retrieve"),
        ("create_fine_tuning_job", "opaque"),
        ("ocr", "opaque"),
        ("_realtime", "opaque"),
    ],
)
def test_every_function_that_litellm_makes_is_known_for_what_it_is(name: str, expected: str | None) -> None:
    """One that costs something, and cannot be read, is gated: a new one, too."""

    def function() -> None:
        """Stands for LiteLLM's."""

    function.__name__, function.__module__ = name, "litellm.some.main"
    found = function_of(function)
    assert expected == (None if found is None else "opaque" if found.endpoint.opaque else found.endpoint.name)
