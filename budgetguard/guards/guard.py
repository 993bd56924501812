"""
The guard: budgets, prices and a store, put around calls.

`Guard` knows which ledgers a call touches, and what an answer cost.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from ..budgets.accounts import Coverage
from ..budgets.news import NO_NEWS, Tidings, tell
from ..budgets.rules import Budget
from ..budgets.steering.declaring import Declaring
from ..calls import UNKNOWN_HOST, Endpoint, Host
from ..errors import ConfigError
from ..ledger import Account, Balance, Clock, Conflict, OwnTime, Store
from ..ledger.ids import began_ms
from ..prices.book import PriceBook
from ..prices.given import GivenPrices, book_of
from ..prices.tariffs import in_region
from ..process.journal import Journal
from ..process.journal_files import Kept
from ..process.layers import Ledger
from ..process.leases import Leases
from ..process.state import PROCESS, Process
from ..process.tally import Tally
from ..telemetry.telemetry import Telemetry
from .admission import Asked
from .background.background import Background
from .background.batches import BatchCharge
from .charge import Charge
from .parts import Notices, Parts
from .plan import Plans
from .scope import NO_TAGS, Scope
from .settings import Settings
from .shells import AsyncShell, Shell

log = logging.getLogger("budgetguard")


class Guard:
    """
    Checks calls before they are sent, and settles them after.

    `store` keeps the users' own budgets and the spend under `budgets` (rules); without one, only the limits of
    this process hold. `prices` are a `PriceBook`, the path of a price file, or a mapping of models (as in
    `PriceBook(overrides=)`). Every argument has a default, and nothing is read from files or the environment.
    """

    def __init__(
        self,
        store: Store | None = None,
        prices: GivenPrices | None = None,
        budgets: Sequence[Budget] = (),
        *,
        clock: Clock = time.time,
        settings: Settings | None = None,
        process: Process = PROCESS,
        news: Tidings = NO_NEWS,
    ) -> None:
        self.budgets = require_budgets(budgets)
        _require_settings(store, settings)
        self.store = store
        timed: object = store
        if isinstance(timed, OwnTime):
            timed.living = process.keeper.living
        self.prices = PriceBook() if prices is None else book_of(prices)
        self.coverage = Coverage(budgets, clock, news)
        self._declaring = None if store is None or not self.budgets else Declaring(store, self.budgets)
        self.clock = clock
        self.settings = settings or Settings()
        self.process = process
        self.ledger = self._ledger(store)
        self.shell = Shell()
        self.async_shell = AsyncShell()
        self.background = Background(store)
        self.notices = Notices(news)
        self.parts = self._parts()

    def _parts(self) -> Parts:
        begin = None if self._declaring is None else self._declaring.begin
        stored, settings = self.store is not None, self.settings
        return Parts(
            plans=Plans(self.prices, self.coverage, stored=stored, settings=settings, begin=begin),
            ledger=self.ledger,
            settings=settings,
            notices=self.notices,
            later=self.background,
            shell=self.shell,
            async_shell=self.async_shell,
            clock=self.clock,
            telemetry=None if settings.telemetry == "off" else Telemetry(settings.telemetry_tags),
        )

    def _ledger(self, store: Store | None) -> Ledger:
        settings, leases = self.settings, None
        journal = None if store is None else Journal.of(store, self._land, settings.journal)
        if store is not None and journal is not None and any(budget.lease for budget in self.budgets):
            hear, marks = partial(self.coverage.read_steers, store), self.coverage.marks.by_key
            leases = Leases(store, journal, settings.ttl_ms, hear=hear, marks=marks)
        return Ledger(store, journal, leases, settings.spare(), settings.allowance, marks=self.coverage.marks)

    @property
    def journal(self) -> Journal | None:
        """Where settlements wait while the store is away; there is one for every store."""
        return self.ledger.books.journal

    @journal.setter
    def journal(self, journal: Journal | None) -> None:
        self.ledger.books.journal = journal

    @property
    def leases(self) -> Leases | None:
        """The parts of budgets that this process holds, where one may be leased."""
        return self.ledger.slices.leases

    @leases.setter
    def leases(self, leases: Leases | None) -> None:
        self.ledger.slices.leases = leases

    @property
    def spare(self) -> Tally | None:
        """What may be spent while the store is away."""
        return self.ledger.books.spare

    @property
    def cut_answers(self) -> int:
        """How many answers ended at an output cap that was added here."""
        return self.notices.cut_answers

    # -- which ledgers -------------------------------------------------------------------------------------------

    def covers(self, scope: Scope | None) -> bool:
        """Whether a call in this scope can touch any ledger at all."""
        process = self.process
        return self.store is not None or scope is not None or process.tally is not None or bool(process.followers)

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
        if self.process.tags:
            tags = {**self.process.tags, **tags}
        if call.user is not None and "user" not in tags:
            tags = {**tags, "user": call.user}
        if call.region:
            provider = in_region(provider, call.region)
        asked = Asked(endpoint, provider, host, tags, scope)
        tallies: Sequence[Tally] = () if scope is None and self.process.tally is None else self.tallies(scope)
        return (Charge if call.file is None else BatchCharge)(self.parts, asked, call, tallies)

    def tallies(self, scope: Scope | None) -> tuple[Tally, ...]:
        """The limits of this process that a call in this scope is under."""
        own = scope.tallies if scope is not None else ()
        whole = self.process.tally
        return own if whole is None else (whole, *own)

    def balances(self, tags: Mapping[str, str], scope: Scope | None) -> list[tuple[Account, Balance]]:
        """
        Every account that a call with these tags touches now, and what it has taken; reads the store.

        What this process settled from its leases is sent first: the store does not know of it yet.
        """
        if self.leases is not None:
            self.leases.flush()
        return self.parts.balances(tags, self.tallies(scope))

    def settled_tags(self, response_id: str | None) -> Mapping[str, str] | None:
        """The tags of the guarded call that this response answered; `None` if there was none."""
        return self.notices.settled_tags(response_id)

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
        if self._declaring is not None:
            self._declaring.close()
        if self.leases is not None:
            self.leases.close()
        self.notices.news.close()
        if self.store is not None:
            self.store.close()

    def _land(self, kept: Kept) -> None:
        """Settle what was kept in the journal."""
        assert self.store is not None
        hold, entry = kept.hold, kept.entry
        if kept.asked is not None:
            self.parts.read_terms(entry.tags)
            cover = self.coverage.cover(entry.tags, kept.at_ms)
            hold = hold._replace(accounts=cover.accounts)
            entry = entry._replace(accounts=cover.counters(kept.asked))
        elif any(budget.warn_at for budget in self.budgets):  # this process may not know its accounts
            self.coverage.cover(entry.tags, began_ms(hold.id))
        outcome = self.store.settle(hold, entry)
        if isinstance(outcome, Conflict):
            log.error("call %s was settled at %d before, now at %d", hold.id, outcome.recorded, entry.cost)
        tell(self.coverage.marks.by_key, outcome)


def _require_settings(store: Store | None, settings: Settings | None) -> None:
    """Raise `ConfigError` for what are no settings, and if users have to be known, and nothing knows any."""
    if settings is not None and not isinstance(settings, Settings):
        raise ConfigError(f"settings={settings!r}: Settings(...) is needed, such as Settings(unscoped='refuse')")
    if store is None and settings is not None and settings.users == "known":
        raise ConfigError("users='known': users' budgets live in a store: name one in BUDGETGUARD_STORE, or as store=")


def require_budgets(budgets: Sequence[Budget]) -> tuple[Budget, ...]:
    """These budgets; raises `ConfigError` for what are none, or share a name."""
    if isinstance(budgets, Budget) or not all(isinstance(budget, Budget) for budget in budgets):
        raise ConfigError(f"budgets={budgets!r}: a sequence of Budget(...) is needed")
    names = [budget.name for budget in budgets]
    for name in names:
        if names.count(name) > 1 or name in {"users", "models", "max_budget", "scope"}:
            raise ConfigError(f"budgets: the name {name!r} is taken: give every budget a name of its own")
    return tuple(budgets)
