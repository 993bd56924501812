"""
The guard: budgets, prices and a store, put around calls.

`Guard` knows which ledgers a call touches. `Shell` and `AsyncShell` run what a
`Charge` decides, and differ by `async` and `await` only.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count
from typing import Any, Literal, TypeVar

from .background import Background
from .batches import BatchCharge
from .budgets import DEFAULT_IN_FLIGHT, Budget, require_choice, terms_key
from .calls import NOTHING, UNKNOWN_HOST, Answer, Endpoint, Host
from .charge import Charge
from .coverage import Coverage
from .errors import ConfigError, UnpricedModelError
from .interrupts import raise_interruption
from .journal import Journal
from .journal_files import Kept
from .leases import Leases
from .ledger import DEFAULT_TTL_MS, Account, Balance, Clock, Conflict, Millis, OwnTime, Stale, Store
from .loops import called, in_thread, running_loop
from .money import Money, Nano, parse_dollars
from .prices import PriceBook
from .process import PROCESS, Process
from .scope import NO_TAGS, Scope
from .steps import Step, Steps
from .tally import Tally
from .waiting import LINE

log = logging.getLogger("budgetguard")
T = TypeVar("T")

_SETTLED_RESPONSES = 10_000
_STORE_THREADS = 8


@dataclass(frozen=True, slots=True)
class Settings:
    """
    What a guard assumes where nobody says.

    * `ttl_ms`: how long a hold counts when its process dies.
    * `output_guess`: the most output tokens of a model whose maximum is not known.
    * `context_guess`: the most input tokens of a call whose input the provider keeps (a stored conversation).
    * `abandoned`: a stream that is left before its end costs its input and what arrived ("observed"), or all that was
      held ("held"). "auto" is the first where no hard budget counts on it, or it was closed and its host stops billing
      then, and else the second: a provider writes on for nobody. That of a model which reasons unseen always costs
      what was held: what arrived says nothing of the bill.
    * `usage_hosts`: further hosts, "host" or "host:port", that understand `stream_options.include_usage`.
    * `on_store_error`: while the store cannot be reached, refuse calls with `StoreError` ("closed"), or let them pass
      as long as `allowance` lasts ("open"): dollars that this process may spend before they are on the books.
    * `journal`: the directory where settlements wait for a store that cannot be reached; by default beside the file
      of a SQLite store.
    """

    ttl_ms: Millis = DEFAULT_TTL_MS
    output_guess: int = 8_192
    context_guess: int = 1_050_000
    abandoned: Literal["auto", "observed", "held"] = "auto"
    usage_hosts: frozenset[str] = frozenset()
    on_store_error: Literal["closed", "open"] = "closed"
    allowance: Money | float | str | None = None
    journal: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        require_choice(self.on_store_error, ("closed", "open"), "on_store_error")
        if (self.on_store_error == "open") != (self.allowance is not None):
            raise ConfigError(
                f"on_store_error={self.on_store_error!r}, allowance={self.allowance!r}: the dollars that may be spent "
                "while the store is away are needed with 'open', and mean nothing with 'closed'"
            )

    def spare(self) -> Tally | None:
        """What may be spent while the store is away."""
        if self.allowance is None:
            return None
        limit = parse_dollars(self.allowance, name="allowance")
        return Tally(Account("allowance//all", limit, share=DEFAULT_IN_FLIGHT))


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


class Shell:
    """Runs charges where it stands."""

    def send(
        self,
        charge: Charge,
        proceed: Callable[[], T],
        observe: Callable[[T], None],
        failed: Callable[[BaseException], None],
    ) -> T:
        """Admit a charge, send its call, and close it."""
        try:
            try:
                self.run(charge.admit())
                response = proceed()
                observe(response)
                return response
            except GeneratorExit as error:  # a coroutine that is thrown away cannot wait for anything
                failed(error)
                charge.watched = True
                charge.leave()
                raise
            except BaseException as error:
                failed(error)
                raise
            finally:
                if not charge.watched:
                    self.run(charge.close())
        finally:  # interrupted in there
            if not (charge.ended or charge.watched):
                charge.leave()

    def run(self, steps: Steps[T]) -> T:
        """Run the steps of a decision to its end."""
        try:
            step = next(steps)
            while True:
                try:
                    result = self.step(step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as done:
            value: T = done.value
            return value

    def step(self, step: Step) -> Any:
        """Run one step."""
        if step.turn is not None:
            step.turn.wait(LINE.pause_s(step.turn))
        return step.run()


class AsyncShell:
    """Runs charges on an event loop: what may block goes to a thread, and survives the cancellation of its task."""

    def __init__(self) -> None:
        self._threads: ThreadPoolExecutor | None = None
        self._pid = 0

    async def send(
        self,
        charge: Charge,
        proceed: Callable[[], Awaitable[T]],
        observe: Callable[[T], None],
        failed: Callable[[BaseException], None],
    ) -> T:
        """Admit a charge, send its call, and close it."""
        try:
            try:
                await self.run(charge.admit())
                response = await proceed()
                observe(response)
                return response
            except GeneratorExit as error:  # a coroutine that is thrown away cannot wait for anything
                failed(error)
                charge.watched = True
                charge.leave()
                raise
            except BaseException as error:
                failed(error)
                raise
            finally:
                if not charge.watched:
                    await self.run(charge.close())
        finally:  # interrupted in there
            if not (charge.ended or charge.watched):
                charge.leave()

    async def run(self, steps: Steps[T]) -> T:
        """Run the steps of a decision to its end."""
        try:
            step = next(steps)
            while True:
                try:
                    result = await self.step(step)
                except BaseException as error:
                    step = steps.throw(error)
                else:
                    step = steps.send(result)
        except StopIteration as done:
            value: T = done.value
            return value

    async def step(self, step: Step) -> Any:
        """Run one step, in a thread if it may block."""
        if step.turn is not None:
            await called(step.turn, LINE.pause_s(step.turn))
        if not step.blocking:
            return step.run()
        loop = running_loop()
        if loop is None:
            return await in_thread(step.run)
        try:
            done = loop.run_in_executor(self._pool(), step.run)
        except RuntimeError as error:  # the interpreter is ending, and starts no thread any more
            raise_interruption(error)
            return step.run()
        return await asyncio.shield(done)

    def _pool(self) -> ThreadPoolExecutor:
        # Our own threads: the loop's default ones may all be waiting in the caller's code.
        if self._threads is None or self._pid != os.getpid():
            self._pid = os.getpid()
            self._threads = ThreadPoolExecutor(_STORE_THREADS, thread_name_prefix="budgetguard-store")
        return self._threads
