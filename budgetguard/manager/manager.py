"""
`BudgetManager`: users' budgets, under LiteLLM's method names.

    manager = BudgetManager(project_name="shop", store="sqlite:///budgets.db")
    manager.create_budget(total_budget=10, user="ann", duration="monthly")

Costs are dollars as floats, records are dicts, and errors are of the types that
LiteLLM documents. A budget in tokens or requests, which `set_budget` can give a
user, is told in these instead, and its record says so ("unit"). Behind the names
is the ledger: nothing is saved by a thread later, nothing is lost between
processes, and periods renew by themselves.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, Self, get_args

from ..alerts.herald import open_herald
from ..alerts.options import Alerts
from ..budgets.bars import as_html, as_text, read_bars
from ..budgets.periods import Period
from ..budgets.rules import Budget, UserBudget, user_rule
from ..budgets.said.checks import parse_limit, require_choice, require_moment, require_text
from ..budgets.said.words import in_our_words
from ..budgets.steering.audit import Author, whoami
from ..budgets.steering.moments import since_ms
from ..budgets.users import Users
from ..calls import Answer
from ..config import load_config
from ..config.projects import open_project
from ..errors import ConfigError
from ..guards.guard import Guard, require_budgets
from ..guards.scope import Scope, current, leave
from ..guards.settings import Settings
from ..ledger import Clock, Enforce, OnExpire, Store, Unit
from ..litellm import records
from ..litellm.answers import HeldAnswer, read_answer
from ..money import DOLLAR, Money
from ..prices.given import GivenPrices
from ..prices.tokens import count_messages, count_text
from ..process.state import PROCESS
from ..sdks.hooks import Patches
from ..sdks.install import install
from ..stores import open_store
from .answers import cost_of_answer
from .reading import ReadingVerbs
from .steering import SteeringVerbs

if TYPE_CHECKING:
    from ..reports.shown.bill import Reconciled


class BudgetManager(SteeringVerbs, ReadingVerbs):
    """
    The budgets of one project's users.

    * `project_name`: the namespace of the budgets in the store; if left out, what `BUDGETGUARD_PROJECT` or
      `budgetguard.toml` says, else the only one that a SQLite file has, else "default".
    * `store`: a URL (`sqlite:///budgets.db`, `postgresql://host/db`, `redis://host`; see `open_store`), an open store,
      or a ready psycopg pool or redis client; by default what `BUDGETGUARD_STORE` or `budgetguard.toml` says, else
      `sqlite:///budgetguard.db`, beside that file if there is one.
    * `budgets`: rules that hold beside the users' own budgets; by default those of `budgetguard.toml`.
    * `prices`: prices of your own: `{"my-model": {"input": 0.15, "output": 0.60}}`, in dollars per million tokens, over
      the price file that `budgetguard.toml` names; or another file's path, or a `PriceBook`, instead of it.
    * `settings`: `Settings`, all of them; by default what the environment and `budgetguard.toml` say.
    * `alerts`: who is told before a budget is over: a sequence of sinks, or `Alerts` (docs/alerts.md); by default what
      `budgetguard.toml` says, else the log.
    * `client_type`, `api_base`, `headers`: LiteLLM's. "local" budgets live in `store`; "hosted" ones behind the HTTP
      API at `api_base`, which is asked with the key in `BUDGETGUARD_KEY`, or with these headers instead.

    `with manager:` makes it the manager of the calls inside; `budgetguard.patch(manager)` of the whole process.
    Raises `ConfigError` for arguments that cannot be used.
    """

    @in_our_words
    def __init__(
        self,
        project_name: str | EllipsisType = ...,
        client_type: str = "local",
        api_base: str | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        store: Any = None,
        budgets: Sequence[Budget] | None = None,
        prices: GivenPrices | None = None,
        clock: Clock = time.time,
        settings: Settings | None = None,
        alerts: Alerts | Sequence[Any] | None = None,
    ) -> None:
        if client_type not in {"local", "hosted", "self-hosted"}:
            raise ConfigError(f"client_type={client_type!r}: use 'local', or 'hosted' with the server's api_base")
        if client_type != "local" and store is not None:
            raise ConfigError(f"client_type={client_type!r}, store: a hosted budget is at api_base; leave store out")
        named = None if project_name is ... else require_text(project_name, "project_name")
        config = load_config(project=named, store=store if isinstance(store, str) else None)
        self.client_type = client_type
        rules = config.budgets if budgets is None else budgets
        book = config.price_book(prices)
        sent = config.headers() if headers is None else headers
        self.store: Store
        if client_type != "local":
            from ..litellm.hosted import open_hosted

            self.store = open_hosted(api_base, config.project, sent, clock=clock)
        elif store is None or isinstance(store, str):
            self.store = open_project(config, clock=clock, headers=sent, warns=True)
        else:
            self.store = open_store(store, namespace=config.project, clock=clock)
        self.project_name = config.project if named is not None else self.store.namespace
        own = config.settings() if settings is None else settings
        told, rules = config.alerts() if alerts is None else Alerts.of(alerts), require_budgets(rules)
        news = open_herald(self.store, told, rules, clock=clock)
        self.guard = Guard(self.store, book, rules, clock=clock, settings=own, news=news)
        self.users = Users(self.store, self.guard.coverage, clock=clock, author=Author(whoami()))
        Patches.idle.add(self)

    # -- LiteLLM's interface -------------------------------------------------------------------------------------

    @in_our_words
    def create_budget(
        self,
        total_budget: Money | float | str,
        user: str,
        duration: str | None = None,
        created_at: float | None = None,
    ) -> dict[str, Any]:
        """
        Give a user a budget of `total_budget` dollars, renewed every `duration`; returns the user's record.

        `duration` is "daily", "weekly", "monthly", "yearly", "rolling 7d", or `None` for one that never renews.
        For a user who has one, the budget is changed and the spend stays. Raises `ValueError` (a `ConfigError`).
        """
        return self.set_budget(user, total_budget, duration, created_at=created_at)

    def projected_cost(self, model: str, messages: Sequence[Mapping[str, Any]], user: str) -> float:
        """What the user will have spent after sending these messages, their answer not counted, in dollars."""
        own = self.users.get(user)
        current_cost = self.get_current_cost(user)
        tokens = count_messages(messages, model)
        if own.rule.unit != "dollars":
            return current_cost + {"tokens": tokens, "requests": 1}.get(own.rule.unit, 0)
        tariff = self.guard.prices.tariff(None, model, None, self.guard.coverage.now_ms())
        return current_cost + tariff.cost({"input_tokens": tokens}) / DOLLAR

    def get_total_budget(self, user: str) -> float:
        """The user's budget for a period, in dollars. Raises `KeyError` for an unknown user, as do all below."""
        own = self.users.get(user)
        limit = own.limit_at(self.guard.coverage.now_ms())
        return float("inf") if limit is None else limit / _scale(own.rule)

    def update_cost(
        self,
        user: str,
        completion_obj: Any = None,
        model: str | None = None,
        input_text: str | None = None,
        output_text: str | None = None,
    ) -> dict[str, Any]:
        """
        Book the cost of an answer, or of a model's input and output texts, on the user; returns `{"user": record}`.

        `completion_obj` is an SDK's object (OpenAI's, Anthropic's), its dict, or LiteLLM's `ModelResponse`. `model` is
        what it was asked for, where the answer names none that has a price. An answer to a call that was guarded for
        this user is on the books already, and is not booked again. Raises `ValueError` without an answer or texts, and
        `UnpricedModelError`. The input text counts as one message of a chat.
        """
        own = self.users.get(user)
        counted = None
        if completion_obj is not None:
            held = read_answer(completion_obj)
            counted = self.guard.settled_tags(held.answer.id)
            if counted is not None and counted.get("user") == user:
                return {"user": self._record(own)}
            held = held.completed(model)
            asked, usage, cost = held.answer.model or "", held.answer.usage or {}, held.answer.cost
            if cost is None:
                cost = cost_of_answer(self.guard, model or asked, held)
        elif model and isinstance(input_text, str) and isinstance(output_text, str):
            asked = require_text(model, "model")
            sent = count_messages([{"role": "user", "content": input_text}], model)
            usage = {"input_tokens": sent, "output_tokens": count_text(output_text, model)}
            cost = cost_of_answer(self.guard, asked, HeldAnswer(Answer(usage=usage)))
        else:
            raise ConfigError("update_cost: give completion_obj, or model with input_text and output_text")
        self.users.book(own, cost, model=asked, usage=usage, counted=counted)
        return {"user": self._record(own)}

    def get_current_cost(self, user: str) -> float:
        """What the user spent in this period, in dollars."""
        own = self.users.get(user)
        return self.users.standing(own, self.guard.coverage.now_ms()).spent / _scale(own.rule)

    def get_model_cost(self, user: str) -> dict[str, float] | int:
        """What the user spent in this period on each model, in dollars; 0 if nothing was ever spent."""
        costs: dict[str, float] | int = self._record(self.users.get(user)).get("model_cost", 0)
        return costs

    def is_valid_user(self, user: str) -> bool:
        """Whether a budget was created for the user."""
        return self.users.find(user) is not None

    def get_users(self) -> list[str]:
        """The users that have a budget."""
        return [own.user for own in self.users.all()]

    def reset_cost(self, user: str) -> dict[str, Any]:
        """Begin the user's period again at nothing spent; returns `{"user": record}`. The history stays."""
        return {"user": self._record(self.users.renew(user))}

    def reset_on_duration(self, user: str) -> None:
        """Kept for programs that call it: a period's end resets the spend by itself."""
        self.users.get(user)

    def update_budget_all_users(self) -> None:
        """Kept for programs that call it: every period's end resets the spend by itself."""

    def load_data(self) -> None:
        """Kept for programs that call it: everything is read when it is looked at."""

    def save_data(self) -> dict[str, str]:
        """Kept for programs that call it: everything is saved when it happens."""
        return {"status": "success"}

    @property
    def user_dict(self) -> Mapping[str, dict[str, Any]]:
        """Every user's record, read from the store when it is looked at."""
        return records.UserDict(self.users)

    # -- beyond it -----------------------------------------------------------------------------------------------

    @in_our_words
    def set_budget(
        self,
        user: str,
        total_budget: Money | float | str | None,
        duration: str | None = None,
        *,
        timezone: str | None = None,
        enforce: Enforce = "hard",
        on_expire: OnExpire = "release",
        in_flight: int | None = None,
        created_at: float | None = None,
        unit: Unit = "dollars",
        warn_at: float | Sequence[float] = (),
    ) -> dict[str, Any]:
        """
        `create_budget` with everything that can be said of a budget (see `Budget`); returns the user's record.

        A changed limit holds from the very next call, in every process. A changed period or unit begins with nothing
        spent.
        """
        require_choice(unit, get_args(Unit), "unit")
        limit: Money | int | None = None
        if total_budget is not None:
            limit = parse_limit(total_budget, unit, name="total_budget")
            limit = Money(limit) if unit == "dollars" else limit
        period = Period.parse(duration, timezone, name="duration")
        rule = user_rule(
            limit, period, enforce=enforce, on_expire=on_expire, in_flight=in_flight, unit=unit, warn_at=warn_at
        )
        given_s = None if created_at is None else require_moment(created_at, "created_at")
        return self._record(self.users.put(user, rule, created_s=given_s))

    def remove_budget(self, user: str) -> None:
        """
        Take a user's budget away: their calls are no longer limited by it.

        What was spent stays in the history; a new budget for this user begins with nothing spent.
        """
        self.users.remove(user)

    def reconcile(
        self,
        provider: str,
        month: str | None = None,
        *,
        since: datetime | timedelta | str | None = None,
        until: datetime | timedelta | str | None = None,
        projects: Sequence[str] = (),
        url: str | None = None,
    ) -> Reconciled:
        """
        Compare these books with what "openai", "anthropic" or "openrouter" says that it bills, by day and model.

        It asks the provider, with the admin key in the environment, and waits for it; see docs/bill.md. Raises
        `ConfigError`, and `BillError` where no bill comes.
        """
        from ..reports.bill.reconcile import reconcile

        now_ms = self.store.now_ms()
        times = [None if said is None else since_ms(said, now_ms) for said in (since, until)]
        prices = self.guard.prices
        return reconcile(
            self.store, prices, provider, month=month, since_ms=times[0], until_ms=times[1], projects=projects, url=url
        )

    def import_litellm(self, path: str) -> int:
        """Take over the users, budgets and spend of a LiteLLM `user_cost.json`; how many users there were."""
        return records.import_file(self.users, path)

    def export_litellm(self, path: str) -> int:
        """Write the users with a budget in dollars, and their spend, as a LiteLLM `user_cost.json`; how many it has."""
        return records.export_file(self.users, path)

    def flush(self, timeout_s: float = 5.0) -> bool:
        """
        Wait until settlements that could not reach the store have landed; `False` if some have not after this time.

        They stay on disk then, and land when the store is back, also after a restart.
        """
        return self.guard.flush(timeout_s)

    def close(self) -> None:
        """Give all leases back, and close the store's files and connections."""
        Patches.idle.discard(self)
        self.guard.close()

    def __repr__(self) -> str:
        return as_text(f"BudgetManager({self.project_name!r})", lambda: read_bars(self.users))

    def _repr_html_(self) -> str:
        return as_html(self.project_name, lambda: read_bars(self.users))

    def __enter__(self) -> Self:
        install()
        PROCESS.scoped = True
        Patches.idle.discard(self)
        outer = current.get()
        around = outer or Scope()
        inside = Scope(around.tags, around.tallies, self.guard, around.wait_s, around.on_cut, outer, self)
        inside.fallbacks = around.fallbacks
        current.set(inside)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        scope = current.get()
        while scope is not None and (scope.opened_by is not self or scope.passed):
            scope = scope.parent
        if scope is not None:
            leave(scope)

    async def __aenter__(self) -> Self:
        return self.__enter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.__exit__(kind, error, traceback)

    def _record(self, own: UserBudget) -> dict[str, Any]:
        return records.records(self.users, [own], self.guard.coverage.now_ms())[own.user]


def _scale(rule: Budget) -> int:
    """How many of what a ledger counts make one of what people do."""
    return DOLLAR if rule.unit == "dollars" else 1
