"""
The guard: budgets, prices and a store, put around calls.

`Guard` knows which ledgers a call touches, and what an answer cost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any

from ..budgets.accounts import Coverage
from ..budgets.rules import Budget, terms_key
from ..calls import NOTHING, UNKNOWN_HOST, Answer, Endpoint, Host
from ..errors import ConfigError, UnpricedModelError
from ..ledger import (
    Account,
    Balance,
    Clock,
    Conflict,
    OwnTime,
    Stale,
    Store,
)
from ..money import Nano
from ..prices.book import PriceBook, in_region
from ..process.journal import Journal
from ..process.journal_files import Kept
from ..process.leases import Leases
from ..process.state import PROCESS, Process
from ..process.tally import Tally
from .background.background import Background
from .background.batches import BatchCharge
from .charge import Charge
from .scope import NO_TAGS, Scope
from .settings import Settings
from .shells import AsyncShell, Shell

log = logging.getLogger("budgetguard")

_SETTLED_RESPONSES = 10_000


class Guard:
    """
    Checks calls before they are sent, and settles them after.

    `store` keeps the users' own budgets and the spend under `budgets` (rules); without one, only the limits of
    this process hold. Every argument has a default, and nothing is read from files or the environment.
    """

    def __init__(
        self,
        store: Store | None = None,
        prices: PriceBook | None = None,
        budgets: Sequence[Budget] = (),
        *,
        clock: Clock = time.time,
        settings: Settings | None = None,
        process: Process = PROCESS,
    ) -> None:
        if isinstance(budgets, Budget) or not all(isinstance(budget, Budget) for budget in budgets):
            raise ConfigError(f"budgets={budgets!r}: a sequence of Budget(...) is needed")
        names = [budget.name for budget in budgets]
        for name in names:
            if names.count(name) > 1 or name in {"users", "models", "max_budget", "scope"}:
                raise ConfigError(f"budgets: the name {name!r} is taken: give every budget a name of its own")
        self.store = store
        timed: object = store
        if isinstance(timed, OwnTime):
            timed.living = process.keeper.living
        self.prices = prices if prices is not None else PriceBook()
        self.budgets = tuple(budgets)
        self.coverage = Coverage(budgets, clock)
        self.clock = clock
        self.settings = settings or Settings()
        self.process = process
        self.spare = self.settings.spare()
        self.journal = None if store is None else Journal.of(store, self._land, self.settings.journal)
        self.leases: Leases | None = None
        if store is not None and self.journal is not None and any(budget.lease for budget in budgets):
            self.leases = Leases(store, self.journal, self.settings.ttl_ms)
        self.shell = Shell()
        self.async_shell = AsyncShell()
        self._settled: dict[str, Mapping[str, str]] = {}
        self.background = Background(store)
        self._warned: set[str] = set()
        self._cuts = count(1)
        self.cut_answers = 0
        """How many answers ended at an output cap that was added here."""

    # -- which ledgers -------------------------------------------------------------------------------------------

    def covers(self, scope: Scope | None) -> bool:
        """Whether a call in this scope can touch any ledger at all."""
        return self.store is not None or scope is not None or self.process.tally is not None

    def charge(
        self,
        endpoint: Endpoint,
        body: Mapping[str, Any],
        files: Sequence[Any],
        provider: str | None,
        scope: Scope | None,
        *,
        host: Host = UNKNOWN_HOST,
    ) -> Charge:
        """The charge of one call, read from its request."""
        assert endpoint.request is not None
        call = endpoint.request(body, files, host)
        tags = scope.tags if scope is not None else NO_TAGS
        if call.user is not None and "user" not in tags:
            tags = {**tags, "user": call.user}
        if call.region:
            provider = in_region(provider, call.region)
        made = Charge if call.file is None else BatchCharge
        return made(self, endpoint, call, provider=provider, scope=scope, tags=tags, host=host)

    def tallies(self, scope: Scope | None) -> tuple[Tally, ...]:
        """The limits of this process that a call in this scope is under."""
        own = scope.tallies if scope is not None else ()
        whole = self.process.tally
        return own if whole is None else (whole, *own)

    def balances(self, tags: Mapping[str, str], scope: Scope | None) -> list[tuple[Account, Balance]]:
        """Every account that a call with these tags touches now, and what it has taken; reads the store."""
        self.read_terms(tags)
        pairs = [(tally.account, tally.balance) for tally in self.tallies(scope)]
        if self.store is None:
            return pairs
        accounts = self.coverage.cover(tags).accounts
        keys = [key for account in accounts for key in (account.key, *account.window)]
        taken = {balance.key: balance for balance in self.store.balances(keys)}
        for account in accounts:
            parts = [taken[key] for key in (account.key, *account.window)]
            settled, held = sum(part.settled for part in parts), sum(part.held for part in parts)
            pairs.append((account, Balance(account.key, settled, held)))
        return pairs

    def read_terms(self, tags: Mapping[str, str]) -> None:
        """Ask the store for the budget of the user in these tags, where there is no hold that would be told of it."""
        if self.store is not None and "user" in tags:
            terms = self.store.terms(terms_key(tags["user"]))
            if terms is not None:
                self.coverage.learn(Stale(0, (terms,)))

    # -- what it cost --------------------------------------------------------------------------------------------

    def true_cost(self, provider: str | None, asked: str, answer: Answer) -> Nano | None:
        """The price of an answer by the model that answered, else by the one asked for; `None` if it is not known."""
        at_ms = self.coverage.now_ms()
        if answer.region is not None:
            provider = in_region(provider, answer.region)
        try:
            tariff = self.prices.settlement(provider, asked, answer.model, answer.tier, at_ms)
            cost = tariff.cost(answer.usage or NOTHING)
            for model, usage in answer.also:
                cost += self.prices.tariff(provider, model, answer.tier, at_ms).cost(usage)
        except UnpricedModelError:
            self.warn_unpriced(answer.model or asked)
            return None
        return cost

    def note_settled(self, response_id: str, tags: Mapping[str, str]) -> None:
        """Remember for a while that the cost of a response is on the books, and under which tags."""
        if len(self._settled) >= _SETTLED_RESPONSES:
            self._settled.pop(next(iter(self._settled)), None)
        self._settled[response_id] = tags

    def settled_tags(self, response_id: str | None) -> Mapping[str, str] | None:
        """The tags of the guarded call that this response answered; `None` if there was none."""
        return None if response_id is None else self._settled.get(response_id)

    # -- while the store is away ---------------------------------------------------------------------------------

    def flush(self, timeout_s: float = 5.0) -> bool:
        """
        Send the settlements that wait for the store until they have landed, or the time is over; whether they have.

        The parts of leased budgets that no call uses go back to the store, too.
        """
        leases = self.leases is None or self.leases.close(timeout_s)
        return (self.journal is None or self.journal.flush(timeout_s)) and leases

    def close(self) -> None:
        """Give all leases back, and close the store's files and connections."""
        if self.leases is not None:
            self.leases.close()
        if self.store is not None:
            self.store.close()

    def _land(self, kept: Kept) -> None:
        """Settle what was kept in the journal."""
        assert self.store is not None
        hold, entry = kept.hold, kept.entry
        if kept.asked is not None:
            self.read_terms(entry.tags)
            cover = self.coverage.cover(entry.tags, kept.at_ms)
            hold = hold._replace(accounts=cover.accounts)
            entry = entry._replace(accounts=cover.counters(kept.asked))
        outcome = self.store.settle(hold, entry)
        if isinstance(outcome, Conflict):
            log.error("call %s was settled at %d before, now at %d", hold.id, outcome.recorded, entry.cost)

    # -- saying things once --------------------------------------------------------------------------------------

    def warn_once(self, key: str, text: str, *args: object) -> None:
        """Log a warning the first time that there is cause for it."""
        if key not in self._warned:
            self._warned.add(key)
            log.warning(text, *args)

    def warn_opaque(self, name: str) -> None:
        """Say that an operation is let through but cannot be counted."""
        self.warn_once(
            name, "%s: its cost cannot be read from its reply and is not counted; budgets only gate it", name
        )

    def warn_unpriced(self, model: str) -> None:
        """Say that a model's cost is not known, where no budget had to know it."""
        self.warn_once(f"unpriced {model}", "the price of %r is not known: what it costs is not counted", model)

    def note_fewer(self, calls: int, field: str) -> None:
        """Say that hosted tools were bounded to what a budget had room for."""
        self.warn_once(
            "tools",
            "a hard budget had room for %d calls of hosted tools, each of which reads the model's context once more: "
            "%s was set to that; state it yourself, or raise the budget",
            calls,
            field,
        )

    def note_cut(self, cap: int) -> None:
        """Count an answer that ended at a cap of ours, and say so."""
        self.cut_answers = next(self._cuts)
        self.warn_once(
            "cut",
            "an answer was cut at %d output tokens, the share of its budget: state an output cap, or lower in_flight",
            cap,
        )
