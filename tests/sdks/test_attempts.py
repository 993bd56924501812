"""
The attempts of one call are seen one by one: each that may have been billed costs what was held.

Free is what never connected, and what was answered with an error that nobody bills.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import openai
import pytest

import budgetguard
from budgetguard import Budget, BudgetExceededError, BudgetManager, PriceBook
from tests.support.in_memory import HI, HTTP, MODEL, client_of
from tests.support.sdk_shapes import plain, run, streamed, wait

CAP = 16_000
BOUND = 9
"""The most input tokens of HI: 3 to prime, 3 for the message, 1 for its role, 2 bytes."""

INPUT, OUTPUT = 150, 600
"""Nano-dollars a token."""

HELD = BOUND * INPUT + CAP * OUTPUT
ANSWERED = 10 * INPUT + 20 * OUTPUT

OPENAI = "https://api.openai.com/v1"
GATEWAY = "https://llm.example.com/v1"


def reply(**more: Any) -> dict[str, Any]:
    message = {"role": "assistant", "content": "hi"}
    choice = {"index": 0, "finish_reason": "stop", "message": message}
    usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30, **more}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": MODEL, "choices": [choice], "usage": usage}


def status(code: int, error: dict[str, Any] | None = None) -> Callable[[], Any]:
    return lambda: HTTP.Response(code, json={"error": error or {"message": "no"}}, headers={"retry-after-ms": "1"})


def raises(error: Exception) -> Callable[[], Any]:
    def fail() -> Any:
        raise error

    return fail


class Broken(HTTP.SyncByteStream, HTTP.AsyncByteStream):
    """A body that breaks off."""

    def __iter__(self) -> Iterator[bytes]:
        yield b'{"id": '
        raise HTTP.ReadError("cut")

    async def __aiter__(self) -> Any:
        yield b'{"id": '
        raise HTTP.ReadError("cut")


TIME_OUT = raises(HTTP.ReadTimeout("late"))
CUT = raises(HTTP.RemoteProtocolError("cut"))
CUT_IN_THE_BODY: Callable[[], Any] = lambda: HTTP.Response(200, stream=Broken())  # noqa: E731
REFUSED = raises(HTTP.ConnectError("refused"))
ANSWER: Callable[[], Any] = lambda: HTTP.Response(200, json=reply())  # noqa: E731


@pytest.fixture
def books() -> Iterator[BudgetManager]:
    prices = PriceBook()
    prices.add(MODEL, input="0.15", output="0.60", max_output=CAP)
    manager = BudgetManager("attempts", store="memory://", prices=prices, budgets=[Budget("one", "0.02")])
    budgetguard.patch(manager)
    yield manager
    assert manager.store.holds() == []


@pytest.fixture
def go(loop: Any, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Make one call whose attempts end in the ways that are given, the last of them again and again."""
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.0)
    monkeypatch.setattr("openai._base_client.MAX_RETRY_DELAY", 0.0)

    def call(*ends: Callable[[], Any], base_url: str = OPENAI, use: Any = plain, **more: Any) -> Any:
        left = list(ends)

        def serve(_: Any) -> Any:
            return (left.pop(0) if len(left) > 1 else left[0])()

        client = client_of(serve, loop is not None, base_url=base_url, max_retries=len(ends) - 1)
        return run(use(client, {"model": MODEL, "messages": HI, "max_completion_tokens": CAP, **more}), loop)

    return call


async def _raw(client: Any, body: dict[str, Any]) -> Any:
    raw = await wait(client.chat.completions.with_raw_response.create(**body))
    return raw.parse()


def costs(manager: BudgetManager) -> list[int]:
    return [entry.cost for entry in manager.store.entries()]


@pytest.mark.parametrize("use", [plain, _raw, streamed])
@pytest.mark.parametrize("first", [TIME_OUT, CUT])
@pytest.mark.parametrize("last", [status(429), status(500), status(400), REFUSED])
def test_an_attempt_that_was_lost_costs_what_was_held_however_the_call_ends(books, go, first, last, use):
    """It may have been answered, and billed; that the next one was refused says nothing of it."""
    with pytest.raises(openai.APIError):
        go(first, last, use=use)

    assert costs(books) == [HELD]
    [entry] = books.store.entries()
    assert entry.flags == {"estimated"}


def test_a_body_that_breaks_off_is_a_lost_attempt(books, go):
    """The answer was on its way."""
    with pytest.raises(openai.APIError):
        go(CUT_IN_THE_BODY, status(429))

    assert costs(books) == [HELD]


def test_a_budget_is_used_up_by_lost_attempts(books, go):
    """$0.02 pay for two of them."""
    for _ in range(2):
        with pytest.raises(openai.RateLimitError):
            go(TIME_OUT, status(429))
    with pytest.raises(BudgetExceededError):
        go(TIME_OUT, status(429))

    assert costs(books) == [HELD, HELD]


@pytest.mark.parametrize(
    "ends",
    [
        [status(429)],
        [status(500), status(503)],
        [REFUSED],
        [REFUSED, REFUSED, status(429)],
        [status(408)],
        [status(400)],
        [raises(HTTP.ConnectTimeout("late")), raises(HTTP.PoolTimeout("full"))],
    ],
)
def test_attempts_that_cannot_have_been_billed_are_free(books, go, ends):
    """Nothing was sent, or the answer was an error."""
    with pytest.raises(openai.APIError):
        go(*ends)

    assert costs(books) == []


@pytest.mark.parametrize("use", [plain, _raw])
def test_an_answer_after_errors_costs_what_it_says(books, go, use):
    """A refused attempt adds nothing."""
    go(status(500), REFUSED, status(429), ANSWER, use=use)

    assert costs(books) == [ANSWERED]
    [entry] = books.store.entries()
    assert entry.flags == frozenset()


@pytest.mark.parametrize("use", [plain, _raw])
def test_an_answer_after_a_lost_attempt_costs_both(books, go, use):
    """The one that was heard, at its usage, and the other, which may have written as much as it might."""
    go(TIME_OUT, ANSWER, use=use)

    assert costs(books) == [HELD + ANSWERED]
    [entry] = books.store.entries()
    assert (entry.flags, entry.usage["output_tokens"]) == ({"estimated"}, 20)


def test_every_lost_attempt_counts(books, go):
    """Three requests that nobody saw answered are three bills, at worst."""
    with pytest.raises(openai.APITimeoutError):
        go(TIME_OUT, CUT, TIME_OUT)

    assert costs(books) == [3 * HELD]


def test_a_call_inside_a_call_has_attempts_of_its_own(books, go):
    """A client that asks another one for its key."""

    def asks() -> Any:
        inner = HTTP.Client(transport=HTTP.MockTransport(lambda _: HTTP.Response(200, json=reply())))
        other = openai.OpenAI(api_key="-", http_client=inner)
        other.chat.completions.create(model=MODEL, messages=HI, max_completion_tokens=20)
        return HTTP.Response(429, json={})

    with pytest.raises(openai.RateLimitError):
        go(asks)

    assert costs(books) == [ANSWERED]


# -- errors that are billed ----------------------------------------------------------------------------------------

AZURE = "https://corp.openai.azure.com/openai/deployments/gpt-4o-mini"
FILTERED = {"code": "content_filter", "message": "x", "innererror": {"code": "ResponsibleAIPolicyViolation"}}
OLDER = {**FILTERED, "code": None}


@pytest.mark.parametrize("error", [FILTERED, OLDER])
@pytest.mark.parametrize("use", [plain, _raw, streamed])
def test_a_prompt_that_azures_filter_refused_costs_its_input(books, go, use, error):
    """It was read: 7 tokens of the format and "hi", which is one. What was written of an answer, nobody says."""
    with pytest.raises(openai.BadRequestError):
        go(status(400, error), base_url=AZURE, use=use)

    assert costs(books) == [8 * INPUT]
    [entry] = books.store.entries()
    assert entry.flags == {"estimated"}


def test_a_filters_refusal_elsewhere_is_free(books, go):
    """OpenAI bills no error."""
    with pytest.raises(openai.BadRequestError):
        go(status(400, FILTERED))

    assert costs(books) == []


def test_a_time_out_of_azures_own_costs_what_was_held(books, go):
    """Status 408: the work was done, up to the moment at which it gave up."""
    with pytest.raises(openai.APIStatusError):
        go(status(408), base_url=AZURE)

    assert costs(books) == [HELD]


@pytest.mark.parametrize("error", [{"message": "no"}, {"code": "invalid_value", "message": "filter"}])
def test_another_bad_request_to_azure_is_free(books, go, error):
    """Nothing was read of it but its form."""
    with pytest.raises(openai.BadRequestError):
        go(status(400, error), base_url=AZURE)

    assert costs(books) == []


# -- the cost that a proxy states --------------------------------------------------------------------------------------


def stating(header: str, **usage: Any) -> Callable[[], Any]:
    return lambda: HTTP.Response(200, json=reply(**usage), headers={"x-litellm-response-cost": header})


@pytest.mark.parametrize("use", [plain, _raw])
@pytest.mark.parametrize(
    ("header", "usage", "cost"),
    [
        ("0.0077", {}, 7_700_000),
        ("7.7e-03", {}, 7_700_000),
        ("0.0077", {"cost": 0.005}, 5_000_000),
        ("0.0077", {"cost": 0.0}, 7_700_000),
        ("0", {}, ANSWERED),
        ("0.0", {"cost": 0}, ANSWERED),
        ("-1", {}, ANSWERED),
        ("nan", {}, ANSWERED),
        ("inf", {}, ANSWERED),
        ("None", {}, ANSWERED),
        ("", {}, ANSWERED),
    ],
)
def test_a_proxys_header_states_the_cost(books, go, header, usage, cost, use):
    """What the body states is younger; a cost of nothing beside tokens, or one that is no amount, says nothing."""
    go(stating(header, **usage), base_url=GATEWAY, use=use)

    assert costs(books) == [cost]


def test_a_header_at_a_known_provider_is_nobodys(books, go):
    """Its bill goes by its prices."""
    go(stating("0.0077"), base_url=OPENAI)

    assert costs(books) == [ANSWERED]
