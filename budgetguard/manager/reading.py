"""What a manager can be asked: what budgets would say to a call, and the history as data and as a picture."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from ..alerts.herald import Herald
from ..budgets.said.checks import require_text
from ..budgets.steering.moments import since_ms
from ..guards.guard import Guard
from ..ledger import Query, Store
from .explained.explain import AskedCall, explain
from .explained.explanation import Explanation
from .frames import Backend, frame
from .plots import plot


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

    def entries_frame(
        self,
        since: datetime | timedelta | str | None = None,
        until: datetime | timedelta | str | None = None,
        user: str | None = None,
        *,
        tags: Mapping[str, str] | None = None,
        model: str | None = None,
        backend: Backend | None = None,
    ) -> Any:
        """
        The history as a data frame, a row for each call, the oldest first: of pandas, or polars if that is not there.

        `since` and `until` are times, or how long ago ("7d"); naive times are UTC. The columns are `id`, `time` (UTC),
        `user`, a `tag.NAME` for each other tag, `provider`, `model`, `cost` in dollars and `cost_nano`, which is exact,
        `input_tokens`, `output_tokens`, a `usage.KIND` for each other kind, and a column for each flag of an entry.
        Raises `ConfigError` where neither library is installed: both are in the extra `frames`.
        """
        now_ms = self.guard.coverage.now_ms()
        first, end = [
            None if said is None else since_ms(said, now_ms, name=name)
            for said, name in ((since, "since"), (until, "until"))
        ]
        asked = {**(tags or {}), **({} if user is None else {"user": user})}
        return frame(self.store.entries(Query(first, end, asked, model)), backend)

    def plot_spend(self, by: str = "model", days: int = 30, *, zone: str = "UTC", ax: Any = None) -> Any:
        """
        A stacked bar for what each of the last days cost, `by` "model", "user", "provider" or a tag; the axes.

        It is drawn by matplotlib (the extra `frames`), on `ax` if that is given. The eight dearest names have colours,
        and all others are one. Days are those of `zone`.
        """
        return plot(self.store, by, days, zone, ax)
