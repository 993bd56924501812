"""
Dramatiq: a message is processed in the scope that it was sent in.

    broker.add_middleware(budgetguard.middleware.dramatiq.TaskBudgets(limit=0.10))

The options of a message take the user and the tags along. Programs that send and workers both need the middleware.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from dramatiq import Middleware
from dramatiq.middleware import MiddlewareError

from ..ledger import Enforce
from ..money import Nano
from ..scopes.context import budget
from .tasks.baggage import HEADER, Baggage, carry, read_header
from .tasks.options import FINAL, Dollars, PerTask, TaskOptions, is_final, leave_scope

LIMIT = "budget_limit"
"""The option of an actor, or of one message, that states its own limit."""


@dataclass(slots=True)
class _Attempt:
    """One attempt at a message."""

    message_id: str
    scope: budget
    tags: Mapping[str, str]
    """Those in the scope."""
    before: Nano
    """What earlier attempts have spent."""
    ended: bool = False


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
        self._latest: ContextVar[_Attempt | None] = ContextVar("budgetguard_attempt", default=None)
        """The attempt that this thread makes, or has made: other middlewares may send what follows from it after us."""

    @property
    def actor_options(self) -> set[str]:
        """What actors may state."""
        return {LIMIT}

    def after_declare_actor(self, broker: Any, actor: Any) -> None:
        """A refusal is an error that `Retries` does not try again, wherever that stands in the list."""
        throws = actor.options.get("throws") or ()
        actor.options["throws"] = (*(throws if isinstance(throws, tuple) else (throws,)), *FINAL)

    def before_enqueue(self, broker: Any, message: Any, delay: Any) -> None:
        """A message is sent: for the first time, or again with what its attempts have spent."""
        latest = self._latest.get()
        if latest is not None and latest.message_id == message.message_id:
            header: Any = Baggage(latest.tags, latest.before + latest.scope.spent.nano).header()
        else:
            limited = self._options.limit is not None or self._own_limit(broker, message) is not None
            header = carry(message.actor_name, limited=limited) or (latest and Baggage(latest.tags).header())
        if header is not None:
            message.options[HEADER] = header

    def before_process_message(self, broker: Any, message: Any) -> None:
        """A message is processed; not at all if it has no scope."""
        self._latest.set(None)
        header, module = message.options.get(HEADER), getattr(broker.get_actor(message.actor_name).fn, "__module__", "")
        try:
            before = read_header(header).spent
            scope = self._options.scope(message, header, module=module, limit=self._own_limit(broker, message))
            scope.__enter__()
        except Exception as error:
            raise MiddlewareError(f"{message.actor_name} has no scope: {type(error).__name__}: {error}") from error
        self._latest.set(_Attempt(message.message_id, scope, read_header(None).tags, before))

    def after_process_message(
        self, broker: Any, message: Any, *, result: Any = None, exception: BaseException | None = None
    ) -> None:
        """It has been processed."""
        latest = self._latest.get()
        if latest is None or latest.ended:
            return
        latest.ended = True
        leave_scope(latest.scope, message.actor_name, exception)
        if is_final(exception):
            message.options["throws"] = type(exception)  # a refusal that another error wraps

    def after_skip_message(self, broker: Any, message: Any) -> None:
        """Another middleware would not have it processed."""
        self.after_process_message(broker, message)

    @staticmethod
    def _own_limit(broker: Any, message: Any) -> Dollars:
        stated: Dollars = message.options.get(LIMIT)
        if stated is None and message.actor_name in broker.actors:
            stated = broker.get_actor(message.actor_name).options.get(LIMIT)
        return stated
