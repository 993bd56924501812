"""Which upstream is asked next, and what becomes of the hold: a test for each thing that can happen to an attempt."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import pytest

from budgetguard import Budget
from budgetguard.server.gateway.config.model import Target
from budgetguard.server.gateway.config.models import ModelEntry
from budgetguard.testing import FakeProvider
from tests.support.gateway import MESSAGES, MODEL, ServedGateway, configured, hard, upstream
from tests.support.passing import bill, prices, settled, store_of

CHAT: dict[str, Any] = {"model": "m", "messages": MESSAGES, "max_tokens": 100}
DEAR = "gpt-4o"
"""Sold at $2.50 and $10 a million here."""


class Two(NamedTuple):
    """A gateway before two upstreams of one model."""

    gateway: ServedGateway
    first: FakeProvider
    second: FakeProvider

    def ask(self, **more: Any) -> tuple[int, Any, Any]:
        """A call of it."""
        return self.gateway.ask("/v1/chat/completions", {**CHAT, **more})

    def asked(self) -> tuple[int, int]:
        """How many requests each upstream has had."""
        return len(self.first.requests), len(self.second.requests)

    def booked(self) -> int:
        """All that is on the books."""
        return sum(each.cost for each in settled(self.gateway))

    def billed(self) -> int:
        """All that both charge."""
        return sum(each.wait().billed.nano for each in (self.first, self.second))


def dollars(model: str, usage: Any) -> int:
    """The bill of these providers: one of both models."""
    if model != DEAR:
        return bill(model, usage)
    return int(usage["prompt_tokens"]) * 2_500 + int(usage["completion_tokens"]) * 10_000


@contextmanager
def two(
    *, budgets: Any = (), second: str = MODEL, refused: bool = False, up: dict[str, Any] | None = None, **entry: Any
) -> Iterator[Two]:
    """With `refused`, nobody listens at the first one; `entry` is more of the model's, `up` of its upstreams."""
    book = prices_of()
    with ExitStack() as stack:
        providers = [stack.enter_context(FakeProvider(tokens=20, prices=dollars)) for _ in range(2)]
        roots = [each.root_url for each in providers]
        if refused:
            with socket.create_server(("127.0.0.1", 0)) as free:
                roots[0] = f"http://127.0.0.1:{free.getsockname()[1]}"
        ours = [upstream(name, root, **(up or {})) for name, root in zip(("first", "second"), roots, strict=True)]
        models = [ModelEntry("m", (Target(ours[0], MODEL), Target(ours[1], second)), **entry)]
        made = configured(*ours, models=models, prices=book, budgets=budgets or (hard(1.0),), wait_s=0.05)
        yield Two(stack.enter_context(ServedGateway(made)), *providers)


def prices_of() -> Any:
    return prices({DEAR: {"input": 2.5, "output": 10}})


@pytest.fixture
def pair() -> Iterator[Two]:
    with two() as made:
        yield made


def test_what_was_not_sent_is_sent_to_the_next_one() -> None:
    """A connection that is refused has cost nothing: the hold stays, and the client sees one answer."""
    with two(refused=True) as pair:
        status, _, headers = pair.ask()
        assert (status, headers["x-budgetguard-upstream"], headers["x-budgetguard-attempts"]) == (200, "second", "1")
        assert pair.asked() == (0, 1)
        assert pair.booked() == pair.billed()
        assert pair.ask()[2]["x-budgetguard-upstream"] == "second"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 529])
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_status_is_free_and_the_next_one_is_asked(pair: Two, status: int, stream: bool) -> None:
    """The hold is kept for the next attempt: it is not placed twice, and the failing one is left alone for a while."""
    pair.first.fail_next(status=status)
    got, _, headers = pair.ask(stream=stream)
    assert (got, headers["x-budgetguard-upstream"], headers["x-budgetguard-attempts"]) == (200, "second", "2")
    assert pair.asked() == (1, 1)
    assert pair.booked() == pair.billed()
    assert len(settled(pair.gateway)) == 1
    pair.ask()
    assert pair.asked() == (1, 2), "the first one cools down"


@pytest.mark.parametrize("status", [401, 403, 404])
def test_what_is_the_operators_fault_goes_to_the_next_one(pair: Two, status: int) -> None:
    """A key that is not taken is no matter of the client's: it has its answer, and whoever runs this reads the log."""
    pair.first.fail_next(status=status)
    got, _, headers = pair.ask()
    assert (got, headers["x-budgetguard-upstream"]) == (200, "second")
    [ours] = [each for each in pair.gateway.app.router.standing() if each.upstream == "first" and each.model]
    assert 50 < ours.cooling_s <= 60
    assert pair.booked() == pair.billed()


@pytest.mark.parametrize("status", [400, 413, 422])
def test_what_is_the_callers_fault_is_answered(pair: Two, status: int) -> None:
    """It would be refused everywhere: the upstream's words reach the client, the hold is released."""
    pair.first.fail_next(status=status)
    got, said, headers = pair.ask()
    assert (got, headers["x-budgetguard-upstream"], headers["x-budgetguard-attempts"]) == (status, "first", "1")
    assert said["error"]["message"] == "This failure was asked for."
    assert headers["x-budgetguard-cost"] == "0.000000000"
    assert pair.asked() == (1, 0)
    assert (pair.booked(), pair.billed()) == (0, 0)
    pair.ask()
    assert pair.asked() == (2, 0), "nothing cools down"


def test_what_broke_off_is_not_sent_again(pair: Two) -> None:
    """It may have been answered: nobody pays twice unasked. It is booked as held, and marked."""
    pair.first.fail_next(drop="headers")
    got, said, headers = pair.ask()
    assert (got, said["error"]["code"], headers["x-should-retry"]) == (502, "upstream_broke_off", "false")
    assert pair.asked() == (1, 0)
    [entry] = settled(pair.gateway)
    assert "estimated" in entry.flags
    assert entry.cost >= pair.billed() > 0


@pytest.mark.parametrize("stream", [False, True])
def test_what_broke_off_is_sent_again_where_that_is_wanted(stream: bool) -> None:
    """A retry reserves anew, and both are on the books: the first as held, the second as billed."""
    with two(retry_unknown=True) as pair:
        pair.first.fail_next(drop="headers")
        got, _, headers = pair.ask(stream=stream)
        assert (got, headers["x-budgetguard-upstream"]) == (200, "second")
        assert stream or headers["x-budgetguard-attempts"] == "2"
        first, second = sorted(settled(pair.gateway), key=lambda each: each.at_ms)
        assert "estimated" in first.flags
        assert second.cost == pair.second.wait().billed.nano
        assert first.cost >= pair.first.wait().billed.nano > 0


def test_a_retry_of_what_broke_off_needs_room_of_its_own() -> None:
    """What was lost is spent: a second attempt that does not fit is not sent, and the client hears of the first."""
    with two(retry_unknown=True, budgets=(hard("0.0001"),)) as pair:
        pair.first.fail_next(drop="headers")
        got, said, _ = pair.ask()
        assert (got, said["error"]["code"]) == (502, "upstream_broke_off")
        assert pair.asked() == (1, 0)
        assert pair.billed() <= pair.booked() <= 100_000


def test_nothing_is_tried_again_once_the_client_has_a_byte(pair: Two) -> None:
    """Two halves of two answers are none."""
    pair.first.fail_next(drop="stream", drop_after=1)
    got, said, _ = pair.ask(stream=True)
    assert got == 200
    assert b"broke off" in said
    assert pair.asked() == (1, 0)
    assert pair.booked() >= pair.billed() > 0


def test_no_more_requests_are_sent_than_attempts_say() -> None:
    """A client's call is not multiplied without end; what it hears is the last upstream's own error."""
    with two(attempts=1) as pair:
        pair.first.fail_next(status=503)
        got, said, headers = pair.ask()
        assert (got, pair.asked()) == (503, (1, 0))
        assert said["error"]["message"] == "This failure was asked for."
        assert headers["x-budgetguard-attempts"] == "1"
        assert (pair.booked(), pair.billed()) == (0, 0)


def test_the_last_error_is_what_the_client_hears(pair: Two) -> None:
    """With `retry-after` as the upstream said it: its SDK waits as long as it would without a gateway."""
    pair.first.fail_next(status=500)
    pair.second.fail_next(status=429, retry_after_ms=1500)
    got, _, headers = pair.ask()
    assert (got, headers["x-budgetguard-upstream"], headers["x-budgetguard-attempts"]) == (429, "second", "2")
    assert headers["retry-after-ms"] == "1500"
    assert (pair.booked(), pair.billed()) == (0, 0)


def test_no_attempt_begins_after_the_deadline() -> None:
    """A client has given up by then: its call is not sent once more."""
    with two(deadline_s=0.05) as pair:
        pair.first.fail_next(latency_s=0.1, status=500)
        assert pair.ask()[0] == 500
        assert pair.asked() == (1, 0)


def test_who_asked_for_a_pause_is_left_alone() -> None:
    """Where nobody else is there, the client is told how long, and nothing is sent or held."""
    with two() as pair:
        for each in (pair.first, pair.second):
            each.fail_next(status=429, retry_after_ms=60_000)
        assert pair.ask()[0] == 429
        got, said, headers = pair.ask()
        assert (got, said["error"]["code"]) == (429, "upstream_cooling")
        assert 55 <= int(headers["retry-after"]) <= 60
        assert pair.asked() == (1, 1)
        assert store_of(pair.gateway).holds() == []


def test_one_probe_finds_out_whether_an_upstream_is_back() -> None:
    """Half open: the first call after the pause asks it; the answer ends the pause for all others."""
    clock = [0.0]
    with two() as pair:
        pair.gateway.app.router._clock = lambda: clock[0]
        pair.first.fail_next(status=429, retry_after_ms=5_000)
        pair.ask()
        pair.ask()
        assert pair.asked() == (1, 2)
        clock[0] = 5.1
        pair.first.fail_next(status=500)
        assert pair.ask()[2]["x-budgetguard-upstream"] == "second"
        assert pair.asked() == (2, 3), "the probe failed"
        pair.ask()
        assert pair.asked() == (2, 4), "and it is left alone again"
        clock[0] = 70.0
        pair.ask()
        pair.ask()
        assert pair.asked() == (4, 4)
        assert pair.booked() == pair.billed()


# -- what is held, where candidates differ -----------------------------------------------------------------------------


def test_the_dearest_candidate_is_what_is_held() -> None:
    """A cheap model with a dear fallback, priced as the cheap one, is how a budget is overdrawn elsewhere."""
    with two(second=DEAR, budgets=(hard("0.0005"),)) as pair:
        got, said, _ = pair.ask()
        assert got == 402, said
        assert pair.asked() == (0, 0)
    with two(second=DEAR, budgets=(hard("0.0012"),)) as pair:
        pair.first.fail_next(status=500)
        got, _, headers = pair.ask()
        assert (got, headers["x-budgetguard-upstream"]) == (200, "second")
        assert pair.second.requests[-1].body["model"] == DEAR
        assert pair.booked() == pair.billed() == 10 * 2_500 + 20 * 10_000


def test_a_cheap_answer_gives_the_rest_back() -> None:
    """Held for the dear one, settled at the price of who answered."""
    with two(second=DEAR, budgets=(hard("0.0012"),)) as pair:
        for _ in range(3):
            assert pair.ask()[0] == 200
        assert pair.asked() == (3, 0)
        assert pair.booked() == pair.billed() == 3 * (10 * 150 + 20 * 600)


def test_a_free_model_with_a_paid_fallback_is_held_for_as_the_paid_one() -> None:
    """Whatever the first one costs, the second is billed."""
    with FakeProvider(tokens=20, prices=dollars) as paid, FakeProvider(tokens=20) as free:
        ours = [upstream("free", free.root_url, free=True), upstream("paid", paid.root_url)]
        models = [
            ModelEntry("local", (Target(ours[0], MODEL),), fallbacks=("m",)),
            ModelEntry("m", (Target(ours[1], MODEL),)),
        ]
        made = configured(*ours, models=models, prices=prices_of(), budgets=(hard("0.00001"),))
        with ServedGateway(made) as gateway:
            free.fail_next(status=500)
            got, said, _ = gateway.ask("/v1/chat/completions", {**CHAT, "model": "local"})
            assert got in {402, 500}, said
            assert paid.requests == []
        made = configured(*ours, models=models, prices=prices_of(), budgets=(hard("0.001"),))
        with ServedGateway(made) as gateway:
            free.fail_next(status=500)
            got, _, headers = gateway.ask("/v1/chat/completions", {**CHAT, "model": "local"})
            assert (got, headers["x-budgetguard-upstream"]) == (200, "paid")
            assert sum(each.cost for each in settled(gateway)) == paid.wait().billed.nano > 0


@pytest.mark.parametrize("model", ["nobodys-7b", MODEL, DEAR])
@pytest.mark.parametrize("stream", [False, True])
def test_a_machine_of_ones_own_costs_nothing_whatever_its_models_are_called(model: str, stream: bool) -> None:
    """Its models are on no price list, or have the name of one that is: neither refuses a call, or books it."""
    with FakeProvider(tokens=20) as free:
        ours = upstream("free", free.root_url, free=True, prices=None)
        models = [ModelEntry("local", (Target(ours, model),))]
        made = configured(
            ours, models=models, prices=prices_of(), budgets=(hard("0.00001"), Budget("two", 2, unit="requests"))
        )
        with ServedGateway(made) as gateway:
            asked = {**CHAT, "model": "local", "stream": stream, "max_tokens": 50}
            assert [gateway.ask("/v1/chat/completions", asked)[0] for _ in range(3)] == [200, 200, 402]
            assert [each.cost for each in settled(gateway)] == [0, 0], "its requests count all the same"


def test_the_cap_holds_for_every_candidate() -> None:
    """A call that states none is capped for the dearest: no answer of any candidate passes what is held."""
    with two(second=DEAR, budgets=(hard("0.002"),)) as pair:
        pair.first.fail_next(status=500)
        pair.second.fail_next(tokens=10_000)
        got, said, _ = pair.ask(max_tokens=None)
        assert got == 200, said
        assert pair.second.requests[-1].body["max_tokens"] < 250
        assert pair.booked() == pair.billed() <= 2_000_000


def test_budgets_of_upstreams_are_charged_for_who_answers() -> None:
    """A fallback of another provider is another provider's budget: that one is asked before it is sent there."""
    rules = (
        Budget("upstream", "0.0001", per=("upstream",)),
        Budget("all", 1.0),
    )
    with two(budgets=rules) as pair:
        pair.first.fail_next(500, 500)
        assert pair.ask()[0] == 200
        spent = {each.key: each.settled for each in store_of(pair.gateway).accounts()}
        by = {key: amount for key, amount in spent.items() if key.startswith("upstream")}
        assert [amount for key, amount in by.items() if "second" in key] == [pair.billed()]
        assert sum(amount for key, amount in by.items() if "first" in key) == 0
        assert pair.booked() == pair.billed()


def test_a_budget_of_one_upstream_that_is_used_up_leaves_the_other() -> None:
    """What one provider may cost is spent: calls go on at the other, as they do when it fails."""
    rules = (
        Budget("first", "0.00005", match={"upstream": "first"}),
        Budget("all", 1.0),
    )
    with two(budgets=rules) as pair:
        got, said, headers = pair.ask()
        assert (got, headers.get("x-budgetguard-upstream")) == (200, "second"), said
        assert pair.asked() == (0, 1)


def test_where_every_budget_is_used_up_the_first_one_is_named() -> None:
    """The client is told of the upstream that it would have been served by."""
    rules = (Budget("upstream", "0.00005", per=("upstream",)),)
    with two(budgets=rules) as pair:
        got, said, _ = pair.ask()
        assert (got, said["error"]["budget"]["name"]) == (402, "upstream")
        assert pair.asked() == (0, 0)
        assert store_of(pair.gateway).holds() == []


def test_strategies_hold_where_each_upstream_has_a_budget_of_its_own() -> None:
    """Calls take turns whether or not somebody counts what each upstream costs."""
    with two(strategy="weighted", budgets=(Budget("upstream", 1.0, per=("upstream",)),)) as pair:
        for _ in range(4):
            assert pair.ask()[0] == 200
        assert pair.asked() == (2, 2)
        assert pair.booked() == pair.billed()


def test_the_strategies_choose_the_upstream() -> None:
    """Cheapest asks our price list, weighted takes turns: the headers say who answered."""
    with two(second=DEAR, strategy="cheapest") as pair:
        for _ in range(2):
            assert pair.ask()[2]["x-budgetguard-upstream"] == "first"
    with two(strategy="weighted") as pair:
        assert {pair.ask()[2]["x-budgetguard-upstream"] for _ in range(4)} == {"first", "second"}
        assert pair.booked() == pair.billed()


def test_another_model_is_asked_where_all_upstreams_of_one_fail() -> None:
    """A fallback is another model with its own price: the bill is that one's, and so are the books."""
    with FakeProvider(tokens=20, prices=dollars) as provider:
        ours = upstream("up", provider.root_url)
        models = [
            ModelEntry("m", (Target(ours, MODEL),), fallbacks=("n",)),
            ModelEntry("n", (Target(ours, DEAR),)),
        ]
        made = configured(ours, models=models, prices=prices_of(), budgets=(hard(1.0),))
        with ServedGateway(made) as gateway:
            provider.fail_next(status=429)
            got, said, headers = gateway.ask("/v1/chat/completions", CHAT)
            assert (got, said["model"], headers["x-budgetguard-attempts"]) == (200, DEAR, "2")
            assert sum(each.cost for each in settled(gateway)) == provider.wait().billed.nano
