"""
Budgets in tokens and in requests hold beside dollars, over the real SDK: in one step, each in its unit.

What a call truly used is what the provider put on its own bill.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import Any

import openai
import pytest

import budgetguard
from budgetguard import (
    Budget,
    BudgetBusyError,
    BudgetExceededError,
    BudgetManager,
    PriceBook,
    UnpricedModelError,
    carry_scope,
)
from budgetguard.ledger import Entry, Hold, new_id
from budgetguard.testing import FakeProvider, StoppedClock

MODEL = "gpt-4o-mini"
LONGEST = 1_000
INPUT, OUTPUT = 1_000, 2_000
"""Nano-dollars a token."""
MESSAGES: Any = [{"role": "user", "content": "hi"}]
BOUND = 9
"""The most input tokens of MESSAGES: 3 to prime, 3 for the message, 1 for its role, 2 bytes."""
SENT = 7
"""What the provider counts of them."""

CALLS = Budget("calls", 60, "rolling 1m", per=("user",), unit="requests")
TOKENS = Budget("tokens", 2_000_000, "daily", unit="tokens")
DOLLARS = Budget("team", 5, "monthly")

pytestmark = pytest.mark.provider(tokens=20, prices={MODEL: ("1", "2")})

Books = Callable[..., BudgetManager]


@pytest.fixture
def books(url: str, clock: StoppedClock) -> Iterator[Books]:
    """Makes a project with these rules, in the scope of ann."""
    prices = PriceBook(overrides={MODEL: {"input": 1, "output": 2, "max_output": LONGEST}})
    prices.add("free-model", free=True, max_output=LONGEST)
    with ExitStack() as stack:

        def make(*rules: Budget) -> BudgetManager:
            where = url if url == "memory://" else f"{url}?reserve_s=10"  # where tests share two processors
            made = BudgetManager("units", store=where, budgets=rules, clock=clock, prices=prices)
            stack.callback(made.close)
            stack.enter_context(made)
            stack.enter_context(budgetguard.budget(user="ann"))
            return made

        yield make


def ask(client: openai.OpenAI, **more: Any) -> Any:
    return client.chat.completions.create(**{"model": MODEL, "messages": MESSAGES, **more})


def taken(made: BudgetManager) -> dict[str, tuple[int, int]]:
    """What each budget has settled and held, by its name."""
    assert made.store.check() == []
    return {item.key.partition("/")[0]: (item.settled, item.held) for item in made.store.accounts()}


def settled(made: BudgetManager) -> dict[str, int]:
    """The same, when nothing is held."""
    assert made.store.holds() == []
    return {name: sums[0] for name, sums in taken(made).items()}


def last(made: BudgetManager) -> Entry:
    return list(made.store.entries())[-1]


def use(made: BudgetManager, rule: Budget, amount: int) -> None:
    """Have so much of a budget used up before."""
    account = rule.account({"user": "ann"}, made.store.now_ms())
    assert account is not None
    entry = Entry(new_id(), 0, flags=frozenset({"manual"}), units={rule.unit: amount})
    made.store.settle(Hold(entry.hold_id, (account,), 0), entry)


# -- hard, beside dollars ----------------------------------------------------------------------------------------------


def test_of_sixty_requests_a_minute_exactly_sixty_are_sent(provider, books, clock):
    """By eight threads that ask as fast as they can, beside a budget in dollars; the next minute has sixty more."""
    made = books(CALLS, DOLLARS)

    def work(_: int) -> None:
        while True:
            try:
                ask(client, max_tokens=30)
            except BudgetBusyError:
                continue
            except BudgetExceededError:
                return

    with provider.client(max_retries=0) as client, ThreadPoolExecutor(8) as pool:
        list(pool.map(carry_scope(work), range(8)))
        assert len(provider.requests) == 60
        assert settled(made) == {"calls": 60, "team": 60 * (SENT * INPUT + 20 * OUTPUT)}
        clock.advance(62.5)
        list(pool.map(carry_scope(work), range(8)))
        assert len(provider.requests) == 120


@pytest.mark.provider(tokens=3 * LONGEST, prices={MODEL: ("1", "2")})
def test_two_million_tokens_a_day_are_never_passed_by_streams_without_a_cap(provider, books):
    """Each is cut to what fits, of tokens and of dollars; the last ones are refused, and all but scraps is used."""
    rule = Budget("tokens", 2_000_000, "daily", unit="tokens", in_flight=4)
    made = books(rule, DOLLARS)
    use(made, rule, 2_000_000 - 6_000)

    def work(_: int) -> None:
        while True:
            try:
                for _chunk in ask(client, stream=True, stream_options={"include_usage": True}):
                    pass
            except BudgetBusyError:
                continue
            except BudgetExceededError:
                return

    with provider.client(max_retries=0) as client, ThreadPoolExecutor(4) as pool:
        list(pool.map(carry_scope(work), range(4)))
    provider.wait()
    billed = sum(bill.input_tokens + bill.output_tokens for bill in provider.ledger)
    sums = settled(made)
    assert sums["tokens"] == 2_000_000 - 6_000 + billed
    assert 6_000 - BOUND <= billed <= 6_000  # where not even one token of output has room, nothing is sent
    assert sums["team"] == provider.billed.nano
    assert {request.body["max_tokens"] for request in provider.requests} > {LONGEST}


@pytest.mark.parametrize("full", [CALLS, Budget("tokens", 100, "daily", unit="tokens"), DOLLARS])
def test_a_refusal_of_one_leaves_the_others_untouched(provider, books, full):
    """Nothing is held anywhere, and nothing is sent."""
    made = books(CALLS, full, DOLLARS) if full.unit == "tokens" else books(CALLS, DOLLARS)
    use(made, full, full.limit) if full.unit != "dollars" else made.users.store.settle(*spent(made, full))
    before = settled(made)
    with provider.client() as client, pytest.raises(BudgetExceededError) as caught:
        ask(client, max_tokens=30)
    assert (caught.value.budget, caught.value.unit) == (full.name, full.unit)
    assert settled(made) == before
    assert provider.requests == []


def spent(made: BudgetManager, rule: Budget) -> tuple[Hold, Entry]:
    account = rule.account({}, made.store.now_ms())
    assert account is not None
    entry = Entry(new_id(), account.limit or 0, flags=frozenset({"manual"}))
    return Hold(entry.hold_id, (account,), 0), entry


@pytest.mark.parametrize(("tokens", "dollars", "cap"), [(709, 5, 700), (5_000, "0.000309", 150), (409, "0.00062", 305)])
def test_the_cap_that_is_added_is_the_smallest_that_both_allow(provider, books, tokens, dollars, cap):
    """Tokens: 9 of input, the rest is output. Dollars: 9,000 nano of input, 2,000 nano for each token of output."""
    rules = [Budget("tokens", tokens, unit="tokens", in_flight=1), Budget("team", dollars, in_flight=1)]
    books(*rules)
    with provider.client() as client:
        ask(client)
    assert [request.body["max_tokens"] for request in provider.requests] == [cap]


def test_a_cap_that_was_stated_and_does_not_fit_is_refused(provider, books):
    """It is not lowered, of tokens as of dollars."""
    books(Budget("tokens", 100, unit="tokens"))
    with provider.client() as client:
        with pytest.raises(BudgetExceededError) as caught:
            ask(client, max_tokens=92)
        ask(client, max_tokens=91)
    assert str(caught.value) == "tokens: call projected at 101 tokens, 100 of 100 tokens available"


def test_n_answers_are_held_n_times(provider, books):
    """One request, one input, and the output of each."""
    made = books(CALLS, Budget("tokens", BOUND + 3 * 30, unit="tokens"))
    with provider.client() as client:
        with pytest.raises(BudgetExceededError):
            ask(client, max_tokens=30, n=4)
        ask(client, max_tokens=30, n=3)
    assert settled(made) == {"calls": 1, "tokens": SENT + 3 * 20}


def test_a_soft_budget_in_tokens_refuses_once_it_is_reached_and_one_that_observes_never(provider, books):
    """No cap is added for them."""
    made = books(
        Budget("tokens", 27, unit="tokens", enforce="soft"), Budget("seen", 1, unit="requests", enforce="observe")
    )
    with provider.client() as client:
        ask(client)
        with pytest.raises(BudgetExceededError):
            ask(client)
    assert settled(made) == {"tokens": SENT + 20, "seen": 1}
    assert "max_tokens" not in provider.requests[0].body


# -- what the caller reads ---------------------------------------------------------------------------------------------


def test_a_refusal_says_what_it_counts(provider, books):
    """In words and in fields: no number of requests looks like dollars."""
    made = books(CALLS)
    use(made, CALLS, 60)
    with provider.client() as client, pytest.raises(BudgetExceededError) as caught:
        ask(client)
    error = caught.value
    assert str(error) == (
        "calls/ann: call projected at 1 request, 0 of 60 requests in a rolling minute available; "
        "some of it may be free again at 2027-01-01 12:00:02 UTC"
    )
    assert (error.unit, error.budget, error.user) == ("requests", "calls", "ann")
    assert (error.spent, error.held, error.limit, error.projected) == (60, 0, 60, 1)
    assert (error.current_cost, error.max_budget) == (60.0, 60.0)
    assert error.resets_at == datetime(2027, 1, 1, 12, 0, 2, 500_000, UTC)


def test_a_refusal_of_tokens_names_the_day(provider, books):
    """And when it begins again."""
    made = books(TOKENS)
    use(made, TOKENS, 1_999_900)
    with provider.client() as client, pytest.raises(BudgetExceededError) as caught:
        ask(client, max_tokens=1_000)
    assert str(caught.value) == (
        "tokens/2027-01-01: call projected at 1,009 tokens, 100 of 2,000,000 tokens available; "
        "it begins again at 2027-01-02 00:00 UTC"
    )


def test_what_a_scope_has_left_is_in_dollars(provider, books):
    """A limit in requests has no place in it."""
    made = books(CALLS, Budget("team", 5))
    with provider.client() as client, budgetguard.budget(limit=1) as scope:
        ask(client, max_tokens=30)
        assert scope.remaining == 1 - (SENT * INPUT + 20 * OUTPUT) / 1e9
        assert scope.resets_at is None
    assert settled(made)["calls"] == 1


# -- what is counted ---------------------------------------------------------------------------------------------------


def test_tokens_are_those_that_the_provider_reports_each_once(provider, books):
    """Cached input is input, and reasoning is output."""
    made = books(TOKENS)
    provider.fail_next(cached=5, reasoning=40)
    with provider.client() as client:
        ask(client)
    [bill] = provider.ledger
    assert settled(made) == {"tokens": bill.input_tokens + bill.output_tokens}
    assert bill.output_tokens == 60
    assert (last(made).units, last(made).flags) == ({"tokens": SENT + 60}, frozenset({"capped"}) - {"capped"})


def test_an_answer_that_does_not_say_its_tokens_has_used_what_was_held(provider, books):
    """As in dollars, and it is marked."""
    made = books(TOKENS, DOLLARS)
    provider.fail_next(usage={}, text="")
    with provider.client() as client:
        ask(client, max_tokens=30)
    assert settled(made) == {"tokens": BOUND + 30, "team": BOUND * INPUT + 30 * OUTPUT}
    assert last(made).flags == {"estimated"}


def test_a_stream_that_is_left_has_used_what_was_held(provider, books):
    """Nobody knows how much the provider went on to write."""
    made = books(TOKENS)
    with provider.client() as client:
        stream = ask(client, max_tokens=30, stream=True)
        next(iter(stream))
        stream.close()
    assert settled(made) == {"tokens": BOUND + 30}
    assert last(made).flags == {"estimated"}


def test_every_attempt_that_was_sent_is_a_request(provider, books):
    """The SDK tries again by itself: a provider counts each, and so do its limits."""
    made = books(CALLS, TOKENS)
    provider.fail_next({"status": 500, "retry_after_ms": 1}, {"status": 429, "retry_after_ms": 1})
    with provider.client(max_retries=2) as client:
        ask(client)
        assert settled(made) == {"calls": 3, "tokens": SENT + 20}
        assert last(made).flags == frozenset()
        provider.fail_next({"status": 500, "retry_after_ms": 1}, {"status": 500})
        with pytest.raises(openai.InternalServerError):
            ask(client.with_options(max_retries=1))
    assert settled(made) == {"calls": 5, "tokens": SENT + 20}
    assert (last(made).cost, last(made).units, last(made).flags) == (0, {"requests": 2}, frozenset())
    assert len(provider.requests) == 5


def test_a_request_that_failed_is_no_entry_where_nobody_counts_requests(provider, books):
    """It cost nothing."""
    made = books(TOKENS, DOLLARS)
    provider.fail_next(status=400)
    with provider.client() as client, suppress(openai.BadRequestError):
        ask(client)
    assert settled(made) == {"tokens": 0, "team": 0}
    assert list(made.store.entries()) == []


def test_a_request_that_never_left_is_none(books):
    """Nobody listens there."""
    made = books(CALLS)
    with FakeProvider() as gone:
        url = gone.base_url
    with openai.OpenAI(base_url=url, api_key="-", max_retries=0) as client, suppress(openai.APIConnectionError):
        ask(client)
    assert settled(made) == {"calls": 0}


def test_a_lost_attempt_may_have_used_what_was_held(provider, books):
    """It may have been answered, and the answer lost."""
    made = books(CALLS, TOKENS)
    provider.fail_next(drop="headers")
    with provider.client(max_retries=1) as client:
        ask(client, max_tokens=30)
    assert settled(made) == {"calls": 2, "tokens": SENT + 20 + BOUND + 30}
    assert last(made).flags == {"estimated"}


def test_operations_that_are_free_are_no_requests(provider, books):
    """The guard does not look at them at all."""
    made = books(CALLS)
    with provider.client() as client:
        client.models.list()
    assert list(made.store.entries()) == []


@pytest.mark.parametrize(
    ("call", "tokens"),
    [
        (lambda client: client.embeddings.create(model="text-embedding-3-small", input="hi there"), True),
        (lambda client: client.responses.create(model=MODEL, input="hi"), True),
        (lambda client: client.images.generate(model="gpt-image-1", prompt="a cat", n=2), True),
        (lambda client: client.images.generate(model="dall-e-3", prompt="a cat"), False),
        (lambda client: client.audio.speech.create(model="tts-1", voice="alloy", input="hi"), False),
        (lambda client: client.audio.transcriptions.create(model="whisper-1", file=sound()), False),
        (lambda client: client.audio.transcriptions.create(model="gpt-4o-transcribe", file=sound()), True),
    ],
    ids=["embeddings", "responses", "images", "dall-e", "speech", "whisper", "transcribe"],
)
def test_each_kind_of_call_is_one_request_and_the_tokens_that_it_says(provider, books, call, tokens):
    """A model that is billed by the picture, the second or the character has none."""
    made = books(CALLS, TOKENS)
    with provider.client() as client:
        call(client)
    [bill] = provider.ledger
    used = bill.input_tokens + bill.output_tokens
    assert settled(made) == {"calls": 1, "tokens": used if tokens else 0}
    assert bool(used) is tokens
    assert last(made).flags <= ({"capped"} if tokens else {"estimated"})


def sound() -> io.BytesIO:
    """A second of silence."""
    file = io.BytesIO(b"RIFF" + b"\0" * 16_000)
    file.name = "a.wav"
    return file


def test_a_session_is_one_request(provider, books):
    """What cannot be counted is gated, and warned of; that it was opened is counted."""
    made = books(Budget("calls", 1, per=("user",), unit="requests"), TOKENS)
    with provider.client(max_retries=0) as client:
        for _ in range(2):
            with suppress(openai.APIStatusError):  # the fake provider has no jobs
                client.fine_tuning.jobs.create(model=MODEL, training_file="file-1")
            assert settled(made) == {"calls": 1, "tokens": 0}
            break
        with pytest.raises(BudgetExceededError):
            client.fine_tuning.jobs.create(model=MODEL, training_file="file-1")


# -- without a price ---------------------------------------------------------------------------------------------------


def test_a_model_without_a_price_needs_none_under_tokens_and_requests(provider, books):
    """It is held and counted as another one; the cap that is added is what fits, of what no model is known to pass."""
    made = books(CALLS, Budget("tokens", 509, unit="tokens", in_flight=1))
    with provider.client() as client:
        ask(client, model="nobody-knows-it")
    assert settled(made)["calls"] == 1
    [request], [bill] = provider.requests, provider.ledger
    assert 400 < request.body["max_tokens"] < 509
    assert settled(made)["tokens"] == bill.input_tokens + bill.output_tokens
    assert last(made).flags == {"unpriced", "capped"}


def test_a_model_without_a_price_is_refused_where_dollars_are_limited_too(provider, books):
    """By a rule, or by the user's own budget, which this process has not seen yet."""
    made = books(CALLS)
    BudgetManager.create_budget(made, 5, "ann")
    made.guard.coverage._users.clear()
    made.guard.coverage._covers.clear()
    with provider.client() as client, pytest.raises(UnpricedModelError):
        ask(client, model="nobody-knows-it")
    assert settled(made).get("calls", 0) == 0


def test_a_call_whose_tokens_have_no_bound_is_refused(provider, books):
    """Nothing is known of a body that cannot be read, nor of its model."""
    made = books(TOKENS)
    with provider.client() as client, pytest.raises(UnpricedModelError, match="its tokens have no bound"):
        client.post("/chat/completions", cast_to=object, body=iter([b"{}"]))  # type: ignore[type-var]
    assert settled(made).get("tokens", 0) == 0


def test_a_free_model_is_held_in_tokens_and_requests(provider, books):
    """It passes budgets in dollars only."""
    made = books(Budget("calls", 2, unit="requests"), TOKENS, Budget("team", 0))
    with provider.client() as client:
        for _ in range(2):
            ask(client, model="free-model")
        with pytest.raises(BudgetExceededError):
            ask(client, model="free-model")
    assert settled(made) == {"calls": 2, "tokens": 2 * (SENT + 20), "team": 0}
