"""RQ's jobs in tests. Imported by a worker, whose environment names the store of its budgets (`JOBS_STORE`)."""

from __future__ import annotations

import os
from typing import ClassVar

import budgetguard
from budgetguard import BudgetManager
from budgetguard.middleware.rq import BudgetJob, TaskOptions
from tests.support.tasks import call, note, tags

if "JOBS_STORE" in os.environ:
    budgetguard.patch(BudgetManager("shop", store=os.environ["JOBS_STORE"]))


class ShopJob(BudgetJob):
    """Who pays for those that nobody's scope has sent is in their arguments."""

    options: ClassVar = TaskOptions(
        user=lambda job: job.kwargs["user_id"], limit=lambda job: job.meta.get("limit", "$0.01")
    )


def ask(user_id: str | None = None) -> dict[str, str]:
    call()
    return tags()


async def ask_in_a_loop() -> dict[str, str]:
    call()
    return tags()


def fail(path: str) -> None:
    note(path)
    call()
    raise ConnectionError("every attempt costs something, and fails")


def succeed_late(path: str) -> dict[str, str]:
    if note(path) < 3:
        raise ConnectionError("the first two attempts fail")
    return tags()
