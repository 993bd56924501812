"""
Many clients, one store, and everything between them going wrong: played in a time of its own, from a seed.

The clients are the real thing: `Guard`, `Charge`, the shell's `send` and `run`, `Journal` on real files, and a real
store behind. What is played is what lies around them: the network (messages are lost, doubled and late), the clocks
(they differ, and step), the processes (they are cancelled, stopped and killed, and start again) and the provider.
One thread runs all of it, and every choice is drawn from one seeded generator: a seed that fails, fails again.

`Oracle` keeps the books a second time, by its own few rules, and every answer of the store is held against them as
it is given. What must be true in the end is in `World.audit`.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import budgetguard.guards.charge
import budgetguard.process.journal_files
import budgetguard.process.leases
from budgetguard.adapters import openai as adapter
from budgetguard.budgets.rules import Budget, UserBudget, terms_key
from budgetguard.budgets.steering.declaring import Declaring
from budgetguard.calls import Answer
from budgetguard.concurrency.steps import Step
from budgetguard.errors import BudgetExceededError, StoreError
from budgetguard.guards.charge import Charge
from budgetguard.guards.guard import Guard
from budgetguard.guards.scope import Scope
from budgetguard.guards.settings import Settings
from budgetguard.guards.shells import AsyncShell
from budgetguard.ledger import (
    USUAL,
    Account,
    Admitted,
    Clock,
    Conflict,
    Ended,
    Entry,
    Hold,
    Refusal,
    Settled,
    Stale,
    Store,
    Unit,
    Wanted,
    new_id,
    unit_of,
)
from budgetguard.money import Money
from budgetguard.prices.book import PriceBook
from budgetguard.process.journal import Journal
from budgetguard.process.keeper import Keeper
from budgetguard.process.layers import is_stored
from budgetguard.process.leases import Leases
from budgetguard.process.state import PROCESS

MODEL = "gpt-4o-mini"
INPUT, OUTPUT = 150, 600
"""Nano-dollars a token."""
PRICES = PriceBook(overrides={MODEL: {"input": INPUT / 1000, "output": OUTPUT / 1000}})
ENDPOINT = adapter.find("post", "/chat/completions")

START_MS = 1_798_847_880_000
"""Two minutes before a midnight in UTC: every run sees a day end."""
TTL_MS = 60_000
LOOK_MS = 5_000
"""How often a process looks which of its calls live: more often than it must, for a run is short."""
RESERVE_MS = 250
SETTLE_MS = 500
ALLOWANCE = 60_000
DAY, LEASED_DAY = 600_000, 150_000
"""What may be spent in a day; where it is leased, little enough that the last slices are fought over."""
TOKENS, CALLS, LEASED_TOKENS, LEASED_CALLS = 700, 12, 250, 6
"""What may be used in a day of tokens and of requests, in worlds that count them."""

SEATS = 3
"""Calls at once, in worlds without leases: a call that has a place is held in the store, whatever pays for it."""

BUDGETS = ("day/", "tokens/", "calls/", "seats/")
"""How the keys of the accounts that all calls touch begin."""

USERS = ("ann", "bob", "cyd")

StoreMaker = Callable[[Clock, Path], Store]


@dataclass(frozen=True)
class Faults:
    """How often what goes wrong, as probabilities."""

    lost: float = 0.05
    doubled: float = 0.05
    late: float = 0.05
    cancelled: float = 0.08
    killed: float = 0.04
    stopped: float = 0.04
    slow: float = 0.04
    clock: float = 0.10
    away: float = 0.08


class Crash(BaseException):
    """The process is gone: whatever its code still does has no effect."""


class ProviderRefused(Exception):
    """The provider answered with an error, and bills nothing."""


class ConnectionLost(Exception):
    """The provider took the request, and its answer never came."""


class Wait:
    """What a task waits for; the value it goes on with is sent by `World.resume`."""

    def __await__(self) -> Generator[Wait, Any, Any]:
        return (yield self)


class Task:
    """A coroutine on a client, and what it waits for."""

    def __init__(self, client: Client, work: Coroutine[Any, Any, None]) -> None:
        self.client = client
        self.work = work
        self.waits: Wait | None = None
        self.done = False


@dataclass
class Record:
    """What truly became of one call."""

    client: Client
    charge: Charge
    sent: bool = False
    spared: bool = False
    """Whether it was sent on the allowance, while the store was away."""
    bill: int = 0
    """What the provider charges for it."""
    tokens: int = 0
    """What it has used."""
    used: tuple[int, int] = (0, 0)
    """The tokens that must stand on the books in the end, at least and at most, if it is to be there."""
    due: tuple[int, int] | None = None
    """What must stand on the books in the end, at least and at most; `None`: nothing."""
    over: bool = False
    """Whether its client came to its end with it."""


class Client:
    """One process: a guard, its journal, and the tasks it runs."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.dead = False
        self.stopped_until = 0
        self.skew_ms = world.random.choice([0, 0, -90_000, 45_000, 86_400_000])
        open_ = world.random.random() < 0.3
        settings = Settings(
            ttl_ms=TTL_MS,
            on_store_error="open" if open_ else "closed",
            allowance=Money(ALLOWANCE) if open_ else None,
        )
        rules = [Budget("day", Money(world.day), "daily", in_flight=4, lease=world.leased)]
        if world.units:
            tokens, calls = (LEASED_TOKENS, LEASED_CALLS) if world.leased else (TOKENS, CALLS)
            rules.append(Budget("tokens", tokens, "daily", in_flight=4, lease=world.leased, unit="tokens"))
            rules.append(Budget("calls", calls, "daily", lease=world.leased, unit="requests"))
            rules += [] if world.leased else [Budget("seats", SEATS, unit="parallel")]
        link: Any = Link(self)
        self.guard = Guard(link, PRICES, rules, clock=self.clock, settings=settings)
        self.guard.journal = self.journal = world.make_journal(self)
        self.leases = world.make_leases(self, link)
        if world.leased:
            self.guard.leases = self.leases
        self.guard.async_shell = self.guard.parts.async_shell = Shell(self)
        self.tasks: list[Task] = []

    def clock(self) -> float:
        return (self.world.now + self.skew_ms) / 1000


class Shell(AsyncShell):
    """The real shell; what its steps ask of the store goes over the network that is played."""

    def __init__(self, client: Client) -> None:
        super().__init__()
        self.client = client

    async def step(self, step: Step) -> Any:
        client, world = self.client, self.client.world
        assert step.turn is None, "no call here waits for room"
        if client.dead:
            raise StoreError("this process is gone")
        work = step.run
        if isinstance(work, partial) and isinstance(getattr(work.func, "__self__", None), Link):
            return await world.ask(client, work.func.__name__, work.args)
        return work()


class Link:
    """The store as a client's code sees it. Called at once (by the journal), it is a network that takes no time."""

    blocking = True
    namespace = ""
    journal = None

    def __init__(self, client: Client) -> None:
        self.client = client

    def _now(self, name: str, *args: Any) -> Any:
        client, world = self.client, self.client.world
        if client.dead or world.away or world.happens("lost"):
            raise StoreError("no connection")
        answer = world.serve(name, args)
        if world.happens("doubled"):
            world.after(world.delay(), lambda: world.serve(name, args))
        if world.happens("lost"):
            raise StoreError("the answer was lost")
        return answer

    def reserve(self, hold: Hold) -> Any:
        return self._now("reserve", hold)

    def settle(self, hold: Hold, entry: Entry) -> Any:
        return self._now("settle", hold, entry)

    def settle_many(self, settlements: Sequence[tuple[Hold, Entry]]) -> Any:
        return self._now("settle_many", settlements)

    def release(self, hold_id: str) -> Any:
        return self._now("release", hold_id)

    def renew(self, holds: Sequence[Hold]) -> Any:
        return self._now("renew", holds)

    def terms(self, key: str) -> Any:
        return self._now("terms", key)

    def balances(self, keys: Sequence[str]) -> Any:
        return self._now("balances", keys)

    def all_terms(self, prefix: str = "") -> Any:
        return self._now("all_terms", prefix)


class Reaper:
    """Ends that were put off because their task was cancelled; run a little later, if the process lives."""

    def __init__(self, world: World) -> None:
        self.world = world

    def put(self, end: Callable[[], None]) -> None:
        client = self.world.records[end.__self__.id].client  # type: ignore[attr-defined]
        self.world.after(5, lambda: None if client.dead else end())


@dataclass
class Open:
    """A hold in the oracle's books."""

    amounts: dict[Unit, int]
    keys: tuple[str, ...]
    due: int
    charge: bool
    """Whether it is spent once it is due."""

    def on(self, key: str) -> int:
        """What it holds on an account, in its unit."""
        return self.amounts.get(unit_of(key), 0) if key in self.keys else 0

    def spends(self, key: str) -> bool:
        """Whether that is spent once it is due: a place never is."""
        return self.charge and unit_of(key) != "parallel"


@dataclass
class Oracle:
    """The books, kept a second time by other rules, and every answer held against them."""

    open: dict[str, Open] = field(default_factory=dict)
    ended: set[str] = field(default_factory=set)
    entries: dict[str, tuple[dict[Unit, int], tuple[str, ...]]] = field(default_factory=dict)
    settled: Counter[str] = field(default_factory=Counter)
    admitted: set[str] = field(default_factory=set)
    latest: int = 0
    """The latest time that the store's clock has shown: what was due by then may be cleared away for good."""

    def held(self, key: str, now: int) -> tuple[int, int]:
        """The least and the most that may be held on an account: a hold that was due may come back with the clock."""
        certain = sum(item.on(key) for item in self.open.values() if item.due > self.latest)
        return certain, sum(item.on(key) for item in self.open.values() if item.due > now)

    def charged(self, key: str, now: int) -> tuple[int, int]:
        """The least and the most that may be spent on an account by holds that are due."""
        charges = [item for item in self.open.values() if item.spends(key)]
        certain = sum(item.on(key) for item in charges if item.due <= now)
        return certain, sum(item.on(key) for item in charges if item.due <= self.latest)

    def taken(self, key: str, now: int) -> tuple[int, int]:
        """The least and the most of the two together."""
        charges = sum(item.on(key) for item in self.open.values() if item.spends(key))
        others = [item for item in self.open.values() if not item.spends(key)]
        certain = sum(item.on(key) for item in others if item.due > self.latest)
        return charges + certain, charges + sum(item.on(key) for item in others if item.due > now)

    def reserve(self, hold: Hold, answer: Any, now: int, versions: dict[str, int]) -> None:
        known = self.open.get(hold.id)
        if isinstance(answer, Admitted):
            assert hold.id not in self.ended, "a hold was placed after its end (P5)"
            assert hold.id not in self.entries, "a hold was placed after it was settled (P5)"
            if known is not None:
                assert known.due > now, "an expired hold was placed again (P5)"
                amounts = {"dollars": answer.amount, **answer.units}
                assert amounts == known.amounts, "a repeated reserve got another amount (P5)"
                return
            self._admit(hold, answer, now, versions)
        elif isinstance(answer, Refusal):
            account = answer.account
            assert account.limit is not None
            most = self.taken(account.key, now)[1]
            wanted = hold.wanted(account.unit)
            need = wanted.amount if wanted.least is None else wanted.least
            room = account.limit - self.settled[account.key] - most
            assert need > room, "a hold was refused for which there was room (P7)"
        elif isinstance(answer, Ended):
            over = known is not None and known.due <= self.latest
            assert over or hold.id in self.ended or hold.id in self.entries, "a hold ended by itself (P5)"
        else:
            assert isinstance(answer, Stale)
            old = any(version != versions.get(key, 0) for key, version in hold.terms)
            assert old or not all(inside(account, now) for account in hold.accounts), "stale without cause (P8)"

    def _admit(self, hold: Hold, answer: Admitted, now: int, versions: dict[str, int]) -> None:
        for key, version in hold.terms:
            assert versions.get(key, 0) == version, "a hold was placed by an old budget (P8)"
        amounts: dict[Unit, int] = {"dollars": answer.amount, **answer.units}
        for account in hold.accounts:
            assert inside(account, now), "a hold was placed in a period of another time (P8)"
            certain, unit = self.taken(account.key, now)[0], account.unit
            assert account.limit is not None
            assert unit in amounts, "a budget counts what was not held (P1)"
            assert self.settled[account.key] + certain + amounts[unit] <= account.limit, "overspent at admission (P1)"
        for unit, amount in amounts.items():
            wanted = hold.wanted(unit)
            assert (wanted.least is None) == (amount == wanted.amount) or amount <= wanted.amount
        keys = tuple(account.key for account in hold.accounts)
        self.open[hold.id] = Open(amounts, keys, now + hold.ttl_ms, hold.on_expire == "charge")
        self.admitted.add(hold.id)

    def settle(self, hold: Hold, entry: Entry, answer: Any, now: int) -> None:
        before, used = self.entries.get(hold.id), entry.amounts()
        if before is not None:
            if isinstance(answer, Conflict):
                assert answer.recorded == before[0]["dollars"], "a conflict with what is not there (P5)"
                assert before[0] != used, "a conflict where there is none (P5)"
            else:
                assert before[0] == used, "settled again at another cost (P5)"
            return
        assert isinstance(answer, Settled)
        assert answer.cost == entry.cost, "not settled in full (P6)"
        known = self.open.pop(hold.id, None)
        if known is None or known.due <= now:
            assert answer.late or not hold.accounts, "a settlement after the hold's end is not marked (P6)"
        elif known.due > self.latest:
            assert not answer.late, "a settlement in time is marked late (P6)"
        keys = known.keys if known is not None else tuple(account.key for account in hold.accounts)
        self.entries[hold.id] = used, keys
        for key in dict.fromkeys((*keys, *entry.accounts)):
            self.settled[key] += used[unit_of(key)]
        for lease_id in hold.leases:
            lease = self.open.get(lease_id)
            if lease is not None:
                lease.amounts = {unit: held - min(used[unit], held) for unit, held in lease.amounts.items()}

    def renew(self, hold: Hold, counts: bool, now: int) -> None:
        ended = hold.id in self.entries or hold.id in self.ended
        assert counts is not ended, "a hold that had ended was renewed, or one that lives was not (P7)"
        if counts:
            known = self.open.get(hold.id)
            if known is None:
                keys = tuple(account.key for account in hold.accounts)
                known = self.open[hold.id] = Open(hold.amounts(), keys, 0, hold.on_expire == "charge")
            known.due = max(known.due, now + hold.ttl_ms)

    def release(self, hold_id: str) -> None:
        if hold_id not in self.entries:
            self.open.pop(hold_id, None)
            self.ended.add(hold_id)


def inside(account: Account, now: int) -> bool:
    return (account.start_ms or 0) <= now and (account.end_ms is None or now < account.end_ms)


class World:
    """Everything, for one seed. `run` raises `AssertionError` where a promise was broken."""

    def __init__(
        self,
        seed: int,
        make_store: StoreMaker,
        faults: Faults | None = None,
        *,
        leased: bool = False,
        units: bool = False,
    ) -> None:
        self.random = Random(seed)
        self.units = units
        """Whether tokens and requests are counted beside dollars."""
        self.leased = leased
        """Whether the budget of the day is leased, and some calls are under no other."""
        self.day = LEASED_DAY if leased else DAY
        self.askers: dict[str, Client] = {}
        """Who asked for which hold over the network."""
        self.faults = faults or Faults()
        self.now = START_MS
        self.offset = 0
        self.away = False
        self.calm = False
        self.oracle = Oracle()
        self.records: dict[str, Record] = {}
        self.acked: dict[str, int] = {}
        self.heard: dict[str, Any] = {}
        """The last answer to a reserve that its client heard."""
        self.seen: Counter[str] = Counter()
        self.versions: dict[str, int] = {}
        self.clients: list[Client] = []
        self.events: list[tuple[float, int, Callable[[], None]]] = []
        self.numbers = count(1)
        self.served = 0
        root = Path("/dev/shm")
        self.directory = Path(tempfile.mkdtemp(prefix="budgetguard-", dir=root if root.is_dir() else None))
        self.store = make_store(lambda: (self.now + self.offset) / 1000, self.directory)

    # Time and chance.

    def happens(self, fault: str) -> bool:
        if self.calm or self.random.random() >= getattr(self.faults, fault):
            return False
        self.seen[fault] += 1
        return True

    def delay(self) -> float:
        return self.random.uniform(100, 2000) if self.happens("late") else self.random.uniform(0.2, 15)

    def after(self, delay_ms: float, do: Callable[[], None]) -> None:
        heappush(self.events, (self.now + delay_ms, next(self.numbers), do))

    def resume(self, task: Task, wait: Wait, value: Any = None, error: BaseException | None = None) -> None:
        """Let a task go on, if it still waits for this and its process is not stopped."""
        client = task.client
        if task.done or client.dead or task.waits is not wait:
            return
        if client.stopped_until > self.now:
            self.after(client.stopped_until - self.now, lambda: self.resume(task, wait, value, error))
            return
        self.go(task, value, error)

    def go(self, task: Task, value: Any = None, error: BaseException | None = None) -> None:
        self.task = task
        task.waits = None
        try:
            task.waits = task.work.send(value) if error is None else task.work.throw(error)
        except StopIteration:
            task.done = True
        except (Cancelled, Crash):
            task.done = True

    async def sleep(self, client: Client, delay_ms: float) -> None:
        wait, task = Wait(), self.task
        self.after(delay_ms, lambda: self.resume(task, wait))
        await wait

    # The network, and the store behind it.

    async def ask(self, client: Client, name: str, args: tuple[Any, ...]) -> Any:
        """An operation over the network: its answer, or `StoreError` at the deadline."""
        wait, task = Wait(), self.task
        if name == "reserve":
            self.askers[args[0].id] = client
        limit = RESERVE_MS if name == "reserve" else SETTLE_MS
        self.after(limit, lambda: self.resume(task, wait, error=StoreError("no answer in time")))
        copies = 1 + self.happens("doubled")
        for _ in range(copies):
            if not self.happens("lost"):
                self.after(self.delay(), lambda: self.deliver(name, args, task, wait))
        answer = await wait
        if name == "settle" and isinstance(answer, Settled):
            self.acked[args[0].id] = args[1].cost
        if name == "reserve":
            self.heard[args[0].id] = answer
        return answer

    def deliver(self, name: str, args: tuple[Any, ...], task: Task, wait: Wait) -> None:
        if self.away:
            return
        answer = self.serve(name, args)
        if not self.happens("lost"):
            self.after(self.delay(), lambda: self.resume(task, wait, answer))

    def serve(self, name: str, args: tuple[Any, ...]) -> Any:
        """Have the store do it, and hold its answer and its books against the oracle's."""
        oracle, now = self.oracle, self.store.now_ms()
        oracle.latest = max(oracle.latest, now)
        answer = getattr(self.store, name)(*args)
        if name == "reserve":
            oracle.reserve(args[0], answer, now, self.versions)
        elif name == "settle":
            oracle.settle(args[0], args[1], answer, now)
        elif name == "settle_many":
            for (hold, entry), one in zip(args[0], answer, strict=True):
                oracle.settle(hold, entry, one, now)
        elif name == "renew":
            for hold, counts in zip(args[0], answer, strict=True):
                oracle.renew(hold, counts, now)
        elif name == "release":
            oracle.release(args[0])
        self.served += 1
        if name in {"reserve", "settle"}:
            self.compare_balances([account.key for account in args[0].accounts], now)
        if name in {"settle", "settle_many", "release"}:
            self.compare_balances([key for key in oracle.settled if key.startswith(BUDGETS)], now)
        if self.served % 25 == 0 or name == "renew":
            self.compare_books()
        return answer

    def compare_balances(self, keys: list[str], now: int) -> None:
        for balance in self.store.balances(keys):
            least, most = self.oracle.held(balance.key, now)
            settled = balance.settled - self.oracle.settled[balance.key]
            charged = self.oracle.charged(balance.key, now)
            assert charged[0] <= settled <= charged[1], "the books miss or invent money (P2)"
            assert least <= balance.held <= most, "the books hold what nobody holds, or less (P2)"

    def compare_books(self) -> None:
        oracle, now = self.oracle, self.store.now_ms()
        oracle.latest = max(oracle.latest, now)
        assert self.store.check() == [], "the books do not add up (P2)"
        entries = list(self.store.entries())
        found = {entry.hold_id: entry.amounts() for entry in entries if "expired" not in entry.flags}
        charged = {entry.hold_id: entry.amounts() for entry in entries if "expired" in entry.flags}
        due = {key: {**USUAL, **oracle.open[key].amounts} for key in charged}
        assert due == charged, "a charge is not what is due (P7)"
        assert found == {key: used for key, (used, _) in oracle.entries.items()}, "an entry is lost (P4)"
        there = {hold.id for hold in self.store.holds()}
        assert {key for key, item in oracle.open.items() if item.due > oracle.latest} <= there, "a hold is lost (P2)"
        assert there <= {key for key, item in oracle.open.items() if item.due > now}, "a hold stays (P7)"

    # The clients.

    def make_journal(self, client: Client) -> Journal:
        guard = client.guard

        def settle(kept: Any) -> None:
            guard._land(kept)

        directory = str(self.directory / "journal")
        journal = Journal(settle, guard.store.release, directory, "", background=False)  # type: ignore[union-attr]
        keep = journal.keep

        def kept(item: Any, landed: Any = None) -> None:
            keep(item, landed)
            self.acked[item.hold.id] = item.entry.cost

        journal.keep = kept  # type: ignore[method-assign]
        return journal

    def make_leases(self, client: Client, link: Store) -> Leases:
        leases = Leases(link, client.journal, TTL_MS, clock=lambda: self.now / 1000, background=False)
        settle = leases.settle

        def settled(hold: Hold, entry: Entry) -> None:
            settle(hold, entry)
            if not client.dead:
                self.acked[hold.id] = entry.cost

        leases.settle = settled  # type: ignore[method-assign]
        return leases

    def start_client(self) -> Client:
        client = Client(self)
        self.clients.append(client)
        for _ in range(2):
            task = Task(client, self.work(client))
            client.tasks.append(task)
            self.after(self.random.uniform(0, 100), lambda task=task: self.go_first(task))
        self.after(200, lambda: self.replay(client))
        self.after(LOOK_MS, lambda: self.keep(client, set()))
        return client

    def keep(self, client: Client, seen: set[str]) -> None:
        """The keeper's thread: what it saw at the last look is renewed, if the process does not stand still."""
        if client.dead:
            return
        own = [record.charge for record in self.records.values() if record.client is client and not record.over]
        living = [kept for charge in own for kept in charge.living()]
        if self.calm and not living:
            return
        living += client.leases.living()
        if client.stopped_until <= self.now:
            due = [each for each in living if each[1].id in seen]  # what ends on the way must stay ended
            self.after(self.random.uniform(0, 2000), lambda: PROCESS.keeper.renew(due))
        self.after(LOOK_MS, lambda: self.keep(client, {hold.id for _, hold in living}))

    def go_first(self, task: Task) -> None:
        if not task.client.dead:
            self.go(task)

    def replay(self, client: Client) -> None:
        if client.dead or self.calm:
            return
        if client.stopped_until <= self.now:
            client.journal.replay()
            with suppress(StoreError):
                client.leases.flush()
        self.after(self.random.uniform(100, 2000), lambda: self.replay(client))

    async def work(self, client: Client) -> None:
        """What one task does: some calls, one after the other."""
        for _ in range(4):
            await self.sleep(client, self.random.uniform(1, 3000))
            try:
                await self.call(client)
            except (BudgetExceededError, StoreError, ProviderRefused, ConnectionLost):
                pass
            except Cancelled:
                if self.calm:
                    return

    async def call(self, client: Client) -> None:
        text = "x" * self.random.randint(1, 40)
        body: dict[str, Any] = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
        if self.random.random() < 0.5:
            body["max_tokens"] = self.random.randint(1, 80)
        nobody = self.leased and self.random.random() < 0.5
        scope = Scope(tags={} if nobody else {"user": self.random.choice(USERS)})
        assert ENDPOINT is not None
        charge = client.guard.charge(ENDPOINT, body, (), "openai", scope)
        record = self.records[charge.id] = Record(client, charge)
        task = self.task
        if self.happens("cancelled"):
            self.after(self.random.uniform(0, 1500), lambda: self.cancel(task, record))

        async def proceed() -> Answer:
            return await self.provide(record)

        def failed(error: BaseException) -> None:
            charge.failed(isinstance(error, ProviderRefused), sent=int(record.sent))

        try:
            await client.guard.async_shell.send(charge, proceed, charge.observe, failed)
        finally:
            record.over = not client.dead

    async def provide(self, record: Record) -> Answer:
        """The provider: it bills what it was asked for, sometimes after a very long time, sometimes unheard."""
        charge, client = record.charge, record.client
        record.sent = True
        if charge.held.spared is None:
            hold = charge.held.hold
            assert hold is not None
            ids = [hold.id] if is_stored(hold) else []
            assert {*ids, *hold.leases} <= self.oracle.admitted, "a call was sent without a hold (P10)"
            assert ids or hold.leases
        else:
            record.spared = True
        refused, unheard = self.random.random() < 0.1, self.random.random() < 0.1
        if not refused:
            cap = charge.bounds.cap if charge.bounds.cap is not None else charge.call.max_output or 1
            tokens = self.random.randint(0, cap)
            usage = {"input_tokens": self.random.randint(1, 8), "output_tokens": tokens}
            record.tokens = sum(usage.values())
            if self.units:
                assert record.tokens <= charge.held.units["tokens"], "a call used more than was held for it (P1)"
            record.bill = usage["input_tokens"] * INPUT + tokens * OUTPUT
            assert record.bill <= charge.held.amount, "a call cost more than was held for it (P1)"
        record.due = record.bill, charge.held.amount  # until the answer is heard
        record.used = record.tokens, charge.held.units.get("tokens", 0)
        assert self.unbooked(client) <= ALLOWANCE, "more was spent than the allowance (P10)"
        slow = self.happens("slow")
        await self.sleep(client, self.random.uniform(TTL_MS, 3 * TTL_MS) if slow else self.random.uniform(10, 4000))
        if refused:
            record.due, record.used = (0, 0) if self.units else None, (0, 0)  # a request, and nothing else
            raise ProviderRefused
        if unheard:
            raise ConnectionLost
        record.due, record.used = (record.bill, record.bill), (record.tokens, record.tokens)
        return Answer(model=MODEL, usage=usage)

    def unbooked(self, client: Client) -> int:
        """What a process has spent, or holds, that no book shows."""
        return sum(
            self.acked.get(key, record.charge.held.amount)
            for key, record in self.records.items()
            if record.spared and record.client is client and key not in self.oracle.entries and record.due is not None
        )

    def cancel(self, task: Task, record: Record) -> None:
        if not task.done and not task.client.dead and not record.over and task.waits is not None:
            self.go(task, error=Cancelled())

    def kill(self, client: Client) -> None:
        client.dead = True
        client.journal.close()
        client.leases.drop()
        client.leases._post.files = False  # a process that is gone writes no file any more
        for task in client.tasks:
            if not task.done and task.waits is not None:
                self.go(task, error=Crash())
            task.work.close()

    # What goes wrong beside the network.

    def trouble(self) -> None:
        """Called every now and then."""
        if self.calm:
            return
        living = [client for client in self.clients if not client.dead]
        victim = self.random.choice(living)
        if self.happens("killed"):
            self.kill(victim)
            self.after(self.random.uniform(10, 5000), self.start_client)
            if len(living) == 1:
                self.start_client()
        if self.happens("stopped"):
            victim.stopped_until = self.now + self.random.choice([500, 5_000, 2 * TTL_MS])
        if self.happens("clock"):
            self.offset += self.random.choice([-120_000, -5_000, -1, 1, 5_000, 70_000])
        if self.happens("away"):
            self.away = True
            self.after(self.random.uniform(100, 6000), self.back)
        if self.happens("clock"):
            self.change_budget(self.random.choice(USERS[:2]))
        self.after(self.random.uniform(100, 1500), self.trouble)

    def back(self) -> None:
        self.away = False

    def change_budget(self, user: str) -> None:
        limit = Money(self.random.choice([80_000, 150_000, 300_000]))
        rule = Budget("users", limit, None, per=("user",), in_flight=4)
        terms = self.store.put_terms(terms_key(user), UserBudget(user, rule, 0, 0).to_text())
        assert terms is not None
        self.versions[terms.key] = terms.version

    # From the beginning to the end.

    def run(self) -> World:
        """Play it."""
        ids = count(1)
        with ExitStack() as stack:
            stack.callback(shutil.rmtree, self.directory)
            stack.callback(self.store.close)
            for module in (budgetguard.guards.charge, budgetguard.process.journal_files, budgetguard.process.leases):
                stack.enter_context(patch.object(module, "new_id", lambda: f"{next(ids):032x}"))
            stack.enter_context(patch.object(PROCESS, "reaper", Reaper(self)))
            stack.enter_context(patch.object(PROCESS, "keeper", Keeper(list, lambda: False)))
            PROCESS.keeper.pace_ms = 0  # its thread has no place in this time: see `keep`
            stack.enter_context(patch.object(Declaring, "begin", lambda _: None))  # nor has that which declares rules
            logging.disable(logging.CRITICAL)
            stack.callback(logging.disable, logging.NOTSET)
            stack.callback(self.bury)
            for user in USERS[:2]:
                self.change_budget(user)
            for _ in range(3):
                self.start_client()
            self.after(500, self.trouble)
            self.play(self.now + 20_000)
            self.settle_down()
            self.audit()
        return self

    def play(self, until: float) -> None:
        while self.events and self.events[0][0] <= until:
            self.now, _, do = heappop(self.events)  # type: ignore[assignment]
            self.now = max(int(self.now), START_MS)
            do()
        self.now = int(until)

    def settle_down(self) -> None:
        """Nothing goes wrong any more: everybody comes to an end, and what was kept lands."""
        self.calm, self.away = True, False
        while self.events:
            self.play(self.events[0][0])
        for client in self.clients:
            if not client.dead:
                assert client.journal.replay(), "a journal does not land although the store answers (P10)"
                assert client.leases.close(), "leases do not land although the store answers (P10)"
                assert not client.leases.pending, "a slice was not given back (P10)"
        auditor = Client(self)
        self.clients.append(auditor)
        for client in self.clients:
            client.journal.close()
        assert auditor.journal.replay(), "what dead processes kept does not land (P10)"
        self.auditor = auditor

    def bury(self) -> None:
        """Close what is left, however the run ended."""
        self.calm = True
        for client in self.clients:
            self.kill(client)
            client.journal._waiting.clear()
            client.journal._releases.clear()
            client.leases._begin()
        for record in self.records.values():
            PROCESS.open.pop(id(record.charge), None)

    def audit(self) -> None:
        """What must be true when all have ended."""
        self.compare_books()
        books = {entry.hold_id: entry.cost for entry in self.store.entries()}
        for key, cost in self.acked.items():
            assert books.get(key) == cost, "an acknowledged settlement is missing (P4)"
        if self.units:
            self.audit_units()
        unpaid = 0
        for key, record in self.records.items():
            if record.over and record.due is None:
                assert key not in books, "a call that cost nothing is on the books (P5)"
            elif record.over and record.due is not None:
                assert record.due[0] <= books.get(key, -1) <= record.due[1], "a call is not booked at its cost (P5)"
            elif record.sent and key not in books:
                unpaid += record.bill
            assert books.get(key, record.bill) >= record.bill, "a call is on the books below its cost"
        assert sum(books.values()) + unpaid >= sum(record.bill for record in self.records.values())
        for account, billed in self.billed_by_day().items():
            assert billed <= (account.limit or 0), f"more was spent on {account.key} than its limit (P1)"
        self.audit_holds()
        self.audit_allowances()

    def audit_units(self) -> None:
        """What is on the books of each call beside dollars."""
        units = {entry.hold_id: entry.amounts() for entry in self.store.entries()}
        for key, record in self.records.items():
            if record.over and record.due is not None:
                assert key in units, "a call is not on the books (P4)"
                tokens, requests = units[key]["tokens"], units[key]["requests"]
                assert record.used[0] <= tokens <= record.used[1], "a call is not booked at its tokens (P5)"
                assert requests == 1, "a call that was sent once is not one request (P5)"

    def billed_by_day(self) -> Counter[Account]:
        """What leases paid for, but for calls that nobody lived to settle."""
        billed: Counter[Account] = Counter()
        for key, record in self.records.items():
            used = {"dollars": record.bill, "tokens": record.tokens, "requests": 1}
            for account in record.charge.plan.cover.leased:
                if record.sent and not record.spared and (record.over or key in self.oracle.entries):
                    billed[account] += used[account.unit]
        return billed

    def audit_holds(self) -> None:
        """
        No hold outlives its call, but those of processes that died; and they come back after their ttl.

        So does a copy of a reserve that the network delivers after the call was told that there is no room.
        """
        excused = {key for key, record in self.records.items() if record.client.dead}
        excused |= {key for key, answer in self.heard.items() if isinstance(answer, Refusal)}
        excused |= {key for key, client in self.askers.items() if client.dead}
        left = {hold.id for hold in self.store.holds()}
        assert left <= excused, "a hold was left behind (P5)"
        self.offset += max(0, self.oracle.latest - self.store.now_ms()) + TTL_MS
        self.oracle.latest = now = self.store.now_ms()
        assert self.store.holds() == [], "a hold did not expire (P7)"
        for key in list(self.oracle.settled):
            self.compare_balances([key], now)
            room = 10**9
            spent = self.oracle.settled[key] + self.oracle.charged(key, now)[0]
            rest = {"tokens": Wanted(room), "requests": Wanted(room)}
            last = Hold(new_id(), (Account(key, limit=spent + room),), room, units=rest)
            assert isinstance(self.store.reserve(last), Admitted), "what came back cannot be used (P7)"

    def audit_allowances(self) -> None:
        """What was spent while the store was away has landed, and may be spent again."""
        for client in self.clients:
            spare = client.guard.spare
            if spare is not None and not client.dead:
                assert (spare.settled, spare.held) == (0, 0), "an allowance did not come back (P10)"


class Cancelled(BaseException):
    """A task was cancelled."""
