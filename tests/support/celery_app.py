"""
A Celery app whose tasks ask a model; as a program, a worker of it.

    python -m tests.support.celery_app --pool threads

The environment names its broker (`JOBS_BROKER`), the prefix of its keys there (`JOBS_PREFIX`), and the store of its
budgets (`JOBS_STORE`).
"""

from __future__ import annotations

import os
import sys
from typing import Any

from celery import Celery
from kombu.utils.encoding import safe_repr

import budgetguard
from budgetguard import BudgetExceededError, BudgetManager
from budgetguard.middleware.celery import install
from tests.support.tasks import Asking, call, note, tags

TASK_LIMIT = 0.01
ALONE = ("--without-gossip", "--without-mingle", "--without-heartbeat")
"""There are no other workers."""


def make(broker: str, prefix: str) -> Celery:
    """The app, for those who send tasks and for workers; it keeps results as JSON."""
    app = Celery("shop", broker=broker, backend=broker, set_as_current=False)
    keys = {"global_keyprefix": prefix}
    app.conf.update(
        broker_transport_options=keys,
        result_backend_transport_options=keys,
        broker_connection_retry_on_startup=True,
        worker_send_task_events=False,
    )
    stated = {greedy: GREEDY, asked_for: GREEDY, swallowed: GREEDY, flaky: FLAKY, dear: DEAR}
    for task in (ask, after, *stated):
        app.task(bind=True, name=task.__name__, **stated.get(task, {}))(task)
    install(app, user=lambda task: task.request.kwargs["user_id"], limit=TASK_LIMIT)
    return app


def ask(self: Any, *_before: Any, user_id: str | None = None) -> dict[str, str]:
    call()
    return tags()


def after(self: Any, before: Any) -> list[Any]:
    """The end of a chain, or of a chord: what came before it, and its own tags."""
    return [*(before if isinstance(before, list) else [before]), tags()]


SOON = {"max_retries": 20, "countdown": 0}
GREEDY = {"budget_limit": "$0.000001", "autoretry_for": (Exception,), "retry_kwargs": SOON}


def greedy(self: Any, path: str) -> None:
    note(path)
    call()


def asked_for(self: Any, path: str) -> None:
    """Retries by hand, an error of its own."""
    note(path)
    try:
        call()
    except BudgetExceededError as refusal:
        raise self.retry(exc=RuntimeError(f"no answer: {refusal}"), countdown=0) from refusal


def swallowed(self: Any) -> str:
    """Ends well, as the package thinks."""
    safe_repr(Asking())
    return "fine"


FLAKY = {"autoretry_for": (ConnectionError,), "retry_kwargs": SOON}


def flaky(self: Any, path: str) -> dict[str, str]:
    if note(path) < 3:
        raise ConnectionError("the first two attempts fail")
    return tags()


DEAR = {"autoretry_for": (ConnectionError,), "retry_kwargs": SOON, "budget_limit": "$0.00002"}


def dear(self: Any, path: str) -> None:
    note(path)
    call()
    raise ConnectionError("every attempt costs something, and fails")


if __name__ == "__main__":
    app = make(os.environ["JOBS_BROKER"], os.environ["JOBS_PREFIX"])
    budgetguard.patch(BudgetManager("shop", store=os.environ["JOBS_STORE"]))
    app.worker_main(["worker", "--concurrency=2", "--loglevel=INFO", *ALONE, *sys.argv[1:]])
