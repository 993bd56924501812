"""Dramatiq: the scope travels with the message, to a real worker's threads, through memory and through a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import dramatiq
import pytest
from dramatiq.brokers.redis import RedisBroker
from dramatiq.brokers.stub import StubBroker
from dramatiq.middleware import AsyncIO, Retries
from dramatiq.results import ResultFailure, Results
from dramatiq.results.backends import RedisBackend, StubBackend
from kombu.utils.encoding import safe_repr

import budgetguard
from budgetguard import BudgetExceededError, BudgetManager, ConfigError, budget
from budgetguard.ledger import new_id
from budgetguard.middleware.dramatiq import TaskBudgets
from tests.support import servers
from tests.support.tasks import Asking, call, tags

WAIT_MS = 30_000


@pytest.fixture(autouse=True)
def asked(monkeypatch: pytest.MonkeyPatch, shared_provider: Any) -> Iterator[BudgetManager]:
    monkeypatch.setenv("OPENAI_BASE_URL", shared_provider.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    manager = BudgetManager("shop", store="memory://")
    budgetguard.patch(manager)
    yield manager
    manager.close()


@pytest.fixture(params=["stub", "redis"])
def broker(request: pytest.FixtureRequest) -> dramatiq.Broker:
    if request.param != "redis":
        made, results = StubBroker(), StubBackend()
    else:
        url = servers.running("valkey").replace("valkey://", "redis://")
        made, results = RedisBroker(url=url, namespace=new_id()), RedisBackend(url=url, namespace=new_id())
    made.add_middleware(Results(backend=results))
    made.add_middleware(AsyncIO())
    place = {"before": Retries} if request.param == "stub, first of all" else {}
    made.add_middleware(TaskBudgets(user=lambda message: message.kwargs["user_id"], limit=0.01), **place)
    return made


@pytest.fixture
def actor(broker: dramatiq.Broker) -> Iterator[Callable[..., Any]]:
    """Makes an actor of a function, which a worker is there for."""
    worker = dramatiq.Worker(broker, worker_timeout=10, worker_threads=2)

    def declare(function: Any, **options: Any) -> Any:
        name = f"{function.__name__}-{new_id()}"
        made = dramatiq.actor(
            function, actor_name=name, broker=broker, store_results=True, min_backoff=1, max_backoff=1, **options
        )
        worker.start() if not worker.consumers else None
        return made

    yield declare
    worker.stop(timeout=WAIT_MS)
    broker.close()


def get(message: Any, broker: dramatiq.Broker) -> Any:
    backend = next(each.backend for each in broker.middleware if isinstance(each, Results))
    return message.get_result(backend=backend, block=True, timeout=WAIT_MS)


def ask(*_before: Any, user_id: str | None = None) -> dict[str, str]:
    call()
    return tags()


async def ask_in_a_loop() -> dict[str, str]:
    return tags()


@pytest.mark.parametrize("function", [ask, ask_in_a_loop])
def test_a_message_has_the_user_and_the_tags_of_whoever_sent_it(actor, broker, function):
    """Else a team's budget ends where its work is put into a queue. An async actor runs in a thread of its own."""
    asking = actor(function)
    with budget(user="ann", tags={"feature": "search"}):
        sent = asking.send()
    assert get(sent, broker) == {"user": "ann", "feature": "search"}


def test_a_message_that_nobody_s_scope_sent_has_what_was_stated(actor, broker):
    """A scheduler has no scope."""
    assert get(actor(ask).send(user_id="bob"), broker) == {"user": "bob"}


def test_a_message_without_a_scope_is_not_processed(actor, broker, shared_provider):
    """Dramatiq goes on after an error in a middleware: the user that cannot be found would be one without limits."""
    before = len(shared_provider.requests)
    with pytest.raises(ResultFailure, match="has no scope: KeyError: 'user_id'"):
        get(actor(ask, max_retries=0).send(), broker)
    assert len(shared_provider.requests) == before


def test_a_pipeline_is_the_sender_s_to_the_end(actor, broker):
    """Its later messages are sent by workers."""
    asking = actor(ask)
    with budget(user="ann"):
        line = dramatiq.pipeline([asking.message() for _ in range(3)], broker=broker).run()
    assert get(line.messages[-1], broker) == {"user": "ann"}


def test_a_message_sent_by_an_actor_is_that_of_its_sender(actor, broker):
    """An agent that fans out is still one user's."""
    asking, sent = actor(ask), []

    def fan_out() -> None:
        with budget(tags={"step": "two"}):
            sent.append(asking.send())

    with budget(user="ann"):
        get(actor(fan_out).send(), broker)
    assert get(sent[0], broker) == {"user": "ann", "step": "two"}


@pytest.mark.parametrize("broker", ["stub", "redis", "stub, first of all"], indirect=True)
def test_the_limit_of_a_message_is_that_of_all_its_attempts(actor, broker, shared_provider):
    """Twenty retries of a cent are not a cent; and each is still the sender's."""
    seen, before = [], shared_provider.billed

    def dear() -> None:
        seen.append(tags())
        call()
        raise ConnectionError("every attempt costs something, and fails")

    with budget(user="ann"):
        sent = actor(dear, budget_limit="$0.00002").send()
    with pytest.raises(ResultFailure, match=r"scope: call projected at .* of \$0\.0000\d+ available"):
        get(sent, broker)
    assert 1 < len(seen) < 10
    assert seen == [{"user": "ann"}] * len(seen)
    assert shared_provider.billed - before <= 0.00002


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_refusal_is_not_tried_again_and_says_what_it_was(actor, broker, wrapped):
    """It would be refused again, after minutes of waiting."""
    seen = []

    def poor() -> None:
        seen.append(1)
        try:
            call()
        except BudgetExceededError as refusal:
            raise (RuntimeError(f"no answer: {refusal}") if wrapped else refusal) from refusal.__cause__

    with budget(user="ann"):
        sent = actor(poor, budget_limit="$0.000001").send()
    with pytest.raises(ResultFailure, match="scope: call projected at"):
        get(sent, broker)
    assert len(seen) == 1


def test_other_errors_are_tried_again_as_ever(actor, broker):
    """And what an actor throws by its own account is not."""
    seen = []

    def flaky() -> int:
        seen.append(1)
        if len(seen) < 3:
            raise ConnectionError("the first two attempts fail")
        return len(seen)

    def throwing() -> None:
        seen.append(1)
        raise LookupError("expected")

    with budget(user="ann"):
        assert get(actor(flaky).send(), broker) == 3
        seen.clear()
        with pytest.raises(ResultFailure, match="expected"):
            get(actor(throwing, throws=LookupError).send(), broker)
    assert len(seen) == 1


def test_nothing_is_held_and_no_scope_is_left_behind(actor, broker, asked):
    """The threads of a worker go from one user's message to another's."""
    asking = actor(ask)
    for user in ("ann", "bob", "ann"):
        with budget(user=user):
            assert get(asking.send(), broker) == {"user": user}
    assert [entry.tags["user"] for entry in asked.store.entries()].count("ann") == 2
    assert list(asked.store.holds()) == []


def test_a_refusal_that_a_package_swallowed_is_said(actor, broker, caplog):
    """An agent that goes on without an answer ends well."""

    def swallowed() -> str:
        return safe_repr(Asking())

    with budget(user="ann"):
        get(actor(swallowed, budget_limit="$0.000001").send(), broker)
    assert "ended well, but a package inside swallowed a refusal: scope: call projected" in caplog.text


def test_a_header_that_is_not_ours_is_refused(actor, broker):
    """Whatever it should have said, it is not nothing."""
    with pytest.raises(ResultFailure, match="header 'budgetguard' is none that was written here"):
        get(actor(ask, max_retries=0).send_with_options(budgetguard="ann"), broker)


@pytest.mark.parametrize(("limit", "times"), [(None, 1), (0.01, 0)])
def test_a_limit_that_does_not_go_along_is_said_once(caplog, limit, times):
    """A scope's limit is counted in its own process: who sends a task from one may think that it holds there."""
    broker = StubBroker(middleware=[TaskBudgets(limit=limit)])
    asking = dramatiq.actor(ask, actor_name=new_id(), broker=broker)
    with budget(limit=1):
        asking.send()
        asking.send()
    asking.send()
    assert caplog.text.count(f"{asking.actor_name} was sent from a scope with a limit") == times


def test_a_limit_that_is_none_is_refused_where_the_queue_is_set_up():
    """Not in a worker, hours later."""
    with pytest.raises(ConfigError, match="limit=-1 is negative"):
        TaskBudgets(limit=-1)
