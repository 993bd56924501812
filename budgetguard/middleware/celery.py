"""
Celery: a task runs in the scope that it was sent in.

    app = Celery("shop", broker=...)
    budgetguard.middleware.celery.install(app, limit=0.10)

Where a task is sent, a header takes the user and the tags along; a chain, a group and a retry pass it on. Where it
runs, in a worker of any pool, it is inside `budget(...)` with them, until everything is sent that follows from it.
Celery's own signals are all that is used, so it does not matter what a task's base class is, or when it is registered.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any

from celery import Celery, current_task, signals  # type: ignore[import-untyped]

from ..errors import ConfigError
from ..ledger import Enforce
from ..scopes.context import budget
from .tasks.baggage import HEADER, Baggage, carry, log, read_header
from .tasks.options import Dollars, PerTask, TaskOptions, is_final, leave_scope

_SCOPE = "budgetguard_scope"
"""Where the scope of a task is found in its request while it runs."""


def install(
    app: Celery,
    *,
    user: PerTask[str | None, Any] = None,
    limit: PerTask[Dollars, Any] = None,
    tags: PerTask[Mapping[str, str] | None, Any] = None,
    enforce: Enforce = "hard",
    wait: float = 0.0,
) -> None:
    """
    Give every task of an app a scope, in the programs that send it and in the workers that run it: call it in both.

    `limit` is in dollars, for one task with all its retries; a task may state its own, `@app.task(budget_limit=0.50)`.
    `user` and `tags` are for tasks that were sent outside of every scope. Each may be a function of the task:
    `user=lambda task: task.request.kwargs["user_id"]`. Called again, it replaces what was stated. Raises `ConfigError`.
    """
    if not isinstance(app, Celery):
        raise ConfigError(f"install({app!r}): the Celery app is needed")
    ours = _Tasks(app, TaskOptions(user=user, limit=limit, tags=tags, enforce=enforce, wait=wait))
    for signal, receiver in (
        (signals.before_task_publish, ours.send),
        (signals.task_prerun, ours.begin),
        (signals.task_postrun, ours.end),
    ):
        name = f"budgetguard {receiver.__name__} {id(app)}"
        signal.disconnect(dispatch_uid=name)
        signal.connect(receiver, weak=False, dispatch_uid=name)


class _Tasks:
    """The tasks of one app."""

    def __init__(self, app: Celery, options: TaskOptions[Any]) -> None:
        self.app = app
        self.options = options

    def send(self, sender: str, headers: dict[str, Any], **_: Any) -> None:
        """A task is sent: whatever sends it, it takes the scope of here and now along."""
        task = self.app.tasks.get(sender) if self.app.finalized else None  # asking would finalize it
        limited = self.options.limit is not None or getattr(task, "budget_limit", None) is not None
        header = carry(sender, limited=limited or sender.startswith("celery."))
        if header is not None:
            headers[HEADER] = header
        if current_task and current_task.request.id == headers.get("id") and hasattr(current_task.request, _SCOPE):
            headers[HEADER] = self._again(current_task.request)

    def _again(self, request: Any) -> dict[str, Any]:
        """The header of a retry, whose limit is what its attempts have left."""
        scope, before = getattr(request, _SCOPE), read_header(request.get(HEADER))
        return Baggage(before.tags, before.spent + scope.spent.nano).header()

    def begin(self, task: Any, **_: Any) -> None:
        """A task begins. Celery goes on whatever is raised here, so what cannot be a scope is one that refuses all."""
        if task.app is not self.app:
            return
        if "retry" not in vars(task):
            task.retry = _but_for_refusals(task.retry)
        options = TaskOptions() if task.name.startswith("celery.") else self.options
        try:
            limit = getattr(task, "budget_limit", None)
            scope = options.scope(task, task.request.get(HEADER), module=type(task).__module__, limit=limit).__enter__()
        except Exception as error:
            log.error("%s has no scope, so its calls are refused: %s: %s", task.name, type(error).__name__, error)
            scope = budget(limit=0).__enter__()
        setattr(task.request, _SCOPE, scope)

    def end(self, task: Any, retval: Any = None, **_: Any) -> None:
        """A task has ended, and what follows from it is sent."""
        if task.app is self.app:
            leave_scope(getattr(task.request, _SCOPE), task.name, retval)


def _but_for_refusals(retry: Any) -> Any:
    """A task's `retry`, which also `autoretry_for` calls; a refusal ends the task instead."""

    @functools.wraps(retry)
    def retry_or_end(args: Any = None, kwargs: Any = None, exc: Any = None, *more: Any, **options: Any) -> Any:
        handled = sys.exception()
        error = exc if isinstance(exc, BaseException) else handled
        if error is not None and (is_final(error) or is_final(handled)):
            raise error
        return retry(args, kwargs, exc, *more, **options)

    return retry_or_end
