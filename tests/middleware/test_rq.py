"""RQ: the scope travels with the job, to a real worker that forks, over a real server, in JSON."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from rq import Queue, Retry
from rq.serializers import JSONSerializer

from budgetguard import BudgetBusyError, BudgetExceededError, Money, budget
from budgetguard.ledger import new_id
from budgetguard.middleware.rq import BudgetJob
from budgetguard.stores import open_store
from budgetguard.testing import FakeProvider
from tests.support import ENVIRONMENT, ROOT, rq_jobs, servers
from tests.support.tasks import attempts


@dataclass
class Done:
    """What was enqueued before a worker came, worked all of it off, and left."""

    folder: Path
    jobs: dict[str, BudgetJob] = field(default_factory=dict)

    def result(self, name: str) -> Any:
        latest = self.jobs[name].latest_result()
        return latest and (latest.return_value if latest.exc_string is None else latest.exc_string)


def enqueue(queue: Queue, done: Done) -> None:
    jobs, folder = done.jobs, done.folder
    with budget(user="ann", tags={"feature": "search"}):
        jobs["ask"] = queue.enqueue(rq_jobs.ask)
        jobs["later"] = queue.enqueue(rq_jobs.ask_in_a_loop)
        jobs["late"] = queue.enqueue(rq_jobs.succeed_late, str(folder / "late"), retry=Retry(max=3))
        jobs["dear"] = queue.enqueue(
            rq_jobs.fail, str(folder / "dear"), retry=Retry(max=20), meta={"limit": "$0.00002"}
        )
        jobs["poor"] = queue.enqueue(
            rq_jobs.fail, str(folder / "poor"), retry=Retry(max=3), meta={"limit": "$0.000001", "of": "ours"}
        )
        jobs["child"] = queue.enqueue(rq_jobs.ask, depends_on=jobs["ask"])
    jobs["bob"] = queue.enqueue(rq_jobs.ask, user_id="bob")
    jobs["nobody"] = queue.enqueue(rq_jobs.ask)


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, shared_provider: FakeProvider) -> Iterator[Done]:
    done = Done(tmp_path_factory.mktemp("rq"))
    url, name = servers.running("valkey").replace("valkey://", "redis://"), new_id()
    names = {"JOBS_STORE": f"sqlite:///{done.folder}/budgets.db", "OPENAI_API_KEY": "none"}
    names |= {"OPENAI_BASE_URL": shared_provider.base_url}
    kind = f"{rq_jobs.ShopJob.__module__}.{rq_jobs.ShopJob.__name__}"
    serializer = f"{JSONSerializer.__module__}.{JSONSerializer.__name__}"
    command = [sys.executable, "-m", "rq.cli", "worker", "--burst", "--url", url, name]
    with closing(Redis.from_url(url)) as connection:
        enqueue(Queue(name, connection=connection, job_class=rq_jobs.ShopJob, serializer=JSONSerializer), done)
        subprocess.run(
            [*command, "--job-class", kind, "--serializer", serializer],
            cwd=ROOT,
            env={**ENVIRONMENT, **names},
            check=True,
            capture_output=True,
            timeout=120,
        )
        yield done


def test_a_job_has_the_user_and_the_tags_of_whoever_enqueued_it(done):
    """Functions and coroutine functions, and jobs that wait for others."""
    whose = {"user": "ann", "feature": "search"}
    assert [done.result(name) for name in ("ask", "later", "child")] == [whose] * 3
    with closing(open_store(f"sqlite:///{done.folder}/budgets.db", namespace="shop")) as store:
        assert [dict(entry.tags) for entry in store.entries()].count(whose) >= 3
        assert list(store.holds()) == []


def test_a_job_that_nobody_s_scope_enqueued_has_what_was_stated(done):
    """A scheduler has no scope."""
    assert done.result("bob") == {"user": "bob"}


def test_a_job_whose_scope_cannot_be_found_does_not_run(done):
    """It would be one without limits."""
    assert done.result("nobody").endswith("KeyError: 'user_id'\n")


def test_a_retry_is_still_the_sender_s(done):
    """The worker enqueues it again."""
    assert done.result("late") == {"user": "ann", "feature": "search"}
    assert attempts(done.folder / "late") == 3


def test_the_limit_of_a_job_is_that_of_all_its_attempts(done, shared_provider):
    """Twenty retries of a cent are not a cent."""
    assert 1 < attempts(done.folder / "dear") < 10
    assert 0 < done.jobs["dear"].refusal.limit < 0.00002


def test_a_refusal_is_not_tried_again_and_is_kept_whole(done):
    """RQ itself keeps the text of a traceback; a program that waits for the job wants the amounts."""
    assert attempts(done.folder / "poor") == 1
    refusal = done.jobs["poor"].refusal
    assert type(refusal) is BudgetExceededError
    assert (refusal.user, refusal.limit) == ("ann", Money.dollars("0.000001"))
    assert done.result("poor").rstrip().endswith(f"BudgetExceededError: {refusal}")
    assert done.jobs["poor"].get_meta()["of"] == "ours"
    assert done.jobs["ask"].refusal is None
    assert not isinstance(refusal, BudgetBusyError)
