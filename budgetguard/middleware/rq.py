"""
RQ: a job runs in the scope that it was enqueued in.

    class ShopJob(budgetguard.middleware.rq.BudgetJob):
        options = TaskOptions(limit=0.10)

    queue = Queue(connection=redis, job_class=ShopJob)       # and: rq worker --job-class shop.jobs.ShopJob

`Job.meta` takes the user and the tags along. A worker needs the same class: one without it runs a job without a scope.
"""

from __future__ import annotations

from typing import Any, ClassVar

from rq.job import Job

from ..errors import BudgetBusyError, BudgetExceededError, find_budget_error
from ..money import Money
from .tasks.baggage import HEADER, Baggage, carry, log, read_header
from .tasks.options import TaskOptions, is_final

__all__ = ["BudgetJob", "TaskOptions"]

_REFUSAL = "budgetguard_refusal"


class BudgetJob(Job):
    """A job with a scope. Derive a class of your own to state what holds for its jobs: `options`."""

    options: ClassVar[TaskOptions[Any]] = TaskOptions()

    @classmethod
    def create(cls, *args: Any, **kwargs: Any) -> Job:
        """A job as `Job.create` makes it, with the user and the tags of the scope of here and now."""
        job = super().create(*args, **kwargs)
        header = carry(job.func_name or "a job", limited=cls.options.limit is not None)
        if header is not None:
            job.meta = {**job.meta, HEADER: header}
        return job

    def perform(self) -> Any:
        """Run the job in its scope. After a refusal no retries are left."""
        header = self.meta.get(HEADER)
        scope = self.options.scope(self, header, module=(self.func_name or "").rpartition(".")[0])
        try:
            with scope:
                return super().perform()
        except BaseException as error:
            self._note(error, header, scope.spent)
            raise

    def _note(self, error: BaseException, header: object, spent: Money) -> None:
        """Keep what a failed attempt has spent, for the next one, and what refused it, for whoever asks."""
        if is_final(error):
            self.retries_left = 0
        carried = read_header(header)
        self.meta[HEADER] = Baggage(carried.tags, carried.spent + spent.nano).header()
        if (refusal := find_budget_error(error)) is not None:
            self.meta[_REFUSAL] = [isinstance(refusal, BudgetBusyError), *refusal.args]
        try:
            self.save_meta()  # type: ignore[no-untyped-call]
        except Exception as failure:  # the job's own error is what its worker is to hear of
            log.warning("%s: what it spent could not be noted: %r", self.func_name, failure)

    @property
    def refusal(self) -> BudgetExceededError | None:
        """The refusal that ended the job, with all its attributes; `None` for a job that none has ended."""
        kept = self.get_meta(refresh=True).get(_REFUSAL)
        return None if kept is None else (BudgetBusyError if kept[0] else BudgetExceededError)(*kept[1:])
