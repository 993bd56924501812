"""
What a guard gives to the charges that it makes: its plans, its ledger, its settings, and a place to say things.

A charge holds these parts and not the guard, so each of them can be made, and tested, without one.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from itertools import count
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from ..budgets.news import NO_NEWS, RefusedCall, Tidings
from ..budgets.rules import USERS, terms_key
from ..calls import NOTHING, Answer
from ..errors import UnpricedModelError
from ..ledger import Account, Balance, Clock, Refusal, Stale
from ..money import Nano
from ..prices.tariffs import in_region
from ..process.layers import Ledger
from ..process.tally import Tally
from ..telemetry.telemetry import Telemetry
from .plan import Plans
from .scope import Scope
from .settings import Settings

if TYPE_CHECKING:
    from collections.abc import Awaitable, Sequence

    from ..concurrency.steps import Steps

log = logging.getLogger("budgetguard")

T = TypeVar("T")

_SETTLED_RESPONSES = 10_000


class StepRunner(Protocol):
    """Runs steps, there and then."""

    def run(self, steps: Steps[T]) -> T:
        """Run them to their end."""
        ...


class AsyncStepRunner(Protocol):
    """Runs steps in a task."""

    def run(self, steps: Steps[T]) -> Awaitable[T]:
        """Run them to their end."""
        ...


class Whose(Protocol):
    """Whose call it is, and to whom."""

    @property
    def provider(self) -> str | None:
        """The provider, as prices know it."""
        ...

    @property
    def tags(self) -> Mapping[str, str]:
        """The tags of its scope."""
        ...

    @property
    def scope(self) -> Scope | None:
        """The scope itself."""
        ...


class Later(Protocol):
    """Keeps what goes on in the background after an answer."""

    def keep(self, charge: Any, answer: Answer) -> Steps[None]:
        """Keep the charge of work that has begun, until a look shows how it ended."""
        ...

    def file(self, file_id: str) -> Steps[Any]:
        """What is known of an uploaded file of requests."""
        ...


class Notices:
    """What is said once, and what is remembered of calls that are over."""

    def __init__(self, news: Tidings = NO_NEWS) -> None:
        self.news = news
        self._warned: dict[str, object] = {}
        self._cuts = count(1)
        self._settled: dict[str, Mapping[str, str]] = {}
        self.cut_answers = 0
        """How many answers ended at an output cap that was added here."""

    def warn_once(self, key: str, text: str, *args: object) -> None:
        """Log a warning the first time that there is cause for it."""
        if key not in self._warned and self._warned.setdefault(key, mine := object()) is mine:  # of several threads one
            log.warning(text, *args)

    def warn_opaque(self, name: str) -> None:
        """Say that an operation is let through but cannot be counted."""
        self.warn_once(
            name, "%s: its cost cannot be read from its reply and is not counted; budgets only gate it", name
        )

    def warn_unpriced(self, model: str, *, assumed: bool = False) -> None:
        """Say that a model's cost is not known, where no budget had to know it, or the dearest is `assumed`."""
        what = "the dearest of its provider is assumed" if assumed else "what it costs is not counted"
        self.warn_once(f"unpriced {model}", "the price of %r is not known: %s", model, what)
        self.news.unpriced(model, assumed)

    def note_fewer(self, calls: int, field: str) -> None:
        """Say that hosted tools were bounded to what a budget had room for."""
        self.warn_once(
            "tools",
            "a hard budget had room for %d calls of hosted tools, each of which reads the model's context once more: "
            "%s was set to that; state it yourself, or raise the budget",
            calls,
            field,
        )

    def note_cut(self, cap: int, advice: str) -> None:
        """Count an answer that ended at a cap of ours, and say so, and what to do."""
        self.cut_answers = next(self._cuts)
        self.warn_once(
            "cut",
            "an answer was cut at %d output tokens, its part of what its budget has left: %s, or say in_flight=1 if "
            "calls are made one at a time",
            cap,
            advice,
        )

    def note_settled(self, response_id: str, tags: Mapping[str, str]) -> None:
        """Remember for a while that the cost of a response is on the books, and under which tags."""
        if len(self._settled) >= _SETTLED_RESPONSES:
            self._settled.pop(next(iter(self._settled)), None)
        self._settled[response_id] = tags

    def settled_tags(self, response_id: str | None) -> Mapping[str, str] | None:
        """The tags of the guarded call that this response answered; `None` if there was none."""
        return None if response_id is None else self._settled.get(response_id)


class Parts:
    """The parts of one guard."""

    def __init__(
        self,
        *,
        plans: Plans,
        ledger: Ledger,
        settings: Settings,
        notices: Notices,
        later: Later,
        shell: StepRunner,
        async_shell: AsyncStepRunner,
        clock: Clock,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.plans = plans
        self.ledger = ledger
        self.settings = settings
        self.notices = notices
        self.later = later
        self.clock = clock
        self.levels: dict[str, int] = {}
        """What was last heard to be settled on accounts near whose limit a fallback is asked, by their keys."""
        self.shell = shell
        """Runs what nobody is there to wait for."""
        self.async_shell = async_shell
        self.telemetry = telemetry
        """Tells OpenTelemetry of calls; `None`: nobody does."""

    def true_cost(self, provider: str | None, asked: str, answer: Answer) -> Nano | None:
        """The price of an answer by the model that answered, else by the one asked for; `None` if it is not known."""
        prices, coverage = self.plans.prices, self.plans.coverage
        at_ms = int(coverage.clock() * 1000) + coverage.skew_ms
        if answer.region is not None:
            provider = in_region(provider, answer.region)
        try:
            tariff = prices.settlement(provider, asked, answer.model, answer.tier, at_ms)
            cost = tariff.cost(answer.usage or NOTHING)
            for model, usage in answer.also:
                cost += prices.tariff(provider, model, answer.tier, at_ms).cost(usage)
        except UnpricedModelError:
            return None
        return cost

    def assumed_cost(self, provider: str | None, asked: str, answer: Answer) -> Nano | None:
        """The same at the dearest prices of the provider, where these are assumed; it is said once of each model."""
        plans = self.plans
        self.notices.warn_unpriced(answer.model or asked, assumed=plans.assume)
        if not plans.assume:
            return None
        try:
            cost = plans.prices.dearest(provider, answer.tier)[1].cost
            return sum(map(cost, (answer.usage or NOTHING, *[usage for _, usage in answer.also])))
        except UnpricedModelError:  # of a kind that it does not sell
            return None

    def tell_refused(
        self,
        refusal: Refusal,
        asked: Whose,
        model: str,
        wanted: int = 0,
        tallies: Sequence[Tally] = (),
        *,
        paused: bool = False,
    ) -> None:
        """Have it told that a call was refused which wanted at least this much, or on a budget that is paused."""
        marks, account, now_ms = self.plans.coverage.marks, refusal.account, self.plans.coverage.now_ms()
        scope = next((own.mark for own in tallies if own.account is account), None)
        mark = scope or marks.by_key.get(account.key)
        call = RefusedCall(refusal, wanted, asked.tags, model, asked.provider or "", now_ms, mark, paused)
        marks.news.refused(call)
        if scope is not None:
            scope.news.refused(call)

    def read_terms(self, tags: Mapping[str, str]) -> None:
        """Ask for the budget of the user in these tags, and for steers, where no hold would be told of them."""
        store = self.ledger.books.store
        if store is None:
            return
        self.plans.coverage.read_steers(store)
        if "user" in tags:
            terms = store.terms(terms_key(tags["user"]))
            if terms is not None:
                self.plans.coverage.learn(Stale(0, (terms,)))

    def read_users(self) -> None:
        """Ask the store whether any user has a budget."""
        store = self.ledger.books.store
        self.plans.coverage.people(store is not None and next(store.all_terms(USERS), None) is not None)

    def balances(self, tags: Mapping[str, str], tallies: Sequence[Tally]) -> list[tuple[Account, Balance]]:
        """Every account that a call with these tags touches now, and what it has taken; reads the store."""
        self.read_terms(tags)
        pairs = [(tally.account, tally.balance) for tally in tallies]
        store = self.ledger.books.store
        if store is None:
            return pairs
        accounts = self.plans.coverage.cover(tags).accounts
        keys = [key for account in accounts for key in (account.key, *account.window)]
        taken = {balance.key: balance for balance in store.balances(keys)}
        for account in accounts:
            parts = [taken[key] for key in (account.key, *account.window)]
            settled, held = sum(part.settled for part in parts), sum(part.held for part in parts)
            pairs.append((account, Balance(account.key, settled, held)))
        return pairs
