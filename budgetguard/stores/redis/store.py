"""
The ledger in Redis or Valkey: for the processes of many machines.

Each step is one script (`lua/`), and so one round trip that happens whole or not at all. Holds and entries are strings,
accounts are hashes, and what is listed has a sorted set: nothing here takes longer the more accounts there are.

What a settlement is worth after a crash of the server is the server's to say: with `appendfsync always` it stands, with
`everysec` a second may be lost. What was settled in the last minute is kept here, and booked again when another server
answers than before: a replica that was promoted before it had heard of it, or one that was restarted.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from ...concurrency.locks import mutex, take
from ...errors import ConfigError, StoreError
from ...ledger import (
    Admitted,
    Balance,
    Carried,
    Clock,
    Conflict,
    Difference,
    Ended,
    Entry,
    Hold,
    Millis,
    OpenHold,
    Query,
    Record,
    RecordQuery,
    Refusal,
    Settled,
    Stale,
    Terms,
    Total,
)
from ..base import know
from ..deadlines import CHANGE_S, READ_S, RESERVE_S, SETTLE_S, Deadlines
from ..encoding import raw
from ..memory.reports import add_up
from ..remote import journal_home
from ..rules import require_amounts, require_entry, require_hold, require_query, require_records, require_rows
from . import reports
from .lane import Elsewhere, Lane
from .link import (
    Clients,
    RedisLink,
    confirmation,
    from_url,
    given,
    require_replicas,
)
from .replay import Recent, Replay
from .rows import (
    id_arg,
    load_args,
    note_args,
    renew_args,
    reserve_args,
    reserved,
    settle_args,
    settled,
    tag_of,
    terms_of,
    time_arg,
)
from .scripts import run
from .server import RedisServer

EVERYTHING = Query()


class RedisStore:
    """
    A `Store` in Redis or Valkey, behind a client of redis-py or valkey-py: a plain one, a Sentinel's or a cluster's.

    All keys of a namespace begin with `budgetguard:{namespace}:`. `strict` refuses a server that may lose or evict
    what is on the books, instead of warning of it. Without a `clock` the server's own decides.
    """

    blocking = True
    _replay: Replay | None

    def __init__(
        self,
        client: Any,
        *,
        namespace: str = "default",
        clock: Clock | None = None,
        reserve_s: float = RESERVE_S,
        settle_s: float = SETTLE_S,
        strict: bool = False,
    ) -> None:
        self._clients = client if isinstance(client, Clients) else given(client)
        self._clock = clock
        self._reserve_s = reserve_s
        self._settle_s = settle_s
        self.namespace = namespace
        self.prefix = b"budgetguard:{" + tag_of(namespace) + b"}:"
        self._link = RedisLink(self._clients)
        self._strict = strict
        self._begin()
        know(self)
        home = self._clients.home
        self.journal = None if home is None else journal_home(home, namespace)
        """The directory where settlements wait while this server cannot be reached; `None`: they wait in memory."""

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        namespace: str = "default",
        clock: Clock | None = None,
        reserve_s: float = RESERVE_S,
        settle_s: float = SETTLE_S,
    ) -> RedisStore:
        """The store of a `redis://`, `rediss://` or `valkey://` URL; raises `ConfigError` if it is not one."""
        clients, deadlines, strict = from_url(url, Deadlines(reserve_s, settle_s))
        return cls(clients, namespace=namespace, clock=clock, strict=strict, **deadlines._asdict())

    def now_ms(self) -> Millis:
        """The store's clock."""
        if self._clock is not None:
            return int(self._clock() * 1000)
        seconds, micros = self._link.run(self._clients.read.execute_command, "TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    def reserve(self, hold: Hold) -> Admitted | Refusal | Stale | Ended:
        """Place a hold on all of its accounts, or on none."""
        require_hold(hold)
        args, until_s = reserve_args(hold, self._now()), 0.0
        while True:
            outcome = reserved(hold, self._call("reserve", args, self._reserve_s))
            if outcome is not None:
                return outcome
            until_s = until_s or time.monotonic() + self._reserve_s
            if time.monotonic() > until_s:
                raise StoreError(f"{self._link.name} is clearing away expired holds: try again")

    def settle(self, hold: Hold, entry: Entry) -> Settled | Conflict:
        """End a hold at its true cost and record the entry, once."""
        args = (self._now(), *self._settle_args(hold, entry))
        [answer] = settled(self._call("settle", args, self._settle_s), [(hold, entry)])
        self._recent.add(args[1:])
        return answer

    def settle_many(self, settlements: Sequence[tuple[Hold, Entry]]) -> list[Settled | Conflict]:
        """`settle` for each of these, in this order, in one step."""
        args = [arg for hold, entry in settlements for arg in self._settle_args(hold, entry)]
        said = self._step(self._clients.change, "settle", (self._now(), *args)) if args else []
        answers = settled(said, settlements)
        self._confirm()
        self._recent.add(args, len(settlements))
        return answers

    def release(self, hold_id: str) -> None:
        """Give a hold back; a release of an unknown hold is remembered."""
        self._call("release", (self._now(), id_arg(hold_id)), self._settle_s)

    def renew(self, holds: Sequence[Hold]) -> list[bool]:
        """Have these holds count for another ttl, in one step; whether each does."""
        require_amounts(holds)
        if not holds:
            return []
        answers = self._step(self._clients.change, "renew", (self._now(), *renew_args(holds)))
        self._confirm()
        return [answer == 1 for answer in answers]

    def balances(self, keys: Sequence[str]) -> list[Balance]:
        """The balances of accounts, in the order asked; zeros for one that was never used."""
        rows = self._read("reports/balances", self._now(), *map(raw, keys))
        return [
            Balance(key, int(spent) + sum(charged), int(held) - sum(due))
            for key, (spent, charged, held, due) in zip(keys, rows, strict=True)
        ]

    def accounts(self, prefix: str = "", *, after: str | None = None) -> Iterator[Balance]:
        """All accounts whose key starts with `prefix`, in the order of their keys."""
        return reports.accounts(self._read, self._now, prefix, after)

    def terms(self, key: str) -> Terms | None:
        """The terms under a key; `None` if there never were any."""
        exact = b"[" + raw(key)
        rows = self._read("reports/terms", exact, exact, 1)
        return terms_of(rows[0]) if rows else None

    def put_terms(self, key: str, body: str | None, *, expected: int | None = None) -> Terms | None:
        """Store (`None`: remove) the terms under a key, with the next version; only over `expected` if given."""
        said = (0, b"") if body is None else (1, raw(body))
        args = (raw(key), "" if expected is None else expected, *said)
        version: int = self._step(self._clients.change, "put_terms", args)
        return None if version < 0 else Terms(key, version, body)

    def all_terms(self, prefix: str = "", *, after: str | None = None) -> Iterator[Terms]:
        """All terms that were not removed whose key starts with `prefix`, in the order of their keys."""
        return reports.all_terms(self._read, prefix, after)

    def holds(self) -> list[OpenHold]:
        """Holds that are open and not expired, the oldest first."""
        return sorted(reports.holds(self._read, self.now_ms()), key=lambda hold: (hold.placed_ms, hold.id))

    def entries(self, query: Query = EVERYTHING) -> Iterator[Entry]:
        """The history, the oldest first: in the order of (time, hold id)."""
        after_ms = 0
        if query.after is not None:
            at_ms = self._link.run(self._clients.read.zscore, self.prefix + b"e", raw(query.after))
            if at_ms is None:
                raise ConfigError(f"after={query.after!r}: no entry has this hold id; begin with the first page again")
            after_ms = int(at_ms)
        return reports.entries(self._read, query, after_ms)

    def totals(self, by: Sequence[str], query: Query = EVERYTHING) -> list[Total]:
        """Entries summed by "model", "provider", "day" (UTC) or the name of a tag, in the order of the groups."""
        return add_up(by, self.entries(query))

    def check(self) -> list[Difference]:
        """
        Add up every account from its holds and entries again; what differs from the books.

        The books are read in pages while calls go on, so only what differs in the same way again and again counts.
        """
        return reports.check(self._read)

    def note(self, records: Sequence[Record], *, replace: bool = False) -> list[bool]:
        """Write these records down, in one step; whether each is new. A server that is full has no room for them."""
        require_records(records)
        said = self._step(self._clients.change, "records/note", note_args(records, replace)) if records else []
        return [new == 1 for new in said]

    def noted(self, query: RecordQuery) -> Iterator[Record]:
        """Records of one kind, by their ids."""
        require_query(query)
        return reports.noted(self._read, query)

    def prune(self, before_ms: Millis) -> int:
        """Delete entries, accounts whose period ended, and records, before a time; how many entries went."""
        return reports.prune(lambda name, *args: self._step(self._clients.read, name, args), before_ms)

    def carried(self, *, after: str | None = None) -> Iterator[Carried]:
        """All accounts, in the order of their keys, each with what its entries do not tell."""
        return reports.carried(self._read, after)

    def load(
        self, *, terms: Sequence[Terms] = (), accounts: Sequence[Carried] = (), entries: Sequence[Entry] = ()
    ) -> None:
        """Put these rows on the books as they are, in one step."""
        require_rows(accounts, entries)
        self._step(self._clients.change, "load", (self._now(), *load_args(terms, accounts, entries)))

    def namespaces(self) -> list[str]:
        """The names of those that have anything on their books, in order."""
        self._recognize(time.monotonic() + READ_S)
        return self._link.run(reports.namespaces, self._clients.read)

    def examine(self) -> list[str]:
        """What of the server's configuration endangers the books, in words for its operator."""
        return self._server.examine()

    def close(self) -> None:
        """Close the connections; the next use opens others. Those of a client that was given are its owner's."""
        if self._lane is not None:
            self._lane.close(CHANGE_S)
            for client in self._clients[:4]:
                client.close()
                client.connection_pool.disconnect()

    def _now(self) -> str:
        return time_arg(None if self._clock is None else int(self._clock() * 1000))

    def _read(self, name: str, *args: Any) -> Any:
        return self._step(self._clients.read, name, args, READ_S)

    def _settle_args(self, hold: Hold, entry: Entry) -> list[Any]:
        require_entry(entry)
        return settle_args(hold, entry)

    def _call(self, name: str, args: Sequence[Any], timeout_s: float) -> Any:
        """A step of a call, which others may share the way with."""
        if self._lane is None:
            return self._step(self._clients.settle, name, args, timeout_s)
        until_s = time.monotonic() + timeout_s
        while True:
            self._recognize(until_s)
            try:
                return self._lane.step(name, args, timeout_s)
            except Elsewhere:
                if time.monotonic() > until_s:
                    raise

    def _step(self, client: Any, name: str, args: Sequence[Any], timeout_s: float = CHANGE_S) -> Any:
        self._recognize(time.monotonic() + timeout_s)
        return self._link.run(run, client, name, self.prefix, *args)

    def _confirm(self) -> None:
        """Wait until the replicas have what was written, if that is asked for; raises `StoreError` if they do not."""
        replicas = self._clients.replicas
        if replicas:
            pipe = self._clients.change.pipeline(transaction=False)
            for command in confirmation(self.prefix, replicas, CHANGE_S):
                pipe.execute_command(*command)
            require_replicas(self._link.name, self._link.run(pipe.execute)[1], replicas)

    def _recognize(self, until_s: float) -> None:
        """
        Look, now and then, whether the same server answers as before; raises `StoreError` if that takes too long.

        One that was promoted is told what was settled of late, and no step of this process goes before that: a `Wire`
        asks every new connection where it leads. A client that was given is looked at once a second.
        """
        while not self._server.known():
            left_s = until_s - time.monotonic()
            if left_s <= 0 or not take(self._looking, left_s):
                raise StoreError(f"{self._link.name}: it is being asked whether it is the same as before: try again")
            try:
                if (self._replay is None or self._replay.over) and not self._server.known():
                    self._replay = self._look()
                replay = self._replay
            finally:
                self._looking.release()
            if replay is not None and not replay.wait(max(0.0, until_s - time.monotonic())):
                raise StoreError(f"{self._link.name}: it is being told what was settled of late: try again")

    def _look(self) -> Replay | None:
        """Ask the server who it is, and begin to tell it what it may not have heard of."""
        if self._server.changed():
            self._link.leave()
            return Replay(self._tell)
        self._server.seen()
        return None

    def _tell(self) -> None:
        for args in self._recent.steps():
            self._link.run(run, self._clients.change, "settle", self.prefix, self._now(), *args)
        self._server.seen()

    def _begin(self) -> None:
        self._recent = Recent()
        self._looking = mutex("redis look")
        self._replay = None
        self._server = RedisServer(self._clients.reserve, self._link, strict=self._strict)
        # What a client does with a connection that was given is its own affair: it may be one of a cluster's many.
        self._lane = None
        if self._clients.again is not None:
            waits_s = (self._reserve_s, self._settle_s)
            self._lane = Lane(self._clients, self._link, self._server, self.prefix, waits_s)

    def _after_fork(self) -> None:
        """In a forked child: connections and locks were the parent's, those inside of the driver, too."""
        if self._clients.again is not None:
            self._clients = self._clients.again()
        self._link = RedisLink(self._clients)
        self._begin()
