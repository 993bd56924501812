"""
The store of a hosted project: a server of budgetguard, or one that speaks LiteLLM's two endpoints only.

Which of them it is shows at the first answer. The second keeps whole dicts of records and knows no holds, so budgets
are then hard within one process only, and spend of several processes is what the server makes of their dicts.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from ..budgets.rules import USERS, UserBudget
from ..budgets.users import Users
from ..concurrency.locks import mutex
from ..errors import ConfigError, StoreError
from ..ledger import (
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
    Store,
    Terms,
    Total,
)
from ..stores.deadlines import CHANGE_S, READ_S, SETTLE_S
from ..stores.http.store import HttpStore, NoNativeApiError
from ..stores.memory.store import MemoryStore
from .records import read_record, records, require_dollars

T = TypeVar("T")

EVERYTHING = Query()
UNLIMITED = 1e308
"""A budget without a limit, where records are JSON."""

log = logging.getLogger("budgetguard")


class WholeDicts:
    """
    The two endpoints of LiteLLM's hosted server, with a ledger in memory in front.

    Records are read once, at the first use. Every settlement and every changed budget sends all of them; one that
    could not be sent raises, and is sent with the next, or when it is repeated.
    """

    def __init__(self, server: HttpStore, clock: Clock) -> None:
        self._server = server
        self._lock = mutex("whole dicts")
        self._read: dict[str, dict[str, Any]] = {}  # as the server sent them: what it keeps beside goes back
        self.ledger = MemoryStore(clock=clock, namespace=server.namespace)
        self._users = Users(self.ledger, clock=clock)
        said = server.post_json("get_budget", {"project_name": server.namespace}, READ_S)
        status = said.get("status") if isinstance(said, dict) else None
        if status == "success" and isinstance(said.get("data"), dict):
            for user, raw in said["data"].items():
                self._take(user, raw)
        elif status != "error":
            raise StoreError(f"{server.name}/get_budget answered neither with records nor that there are none")

    def _take(self, user: str, raw: Any) -> None:
        """Put a record that was read into the ledger."""
        unlimited = isinstance(raw, dict) and raw.get("total_budget") == UNLIMITED
        record = read_record(
            f"{self._server.name}: the record of {user!r}",
            user,
            {**raw, "total_budget": float("inf")} if unlimited else raw,
        )
        now_ms = self.ledger.now_ms()
        updated_s = now_ms / 1000 if record.last_updated_at is None else record.last_updated_at
        rule = record.rule()
        own = UserBudget(user, rule, updated_s if record.created_at is None else record.created_at, updated_s)
        self._users.replace(own)
        self._read[user] = dict(raw)
        start_ms = rule.window(now_ms).start_ms
        if start_ms is not None and rule.period.rolling_ms is None and updated_s * 1000 < start_ms:
            return  # what it says was spent in an earlier period
        for model, nano in record.model_cost.items():
            self._users.book(own, nano, model=model)

    def save(self, timeout_s: float) -> None:
        """Send all records, as LiteLLM's client does."""
        with self._lock:
            budgets = list(self._users.all())
            users = records(self._users, budgets, self.ledger.now_ms())
            for own in budgets:
                if own.rule.limit is None:
                    users[own.user]["total_budget"] = UNLIMITED
                users[own.user] = {**self._read.get(own.user, {}), **users[own.user]}
            said = {"project_name": self._server.namespace, "user_dict": users}
            self._server.post_json("set_budget", said, timeout_s)


class HostedStore:
    """A `Store` on whichever of the two the server turns out to be."""

    blocking = True

    def __init__(self, server: HttpStore, *, clock: Clock = time.time) -> None:
        self.namespace = server.namespace
        self.journal = server.journal
        self._server = server
        self._clock = clock
        self._lock = mutex("hosted store")
        self._native: bool | None = None
        self._dicts: WholeDicts | None = None

    def now_ms(self) -> Millis:
        """The store's clock."""
        return self._do(lambda store: store.now_ms())

    def reserve(self, hold: Hold) -> Admitted | Refusal | Stale | Ended:
        """Place a hold on all of its accounts, or on none."""
        return self._do(lambda store: store.reserve(hold))

    def settle(self, hold: Hold, entry: Entry) -> Settled | Conflict:
        """End a hold at its true cost and record the entry, once."""
        return self._do(lambda store: store.settle(hold, entry), SETTLE_S)

    def settle_many(self, settlements: Sequence[tuple[Hold, Entry]]) -> list[Settled | Conflict]:
        """`settle` for each of these, in this order."""
        return self._do(lambda store: store.settle_many(settlements), CHANGE_S)

    def release(self, hold_id: str) -> None:
        """Give a hold back; a release of an unknown hold is remembered."""
        self._do(lambda store: store.release(hold_id))

    def renew(self, holds: Sequence[Hold]) -> list[bool]:
        """Have these holds count for another ttl; whether each does."""
        return self._do(lambda store: store.renew(holds))

    def balances(self, keys: Sequence[str]) -> list[Balance]:
        """The balances of accounts, in the order asked; zeros for one that was never used."""
        return self._do(lambda store: store.balances(keys))

    def accounts(self, prefix: str = "", *, after: str | None = None) -> Iterator[Balance]:
        """All accounts whose key starts with `prefix`, in the order of their keys."""
        return self._do(lambda store: iter(list(store.accounts(prefix, after=after))))

    def terms(self, key: str) -> Terms | None:
        """The terms under a key; `None` if there never were any."""
        return self._do(lambda store: store.terms(key))

    def put_terms(self, key: str, body: str | None, *, expected: int | None = None) -> Terms | None:
        """Store (`None`: remove) the terms under a key, with the next version; only over `expected` if given."""

        def put(store: Store) -> Terms | None:
            if store is not self._server and body is not None and key.startswith(USERS):
                require_dollars(UserBudget.from_text(body, 0))
            return store.put_terms(key, body, expected=expected)

        return self._do(put, CHANGE_S)

    def all_terms(self, prefix: str = "", *, after: str | None = None) -> Iterator[Terms]:
        """All terms that were not removed whose key starts with `prefix`, in the order of their keys."""
        return self._do(lambda store: iter(list(store.all_terms(prefix, after=after))))

    def holds(self) -> list[OpenHold]:
        """Holds that are open and not expired, the oldest first."""
        return self._do(lambda store: store.holds())

    def entries(self, query: Query = EVERYTHING) -> Iterator[Entry]:
        """The history, the oldest first; on a server of whole dicts, that of this process."""
        return self._do(lambda store: store.entries(query))

    def totals(self, by: Sequence[str], query: Query = EVERYTHING) -> list[Total]:
        """Entries summed by "model", "provider", "day" (UTC) or the name of a tag, in the order of the groups."""
        return self._do(lambda store: store.totals(by, query))

    def check(self) -> list[Difference]:
        """Add up every account from its holds and entries again; what differs from the books."""
        return self._do(lambda store: store.check())

    def carried(self, *, after: str | None = None) -> Iterator[Carried]:
        """All accounts, in the order of their keys, each with what its entries do not tell."""
        return self._do(lambda store: iter(list(store.carried(after=after))))

    def load(
        self, *, terms: Sequence[Terms] = (), accounts: Sequence[Carried] = (), entries: Sequence[Entry] = ()
    ) -> None:
        """Put rows of other books on these, as they are: for copies and restores."""
        self._do(lambda store: store.load(terms=terms, accounts=accounts, entries=entries), CHANGE_S)

    def note(self, records: Sequence[Record], *, replace: bool = False) -> list[bool]:
        """Write these records down; whether each is new: on a server of whole dicts, to this process."""
        return self._do(lambda store: store.note(records, replace=replace))

    def noted(self, query: RecordQuery) -> Iterator[Record]:
        """Records of one kind, by their ids; on a server of whole dicts, those of this process."""
        return self._do(lambda store: store.noted(query))

    def prune(self, before_ms: Millis) -> int:
        """Delete entries, accounts whose period ended, and records, before a time; how many entries went."""
        return self._do(lambda store: store.prune(before_ms))

    def namespaces(self) -> list[str]:
        """Its own, if it has anything on its books."""
        return self._do(lambda store: store.namespaces())

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        self._server.close()

    def _do(self, work: Callable[[Store], T], save_s: float | None = None) -> T:
        """Do it on the store that there is; `save_s`: on a server of whole dicts, send them within this time."""
        if self._dicts is None:
            try:
                done = work(self._server)
                self._native = True
                return done
            except NoNativeApiError:
                if self._native:  # it was a server of budgetguard before: something in front of it answers
                    raise
                self._find_dicts()
        dicts = self._dicts
        assert dicts is not None
        done = work(dicts.ledger)
        if save_s is not None:
            dicts.save(save_s)
        return done

    def _find_dicts(self) -> None:
        with self._lock:
            if self._dicts is None:
                self._dicts = WholeDicts(self._server, self._clock)
                log.warning(
                    "%s speaks LiteLLM's two endpoints only: budgets are hard within this process, not between "
                    "several; a server of budgetguard (`budgetguard serve`) keeps them hard everywhere",
                    self._server.name,
                )


def open_hosted(
    api_base: str | None, project: str, headers: Mapping[str, str] | None, *, clock: Clock = time.time
) -> HostedStore:
    """The store of a hosted project; nothing is asked before it is used. Raises `ConfigError` without a URL."""
    if not isinstance(api_base, str) or not api_base:
        raise ConfigError("api_base: give the URL of the server, such as https://budgets.example.com")
    sent = {"Content-Type": "application/json"} if headers is None else headers
    return HostedStore(HttpStore(api_base, namespace=project, headers=sent), clock=clock)
