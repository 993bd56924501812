"""
Dramatiq: a message is processed in the scope that it was sent in.

    broker.add_middleware(budgetguard.middleware.dramatiq.TaskBudgets(limit=0.10))

The options of a message take the user and the tags along. Programs that send and workers both need the middleware.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from dramatiq import Middleware
from dramatiq.middleware import MiddlewareError

from ..ledger import Enforce
from ..scopes.context import budget
from .tasks.baggage import HEADER, Baggage, carry, read_header
from .tasks.options import FINAL, Dollars, PerTask, TaskOptions, is_final, leave_scope

LIMIT = "budget_limit"
"""The option of an actor, or of one message, that states its own limit."""


class TaskBudgets(Middleware):  # type: ignore[misc, unused-ignore]
    """
    Gives every message a scope.

    `limit` is in dollars, for one message with all its retries; an actor may state its own,
    `@dramatiq.actor(budget_limit=0.50)`. `user` and `tags` are for messages that were sent outside of every scope.
    Each may be a function of the message: `user=lambda message: message.kwargs["user_id"]`. Raises `ConfigError`.
    """

    def __init__(
        self,
        *,
        user: PerTask[str | None, Any] = None,
        limit: PerTask[Dollars, Any] = None,
        tags: PerTask[Mapping[str, str] | None, Any] = None,
        enforce: Enforce = "hard",
        wait: float = 0.0,
    ) -> None:
        self._options: TaskOptions[Any] = TaskOptions(user=user, limit=limit, tags=tags, enforce=enforce, wait=wait)
        self._running: ContextVar[tuple[budget | None, Any]] = ContextVar("budgetguard_message", default=(None, None))
        """The scope of the message that this thread processes, and the header it came with, also after its end."""

    @property
    def actor_options(self) -> set[str]:
        """What actors may state."""
        return {LIMIT}

    def after_declare_actor(self, broker: Any, actor: Any) -> None:
        """A refusal is an error that `Retries` does not try again, wherever that stands in the list."""
        throws = actor.options.get("throws") or ()
        actor.options["throws"] = (*(throws if isinstance(throws, tuple) else (throws,)), *FINAL)

    def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        """A message is sent; one of a pipeline, by the end of the one before it."""
        limited = self._options.limit is not None or self._own_limit(broker, message) is not None
        header = carry(message.actor_name, limited=limited) or self._running.get()[1]
        if header is not None:
            message.options.setdefault(HEADER, header)

    def before_process_message(self, broker: Any, message: Any) -> None:
        """A message is processed; not at all if it has no scope."""
        self._running.set((None, None))
        header, module = message.options.get(HEADER), getattr(broker.get_actor(message.actor_name).fn, "__module__", "")
        try:
            scope = self._options.scope(message, header, module=module, limit=self._own_limit(broker, message))
        except Exception as error:
            raise MiddlewareError(f"{message.actor_name} has no scope: {type(error).__name__}: {error}") from error
        self._running.set((scope.__enter__(), header))

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """It has been processed. What it has spent counts if it is tried again."""
        scope, header = self._running.get()
        if scope is None:
            return
        self._running.set((None, header))
        leave_scope(scope, message.actor_name, exception)
        if exception is not None:
            carried = read_header(header)
            message.options[HEADER] = Baggage(carried.tags, carried.spent + scope.spent.nano).header()
            if is_final(exception):
                message.options["throws"] = type(exception)

    def after_skip_message(self, broker: Any, message: Any) -> None:
        """Another middleware would not have it processed."""
        self.after_process_message(broker, message)

    @staticmethod
    def _own_limit(broker: Any, message: Any) -> Dollars:
        stated: Dollars = message.options.get(LIMIT)
        if stated is None and message.actor_name in broker.actors:
            stated = broker.get_actor(message.actor_name).options.get(LIMIT)
        return stated
