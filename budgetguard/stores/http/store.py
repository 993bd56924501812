"""
The ledger behind a server of budgetguard (`budgetguard serve`), by its native API.

Every operation is one request over a connection that is kept open. The server's store decides; this side keeps the
deadlines, and keeps asking a server that is away from costing every call one.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NoReturn, TypeVar
from urllib.parse import quote, unquote, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, ProtocolError

from ...concurrency.interrupts import raise_interruption
from ...errors import AmountError, ConfigError, StoreError
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
from ...ledger.as_json import plain, read
from ..base import know
from ..deadlines import (
    CHANGE_S,
    READ_S,
    RESERVE_S,
    SETTLE_S,
    Deadlines,
    take_deadlines,
)
from ..remote import Breaker, journal_home
from ..rules import require_query, require_records
from . import rows as wire
from .link import HttpPool, SecurePool, cause, is_away, told
from .records import HttpRecords, NotOfferedError

T = TypeVar("T")

EVERYTHING = Query()
CONNECTIONS = 64
"""How many idle connections are kept; more callers at once open more."""
PAGE = 10_000
ENTRIES_PAGE = 1_000
BATCH = 1_000
"""How many settlements, or keys, go into one request."""
_NOT_UNDERSTOOD = {404, 422}
"""What a server of an earlier version answers to an operation, or to a field, that it does not know."""


class NoNativeApiError(StoreError):
    """The server answers, but not in the native API: it may speak LiteLLM's two endpoints only."""


class HttpStore:
    """
    A `Store` on a server of budgetguard.

    `api_base` is its URL, with a path if it is below one. `headers` are sent with every request, and carry the key as
    `Authorization: Bearer ...`. `reserve_s` and `settle_s` are deadlines in seconds, those in the URL's query before
    these. The server's clock decides, so there is none here.
    """

    blocking = True

    def __init__(
        self,
        api_base: str,
        *,
        namespace: str = "default",
        headers: Mapping[str, str] | None = None,
        reserve_s: float = RESERVE_S,
        settle_s: float = SETTLE_S,
    ) -> None:
        parts = urlsplit(api_base)
        try:
            port = parts.port
        except ValueError:
            port = -1
        deadlines, options = take_deadlines(parts.query, Deadlines(reserve_s, settle_s))
        if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1 or options or parts.fragment:
            raise ConfigError("store: a server is named by https://host, https://host:8443 or https://host/path")
        self.namespace = namespace
        self._secure = parts.scheme == "https"
        self._host, self._port = parts.hostname, port
        self._base = parts.path.rstrip("/")
        self._path = self._base + "/v1"
        self.name = f"{parts.scheme}://{parts.hostname}{'' if port is None else f':{port}'}{parts.path.rstrip('/')}"
        """The server's URL, without secrets."""
        self._headers = _headers(parts.username, parts.password, headers)
        self._headers[wire.PROJECT_HEADER] = quote(wire.escape_text(namespace), safe="")
        self._reserve_s, self._settle_s = deadlines
        self._breaker = Breaker(self.name)
        self._pool = self._new_pool()
        self._records = HttpRecords(self.name, self._ask)
        self.journal = journal_home(self.name, namespace)
        """The directory where settlements wait while the server cannot be reached."""
        know(self)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        namespace: str = "default",
        clock: Clock | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> HttpStore:
        """The store of an `https://` URL, in which a key may stand as `https://:KEY@host`."""
        if clock is not None:
            raise ConfigError("clock: the clock of a hosted budget is its server's; leave it out")
        return cls(url, namespace=namespace, headers=headers)

    def now_ms(self) -> Millis:
        """The clock of the server's store."""
        return self._ask("ledger/clock", {}, READ_S, lambda said: int(said["now_ms"]))

    def reserve(self, hold: Hold) -> Admitted | Refusal | Stale | Ended:
        """Place a hold on all of its accounts, or on none."""
        return self._ask("reserve", wire.say_hold(hold), self._reserve_s, lambda said: wire.hear_reserved(said, hold))

    def settle(self, hold: Hold, entry: Entry) -> Settled | Conflict:
        """End a hold at its true cost and record the entry, once."""
        return self._ask("settle", wire.say_settlement(hold, entry), self._settle_s, wire.hear_settled)

    def settle_many(self, settlements: Sequence[tuple[Hold, Entry]]) -> list[Settled | Conflict]:
        """`settle` for each of these, in this order, in as few requests as fit."""
        answers: list[Settled | Conflict] = []
        for start in range(0, len(settlements), BATCH):
            said = [wire.say_settlement(hold, entry) for hold, entry in settlements[start : start + BATCH]]
            answers += self._ask(
                "settle_many",
                {"settlements": said},
                CHANGE_S,
                lambda said: [wire.hear_settled(each) for each in said["answers"]],
            )
        return answers

    def release(self, hold_id: str) -> None:
        """Give a hold back; a release of an unknown hold is remembered."""
        self._ask("release", {"id": hold_id}, self._settle_s, _nothing)

    def renew(self, holds: Sequence[Hold]) -> list[bool]:
        """Have these holds count for another ttl, in as few requests as fit; whether each does."""
        answers: list[bool] = []
        for start in range(0, len(holds), BATCH):
            said = {"holds": [wire.say_hold(hold) for hold in holds[start : start + BATCH]]}
            answers += self._ask("renew", said, CHANGE_S, lambda said: [bool(counts) for counts in said["counts"]])
        return answers

    def balances(self, keys: Sequence[str]) -> list[Balance]:
        """The balances of accounts, in the order asked; zeros for one that was never used."""
        found: list[Balance] = []
        for start in range(0, len(keys), PAGE):
            asked = {"keys": list(keys[start : start + PAGE])}
            found += self._ask("balances", asked, READ_S, lambda said: wire.hear_all(said["balances"], Balance))
        return found

    def accounts(self, prefix: str = "", *, after: str | None = None) -> Iterator[Balance]:
        """All accounts whose key starts with `prefix`, in the order of their keys."""
        return self._by_key("ledger/accounts", "balances", {"prefix": prefix}, after, Balance)

    def terms(self, key: str) -> Terms | None:
        """The terms under a key; `None` if there never were any."""
        return self._ask("ledger/terms", {"key": key}, READ_S, _found_terms)

    def put_terms(self, key: str, body: str | None, *, expected: int | None = None) -> Terms | None:
        """Store (`None`: remove) the terms under a key, with the next version; only over `expected` if given."""
        said = {"key": key, "body": body, "expected": expected}
        return self._ask("ledger/put_terms", said, CHANGE_S, _found_terms)

    def all_terms(self, prefix: str = "", *, after: str | None = None) -> Iterator[Terms]:
        """All terms that were not removed whose key starts with `prefix`, in the order of their keys."""
        return self._by_key("ledger/all_terms", "terms", {"prefix": prefix}, after, Terms)

    def holds(self) -> list[OpenHold]:
        """Holds that are open and not expired, the oldest first."""
        return self._ask("ledger/holds", {}, READ_S, lambda said: wire.hear_all(said["holds"], OpenHold))

    def entries(self, query: Query = EVERYTHING) -> Iterator[Entry]:
        """The history, the oldest first: in the order of (time, hold id), read page by page."""
        first = self._entries_page(query, query.after, query.limit)
        return self._entries(query, first)

    def totals(self, by: Sequence[str], query: Query = EVERYTHING) -> list[Total]:
        """Entries summed by "model", "provider", "day" (UTC) or the name of a tag, in the order of the groups."""
        said = {"by": list(by), "query": plain(query)}
        return self._ask("ledger/totals", said, READ_S, lambda said: wire.hear_all(said["totals"], Total))

    def check(self) -> list[Difference]:
        """Add up every account from its holds and entries again; what differs from the books."""
        return self._ask("ledger/check", {}, READ_S, lambda said: wire.hear_all(said["differences"], Difference))

    def carried(self, *, after: str | None = None) -> Iterator[Carried]:
        """All accounts, in the order of their keys, each with what its entries do not tell."""
        return self._by_key("ledger/carried", "accounts", {}, after, Carried)

    def load(
        self, *, terms: Sequence[Terms] = (), accounts: Sequence[Carried] = (), entries: Sequence[Entry] = ()
    ) -> None:
        """Put these rows on the books as they are, all of them or none: for copies and restores."""
        self._ask("ledger/load", wire.say_rows(terms, accounts, entries), READ_S, _nothing)

    def note(self, records: Sequence[Record], *, replace: bool = False) -> list[bool]:
        """Write these records down; whether each is new: to this process only, at a server that keeps none."""
        require_records(records)
        return self._records.note(records, replace)

    def noted(self, query: RecordQuery) -> Iterator[Record]:
        """Records of one kind, by their ids, read page by page."""
        require_query(query)
        return self._records.noted(query)

    def prune(self, before_ms: Millis) -> int:
        """Delete entries, accounts whose period ended, and records, before a time; how many entries went."""
        return self._ask("ledger/prune", {"before_ms": before_ms}, READ_S, lambda said: int(said["pruned"]))

    def namespaces(self) -> list[str]:
        """Its own, if it has anything on its books: a key opens one project."""
        reads = (self.all_terms, self.accounts, lambda: self.entries(Query(limit=1)))
        return [self.namespace] if any(next(read(), None) is not None for read in reads) else []

    def examine(self) -> list[str]:
        """What people should know of the server's version."""
        return self._records.examine()

    def close(self) -> None:
        """Close the connections; the next use opens new ones."""
        pool, self._pool = self._pool, self._new_pool()
        pool.close()

    def post_json(self, path: str, said: Any, timeout_s: float) -> Any:
        """
        The JSON with which a server without the native API answers to JSON at a path beside it.

        Raises `StoreError` if it does not, or has the native API after all: something in front of it answered before.
        """
        try:
            answer = self._send(f"{self._base}/{path}", wire.dump(said), time.monotonic() + timeout_s)
            if wire.API_HEADER in answer.headers:
                raise StoreError(f"{self.name}: something in front of this server answered in its place: try again")
            if answer.status == 200:
                return json.loads(answer.data)
            told = f"answered {answer.status}"
        except ValueError:
            told = "answered with something that is not JSON"
        except (HTTPError, OSError) as error:
            raise_interruption(error)
            told = f"did not answer within {timeout_s:g} s ({cause(error)})"
        raise StoreError(f"{self.name}/{path} {told}: check the URL and the key")

    # -- pages -------------------------------------------------------------------------------------------------------

    def _by_key(self, path: str, name: str, where: dict[str, str], after: str | None, kind: type[T]) -> Iterator[T]:
        while True:
            said = {**where, "after": after, "limit": PAGE}
            page = self._ask(
                path, said, READ_S, lambda answer: [(each["key"], read(kind, each)) for each in answer[name]]
            )
            yield from [found for _, found in page]
            if len(page) < PAGE:
                return
            after = page[-1][0]

    def _entries_page(self, query: Query, after: str | None, left: int | None) -> list[Entry]:
        size = ENTRIES_PAGE if left is None else min(ENTRIES_PAGE, left)
        said = {**plain(query), "after": after, "limit": size}
        return self._ask("ledger/entries", said, READ_S, lambda answer: wire.hear_all(answer["entries"], Entry))

    def _entries(self, query: Query, page: list[Entry]) -> Iterator[Entry]:
        left = query.limit
        while page:
            yield from page
            left = None if left is None else left - len(page)
            if len(page) < ENTRIES_PAGE or left == 0:
                return
            page = self._entries_page(query, page[-1].hold_id, left)

    # -- the wire ----------------------------------------------------------------------------------------------------

    def _ask(self, path: str, said: Any, timeout_s: float, hear: Callable[[Any], T]) -> T:
        """One request, and what its answer means. Raises `StoreError`, and `ConfigError` for what cannot be asked."""
        breaker = self._breaker
        if breaker.failures:
            breaker.enter()
        try:
            answer = self._send(f"{self._path}/{path}", wire.dump(said), time.monotonic() + timeout_s)
        except (HTTPError, OSError) as error:
            breaker.failed(error)
            raise StoreError(f"{self.name} did not answer within {timeout_s:g} s ({cause(error)})") from error
        if is_away(answer):
            said = told(answer)
            breaker.failed(OSError(said))
            raise StoreError(f"{self.name}: {said}")
        if breaker.failures:
            breaker.passed()
        if answer.status != 200:
            self._raise(answer)
        try:
            return hear(wire.load(answer.data))
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise NoNativeApiError(f"{self.name} answered {path} with something that is not the native API") from error

    def _send(self, path: str, body: bytes, deadline: float) -> urllib3.BaseHTTPResponse:
        """
        Send it; once more if a connection that was kept open turns out to be closed.

        Every operation is harmless to repeat, so it does not matter whether the first was heard.
        """
        again = True
        while True:
            left = urllib3.Timeout(total=max(deadline - time.monotonic(), 0.001))
            try:
                return self._pool.urlopen(
                    "POST", path, body=body, headers=self._headers, timeout=left, retries=False, redirect=False
                )
            except (ProtocolError, ConnectionError):
                if not again:
                    raise
                again = False

    def _raise(self, answer: urllib3.BaseHTTPResponse) -> NoReturn:
        """The error that an answer other than 200 stands for."""
        try:
            problem = wire.load(answer.data)["error"]
            kind, message = problem["type"], str(problem["message"])
        except (ValueError, KeyError, TypeError):
            raise NoNativeApiError(
                f"{self.name} answered {answer.status}, which no server of budgetguard does: check the URL"
            ) from None
        if problem.get("code") == "absurd_amount":
            raise AmountError(message)
        if kind == "config_error":
            raise ConfigError(message)
        if answer.status in _NOT_UNDERSTOOD:
            newer = NotOfferedError if answer.status == 404 else StoreError
            raise newer(f"{self.name}: {message}; if this client is newer than that server, upgrade the server")
        raise StoreError(f"{self.name}: {message}" if answer.status in {401, 403, 429} else message)

    def _new_pool(self) -> urllib3.HTTPConnectionPool:
        kind = SecurePool if self._secure else HttpPool
        return kind(self._host, self._port, maxsize=CONNECTIONS)

    def _after_fork(self) -> None:
        """In a forked child: the connections are the parent's."""
        self._breaker = Breaker(self.name)
        self._pool = self._new_pool()
        self._records = HttpRecords(self.name, self._ask)


def _headers(user: str | None, password: str | None, headers: Mapping[str, str] | None) -> dict[str, str]:
    key = unquote(password or user or "")
    said = {"Authorization": f"Bearer {key}", **(headers or {})} if key else dict(headers or {})
    for name, value in said.items():
        if not all(isinstance(text, str) and text.isascii() and text.isprintable() for text in (name, value)):
            raise ConfigError(f"headers[{name!r}]: a key or header is plain text in one line; this one is not")
    return said


def _found_terms(said: Mapping[str, Any]) -> Terms | None:
    return None if said["terms"] is None else read(Terms, said["terms"])


def _nothing(said: Any) -> None:
    if said["done"] is not True:
        raise ValueError("it was not done")
