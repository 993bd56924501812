"""What a manager can be asked: what budgets would say to a call, and the history as data and as a picture."""

from __future__ import annotations

from collections.abc import Mapping

from ..alerts.herald import Herald
from ..budgets.said.checks import require_text
from ..guards.guard import Guard
from ..ledger import Store
from .explained.explain import AskedCall, explain
from .explained.explanation import Explanation


class ReadingVerbs:
    """Nothing here writes, holds or delays anything."""

    store: Store
    guard: Guard

    def explain(
        self,
        user: str | None = None,
        tags: Mapping[str, str] | None = None,
        *,
        model: str | None = None,
        text: str | None = None,
        input_tokens: int | None = None,
        output_tokens: int | None = None,
        provider: str | None = None,
    ) -> Explanation:
        """
        Which budgets a call of this user, with these tags, touches, and what each would say to it.

        With a `model`, the call is a chat of one message, its `text` or `input_tokens` long, which states
        `output_tokens` as its cap, if that is given; `provider` says whose model it is, where its name does not
        ("anthropic/claude-haiku-4-5" does). Without one it is asked whether there is any room at all. The guard itself
        decides, on a copy of the books: nothing is held or written. The limits of this process, those of scopes and
        `max_budget`, are left out. Raises `ConfigError` for a call that cannot be.
        """
        given = {name: require_text(value, f"tags[{name!r}]") for name, value in (tags or {}).items()}
        if user is not None:
            given["user"] = require_text(user, "user")
        news = self.guard.notices.news
        told = [thread.sink.name for thread in news.threads] if isinstance(news, Herald) else []
        asked = AskedCall(model, provider, text, input_tokens, output_tokens)
        return explain(self.store, self.guard, given, asked, told)
