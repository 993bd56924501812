"""Celery: the scope travels with the task, over a real broker, to real workers that fork and that have threads."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, chain, chord, group

from budgetguard import BudgetExceededError, ConfigError, Money, budget
from budgetguard.ledger import new_id
from budgetguard.middleware.celery import install
from budgetguard.stores import open_store
from budgetguard.testing import FakeProvider
from tests.support import ENVIRONMENT, ROOT, celery_app, servers
from tests.support.tasks import attempts, until

WAIT_S = 60.0


@dataclass
class Running:
    """A worker, and the app that sends it tasks."""

    app: Celery
    store: str
    log: Path

    def send(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.app.tasks[name].delay(*args, **kwargs)

    def get(self, name: str, *args: Any, **kwargs: Any) -> Any:
        return self.send(name, *args, **kwargs).get(timeout=WAIT_S)


@pytest.fixture(scope="module", params=["prefork", "threads"])
def worker(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shared_provider: FakeProvider
) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("celery")
    broker, prefix = servers.running("valkey").replace("valkey://", "redis://"), f"{new_id()}-"
    running = Running(celery_app.make(broker, prefix), f"sqlite:///{folder}/budgets.db", folder / "log")
    names = {"JOBS_BROKER": broker, "JOBS_PREFIX": prefix, "JOBS_STORE": running.store}
    names |= {"OPENAI_BASE_URL": shared_provider.base_url, "OPENAI_API_KEY": "none"}
    command = [sys.executable, "-m", "tests.support.celery_app", "--pool", request.param]
    with running.log.open("wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, env={**ENVIRONMENT, **names}, stdout=log, stderr=log)
    yield running
    process.send_signal(signal.SIGQUIT)  # at once: nothing is running
    process.wait(WAIT_S)
    running.app.close()


def test_a_task_has_the_user_and_the_tags_of_whoever_sent_it(worker):
    """Else a team's budget ends where its work is put into a queue."""
    with budget(user="ann", tags={"feature": "search"}):
        assert worker.get("ask") == {"user": "ann", "feature": "search"}
    with closing(open_store(worker.store, namespace="shop")) as store:
        assert dict(next(iter(store.entries())).tags) == {"user": "ann", "feature": "search"}


def test_a_task_that_nobody_s_scope_sent_has_what_was_stated(worker):
    """A scheduler has no scope."""
    assert worker.get("ask", user_id="bob") == {"user": "bob"}


def test_a_task_without_a_scope_is_refused_before_it_spends(worker, shared_provider):
    """Celery goes on after an error in a signal's receiver: a user that cannot be found would be one without limits."""
    before = len(shared_provider.requests)
    with pytest.raises(BudgetExceededError):
        worker.get("ask")
    assert len(shared_provider.requests) == before
    assert "ask has no scope, so its calls are refused: KeyError: 'user_id'" in worker.log.read_text()


def test_a_chain_and_a_group_are_the_sender_s_to_the_end(worker):
    """Their later tasks are sent by workers."""
    tasks = worker.app.tasks
    with budget(user="ann"):
        linked = chain(tasks["ask"].s(), tasks["ask"].s(), tasks["after"].s()).delay()
        joined = chord(group(tasks["ask"].s() for _ in range(3)), tasks["after"].s()).delay()
    assert linked.get(timeout=WAIT_S) == [{"user": "ann"}] * 2
    assert joined.get(timeout=WAIT_S) == [{"user": "ann"}] * 4


def test_a_retry_is_still_the_sender_s(worker, tmp_path):
    """The worker sends it, and outside of the scope it would be nobody's."""
    with budget(user="ann"):
        assert worker.get("flaky", str(tmp_path / "flaky")) == {"user": "ann"}
    assert attempts(tmp_path / "flaky") == 3


def test_the_limit_of_a_task_is_that_of_all_its_attempts(worker, tmp_path, shared_provider):
    """Twenty retries of a cent are not a cent."""
    before = shared_provider.billed
    with budget(user="ann"), pytest.raises(BudgetExceededError) as refusal:
        worker.get("dear", str(tmp_path / "dear"))
    assert 1 < attempts(tmp_path / "dear") < 10
    assert 0 < refusal.value.limit < 0.00002
    assert shared_provider.billed - before <= 0.00002


@pytest.mark.parametrize(("name", "kind"), [("greedy", BudgetExceededError), ("asked_for", RuntimeError)])
def test_a_refusal_is_not_tried_again(worker, tmp_path, name, kind):
    """It would be refused again, after minutes of waiting; whatever the task says of retries, and wraps it in."""
    with budget(user="ann"), pytest.raises(kind):
        worker.get(name, str(tmp_path / name))
    assert attempts(tmp_path / name) == 1


def test_a_refusal_comes_back_through_json_as_itself(worker, tmp_path):
    """Whoever waits for the result can tell the user when there is money again."""
    with budget(user="ann"), pytest.raises(BudgetExceededError) as caught:
        worker.get("greedy", str(tmp_path / "greedy"))
    refusal = caught.value
    assert (refusal.user, refusal.budget, refusal.unit) == ("ann", "scope", "dollars")
    assert refusal.limit == Money.dollars("0.000001")
    assert str(refusal).startswith("scope: call projected at ")


def test_a_refusal_that_a_package_swallowed_is_said(worker):
    """An agent that goes on without an answer ends well; its result is on its way when the scope is left."""
    with budget(user="ann"):
        assert worker.get("swallowed") == "fine"
    said = "swallowed ended well, but a package inside swallowed a refusal: scope: call projected at "
    assert until(lambda: said in worker.log.read_text())


@pytest.mark.parametrize("worker", ["prefork"], indirect=True)
def test_a_task_that_is_killed_leaves_no_more_than_its_hold(worker, shared_provider):
    """The hold is the child's: it stands until it expires, as the ledger promises, and is nobody's afterwards."""
    before = len(shared_provider.requests)
    shared_provider.fail_next(stall="headers")
    with budget(user="kim"):
        sent = worker.send("ask")
    assert until(lambda: len(shared_provider.requests) > before)
    with closing(open_store(worker.store, namespace="shop")) as store:
        assert [hold.tags["user"] for hold in store.holds()] == ["kim"]
    sent.revoke(terminate=True, signal="SIGKILL")
    with pytest.raises(Exception, match=r"terminated|revoked|SIGKILL"):
        sent.get(timeout=WAIT_S)
    with budget(user="ann"):
        assert worker.get("ask") == {"user": "ann"}
    with closing(open_store(worker.store, namespace="shop", clock=lambda: time.time() + 86_400)) as later:
        assert list(later.holds()) == []


def test_a_task_that_is_run_in_place_is_inside_the_scope_around(tmp_path, monkeypatch, shared_provider):
    """`apply`, and tests with `task_always_eager`."""
    monkeypatch.setenv("OPENAI_BASE_URL", shared_provider.base_url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    tasks = celery_app.make(servers.running("valkey").replace("valkey://", "redis://"), new_id()).tasks
    with budget(user="ann", limit=1) as around:
        assert tasks["ask"].apply().get() == {"user": "ann"}
        assert around.spent > 0
        with pytest.raises(BudgetExceededError):
            tasks["greedy"].apply((str(tmp_path / "greedy"),)).get()
    assert attempts(tmp_path / "greedy") == 1


def test_what_cannot_be_installed_is_refused_at_once():
    """Not by a worker, hours later."""
    with pytest.raises(ConfigError, match="limit='much' is no number"):
        install(Celery(set_as_current=False), limit="much")
    with pytest.raises(ConfigError, match="the Celery app is needed"):
        install("shop")
