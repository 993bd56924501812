"""A span for each call: what it says, when it begins and ends, and whose it is."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from typing import Any

import openai
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor
from opentelemetry.trace import SpanKind, StatusCode

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, PriceBook
from budgetguard.guards.settings import Settings
from tests.support.hearing import Heard, listening, said
from tests.support.sdk_shapes import each, wait

MODEL = "gpt-4o-mini"
SECRET = "the secret of the prompt"
HI = [{"role": "user", "content": SECRET}]


@pytest.fixture
def books():
    """A hard budget of each user, and every client guarded."""
    made = BudgetManager("told", store="memory://", budgets=[Budget("free", 1, per=("user",))])
    budgetguard.patch(made)
    with made, budgetguard.budget(user="ann", tags={"feature": "search"}):
        yield made


async def ask(client: Any, *, stream: bool = False, **more: Any) -> None:
    """Ask, and read the answer to its end."""
    answer = await wait(client.chat.completions.create(model=MODEL, messages=HI, stream=stream, **more))
    if stream:
        async for _ in each(answer):
            pass


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_a_call_is_a_span_that_says_what_it_cost(heard, books, go, stream):
    """Cost, tokens, models and the hold by which the books know it, in the words that dashboards look for."""
    go(lambda client: ask(client, stream=stream, max_tokens=9))

    [span], [entry] = heard.spans, books.store.entries()
    assert (span.name, span.kind, span.status.status_code) == (f"chat {MODEL}", SpanKind.CLIENT, StatusCode.UNSET)
    found = said(span)
    assert found["gen_ai.operation.name"] == "chat"
    assert found["gen_ai.request.model"] == found["gen_ai.response.model"] == MODEL
    assert found["gen_ai.usage.input_tokens"] == entry.usage["input_tokens"]
    assert found["gen_ai.usage.output_tokens"] == entry.usage["output_tokens"]
    assert found["budgetguard.cost_nano"] == entry.cost > 0
    assert found["budgetguard.cost"] == entry.cost / 10**9
    assert found["budgetguard.hold_id"] == entry.hold_id
    assert found["budgetguard.held_nano"] >= entry.cost
    assert found["server.address"] == "127.0.0.1"
    assert found.get("budgetguard.estimated", False) is ("estimated" in entry.flags)
    assert found.get("gen_ai.request.stream", False) is stream


def test_no_span_says_what_was_asked_or_who_asked(heard, books, provider):
    """Traces go to other people's servers: prompts, answers, users and what errors say are none of their affair."""
    provider.fail_next(400)
    with provider.client(max_retries=0) as client:
        with pytest.raises(openai.APIStatusError):
            client.chat.completions.create(model=MODEL, messages=HI)
        answer = client.chat.completions.create(model=MODEL, messages=HI)
        books.create_budget(0, "ann")
        with pytest.raises(BudgetExceededError):
            client.chat.completions.create(model=MODEL, messages=HI)
    assert len(heard.spans) == 3
    text = "\n".join(each.to_json() for each in heard.spans)
    assert SECRET not in text
    assert answer.choices[0].message.content not in text
    assert "ann" not in text
    assert "search" not in text


def test_tags_are_told_that_are_asked_for_by_name(heard, provider):
    """A dashboard by feature, or by user where that is nobody's secret."""
    settings = Settings(telemetry_tags=frozenset({"feature", "user", "missing"}))
    manager = BudgetManager("told", store="memory://", settings=settings)
    with manager, budgetguard.budget(user="ann", tags={"feature": "search"}), provider.client() as client:
        budgetguard.patch(manager)
        client.chat.completions.create(model=MODEL, messages=HI)
    [span] = heard.spans
    assert {name: value for name, value in said(span).items() if name.startswith("budgetguard.tag.")} == {
        "budgetguard.tag.feature": "search",
        "budgetguard.tag.user": "ann",
    }
    [(row, _)] = heard.points("budgetguard.cost")
    assert row["budgetguard.tag.feature"] == "search"


def test_a_refusal_is_a_span_that_names_the_budget(heard, books, go):
    """Which budget it was, and whether its room was spent or only held, without a look at the books."""
    books.create_budget(0, "ann")
    with pytest.raises(BudgetExceededError):
        go(ask)
    [span] = heard.spans
    assert span.status.status_code is StatusCode.ERROR
    assert said(span)["error.type"] == "BudgetExceededError"
    assert said(span)["budgetguard.budget"] == "users"
    assert said(span)["budgetguard.reason"] == "spent"
    assert "budgetguard.held_nano" not in said(span)


def test_a_paused_budget_is_told_apart_from_one_that_is_spent(heard, books, provider):
    """One is an operator's decision, the other the month's end."""
    books.pause("free")
    with provider.client() as client, pytest.raises(BudgetExceededError):
        client.chat.completions.create(model=MODEL, messages=HI)
    assert [said(each)["budgetguard.reason"] for each in heard.spans] == ["paused"]


def test_a_failure_is_the_class_of_the_sdks_error(heard, books, go, provider):
    """As instrumentations of the SDK say it; its text may repeat the prompt."""
    provider.fail_next(500)

    with pytest.raises(openai.InternalServerError):
        go(lambda client: ask(client.with_options(max_retries=0)))
    [span] = heard.spans
    assert said(span)["error.type"] == "InternalServerError"
    assert span.status.description is None
    assert "budgetguard.reason" not in said(span)


def test_a_call_is_beneath_the_span_that_was_current_and_above_what_it_sends(heard, books, go):
    """A trace shows the request that made it, and the HTTP request that it made, in one tree."""
    tracer = trace.get_tracer("the program")
    inner: list[Any] = []

    async def work(client: Any) -> None:
        def sent(_request: Any) -> None:
            inner.append(trace.get_current_span().get_span_context().span_id)

        async def sent_async(request: Any) -> None:
            sent(request)

        hooks = client._client.event_hooks
        client._client.event_hooks = {**hooks, "request": [sent if client.__class__ is openai.OpenAI else sent_async]}
        with tracer.start_as_current_span("request") as outer:
            await ask(client)
            assert trace.get_current_span() is outer
            await ask(client, stream=True)
            assert trace.get_current_span() is outer

    go(work)
    [request] = heard.others
    assert request.context is not None
    assert [each.parent.span_id for each in heard.spans if each.parent] == [request.context.span_id] * 2
    assert inner == [each.context.span_id for each in heard.spans if each.context]


def test_a_stream_ends_its_span_with_its_last_piece(heard, books, provider):
    """Its cost is not known before; what the program does while it reads is not beneath it."""
    with provider.client() as client:
        stream = client.chat.completions.create(model=MODEL, messages=HI, stream=True)
        assert heard.spans == []
        assert not trace.get_current_span().get_span_context().is_valid
        list(stream)
    [span] = heard.spans
    assert said(span)["budgetguard.cost_nano"] > 0


def test_a_stream_that_is_left_ends_its_span(heard, books, provider):
    """Else a trace would never be whole."""
    with provider.client() as client:
        with client.chat.completions.create(model=MODEL, messages=HI, stream=True) as stream:
            next(iter(stream))
        [span] = heard.spans
    assert said(span)["budgetguard.estimated"] is True


def test_calls_at_once_have_a_span_each(heard, books, provider):
    """Tasks of one loop, each with its own context: none ends another's, none is lost."""

    async def together() -> None:
        async with provider.async_client() as client:
            await asyncio.gather(*(ask(client, stream=number % 2 == 0, max_tokens=9) for number in range(10)))

    asyncio.run(together())
    found = [said(each) for each in heard.spans]
    assert len({each["budgetguard.hold_id"] for each in found}) == 10
    assert sum(each["budgetguard.cost_nano"] for each in found) == sum(e.cost for e in books.store.entries())


def test_work_in_the_background_has_a_second_span_that_is_linked_to_the_first(heard, books, provider):
    """The answer that began it says nothing of its cost: who retrieves it later has that told."""
    with provider.client() as client:
        begun = client.responses.create(model=MODEL, input="hi", background=True, max_output_tokens=20)
        client.responses.retrieve(begun.id)
    first, second = heard.spans
    assert "budgetguard.cost_nano" not in said(first)
    assert said(second)["budgetguard.cost_nano"] > 0
    assert said(second)["budgetguard.hold_id"] == said(first)["budgetguard.hold_id"]
    assert [each.context for each in second.links] == [first.context]


def test_a_call_that_another_model_answers_is_no_failure(heard, provider):
    """The first span says that it was passed on, the second which model was asked; nobody counts a refusal."""
    prices = PriceBook(overrides={"big": {"input": 9000, "output": 9000}, "small": {"input": 1, "output": 1}})
    budgets = [Budget("all", 0.01, fallback=("small",))]
    with (
        BudgetManager("told", store="memory://", prices=prices, budgets=budgets) as manager,
        provider.client() as client,
    ):
        budgetguard.patch(manager)
        client.chat.completions.create(model="big", messages=HI, max_tokens=20)
    first, second = map(said, heard.spans)
    assert first["budgetguard.passed_on"] is True
    assert (second["gen_ai.request.model"], second["budgetguard.fallback"]) == ("small", True)
    assert heard.points("budgetguard.call.refusals") == []


def test_a_budget_that_is_near_its_limit_passes_a_call_on_without_a_failure(heard, provider):
    """Nothing was refused: a dashboard of errors shows no span of it."""
    prices = PriceBook(overrides={"big": {"input": 900, "output": 900}, "small": {"input": 1, "output": 1}})
    budgets = [Budget("all", 1, fallback=("small",), degrade_at=0.0001)]
    with (
        BudgetManager("told", store="memory://", prices=prices, budgets=budgets) as manager,
        provider.client() as client,
    ):
        budgetguard.patch(manager)
        for _ in range(2):
            client.chat.completions.create(model="big", messages=HI, max_tokens=20)
    _, passed, answered = heard.spans
    assert said(passed)["budgetguard.passed_on"] is True
    assert (passed.status.status_code, said(passed).get("error.type")) == (StatusCode.UNSET, None)
    assert said(answered)["gen_ai.request.model"] == "small"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_call_that_is_open_at_a_fork_is_told_by_the_parent_alone(heard, books, provider):
    """A worker that drops what it inherited would end the span, and count the cost, a second time."""
    with provider.client() as client:
        stream = client.chat.completions.create(model=MODEL, messages=HI, stream=True)
        if (child := os.fork()) == 0:
            stream.close()
            del stream
            gc.collect()
            os._exit(len(heard.spans))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        list(stream)
    assert len(heard.spans) == 1


class Broken(SpanProcessor):
    """A processor of the program's own that fails."""

    def on_start(self, span: Any, parent_context: Any = None) -> None:
        raise RuntimeError("begun")

    def on_end(self, span: Any) -> None:
        raise RuntimeError("ended")


def test_what_is_wrong_with_it_stops_no_call_and_is_said_once(heard, books, go, caplog):
    """A program's own processor may raise: the answer is there, and its cost on the books."""
    heard.add(Broken())
    with caplog.at_level(logging.ERROR, "budgetguard"):
        go(ask)
        go(lambda client: ask(client, stream=True))
    assert len(list(books.store.entries())) == 2
    assert not trace.get_current_span().get_span_context().is_valid
    told = [each for each in caplog.records if "OpenTelemetry" in each.getMessage()]
    assert len(told) == len({each.exc_text for each in told}) <= 2


def test_nothing_is_told_where_the_settings_say_so(heard, provider):
    """One guard may be kept out of the program's traces."""
    manager = BudgetManager("told", store="memory://", settings=Settings(telemetry="off"))
    with manager, provider.client() as client:
        budgetguard.patch(manager)
        client.chat.completions.create(model=MODEL, messages=HI)
    assert heard.spans == []


def test_providers_may_be_set_after_the_budgets(books, provider):
    """A program makes its manager when it is imported, and configures telemetry when it starts."""
    with provider.client() as client:
        client.chat.completions.create(model=MODEL, messages=HI)
        with listening(measures=False) as late:
            client.chat.completions.create(model=MODEL, messages=HI)
            assert len(late.spans) == 1
            assert isinstance(late, Heard)
