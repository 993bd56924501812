"""The native API of the ledger: one endpoint for each operation of `ledger.Store`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

from ...budgets.rules import MODELS, USERS
from ...budgets.steering.steers import STEERS, read_steers
from ...budgets.users import is_budget_of
from ...errors import ConfigError, StoreError
from ...ledger import (
    Admitted,
    Carried,
    Conflict,
    Ended,
    Hold,
    Query,
    Record,
    RecordQuery,
    Refusal,
    Settled,
    Stale,
    Terms,
    unit_of,
)
from ...ledger.as_json import whole
from ...stores.rules import require_amounts, require_entry, require_hold, require_rows
from ..keys import ADMIN, READ, SPEND
from ..problems import Refused
from . import schemas as s
from . import wire
from .action import MOST_BYTES_OF_MANY, MOST_BYTES_OF_SEVERAL, Action, Ask
from .batches import Release, Reserve, Settle

_OF_CALLS = ("responses/", "batches/", "messages.batches/", "files/")
"""The keys of terms that a spender writes: what it remembers of work in the background, and of files for it."""

_BY_SPENDERS = frozenset({"refusal", "alert"})
"""The kinds of records that a spender writes and reads: of its own calls, and who was told of them."""


def reserve(ask: Ask) -> Reserve:
    """Place a hold on all of its accounts, or on none."""
    held = _hold(ask.body)
    _refuse(require_hold, held)
    return Reserve(held)


def reserved(ask: Ask, asked: Reserve, outcome: Admitted | Refusal | Stale | Ended) -> Any:
    """The answer to it."""
    ask.project.meter.reserved(asked.hold, outcome)
    return wire.reserved(outcome, asked.hold)


def settle(ask: Ask) -> Settle:
    """End a hold at its true cost, once; also when it expired, was released, or never seen."""
    return _settlement(ask.body)


def settled(ask: Ask, asked: Settle, outcome: Settled | Conflict) -> Any:
    """The answer to it."""
    ask.project.meter.settled(asked.hold, asked.entry, outcome)
    return wire.settled(outcome)


def release(ask: Ask) -> Release:
    """Give a hold back: the call was not made."""
    return Release(ask.body.id)


def released(ask: Ask, asked: Release, outcome: None) -> s.Done:
    """The answer to it."""
    ask.project.meter.released()
    return s.Done()


def renew(ask: Ask) -> s.Renewed:
    """Have holds whose calls live count for another ttl, also those that have expired; not those that have ended."""
    held = [_hold(each) for each in ask.body.holds]
    _refuse(require_amounts, held)
    return s.Renewed(ask.project.store.renew(held))


def settle_many(ask: Ask) -> Any:
    """Settle each of these, in their order."""
    settlements = [_settlement(each) for each in ask.body.settlements]
    outcomes = ask.project.store.settle_many(settlements)
    return s.SettledMany([settled(ask, *pair) for pair in zip(settlements, outcomes, strict=True)])


def _hold(said: Any) -> Hold:
    try:
        return wire.hold(said)
    except ConfigError as error:  # a window in another unit
        raise Refused(422, str(error), "config_error", param="accounts") from None


def _settlement(said: Any) -> Settle:
    held, entry = _hold(said.hold), wire.entry(said.entry)
    _refuse(require_entry, entry)
    if held.id != entry.hold_id:
        raise Refused(422, f"entry.hold_id={entry.hold_id!r} is not hold.id={held.id!r}", param="entry.hold_id")
    return Settle(held, entry)


def balances(ask: Ask) -> Any:
    """What these accounts have taken, in the order asked."""
    return s.Balances(wire.all_of(ask.project.store.balances(ask.body.keys)))


def accounts(ask: Ask) -> Any:
    """All accounts whose key begins with a prefix, by key, page by page."""
    asked: s.PrefixIn = ask.body
    if ask.caller.scope == SPEND and not asked.prefix.startswith(MODELS):  # which `update_cost` returns
        raise Refused(403, f"this key is for spend only; it may list what begins with {MODELS}", "permission_error")
    return s.Balances(wire.all_of(islice(ask.project.store.accounts(asked.prefix, after=asked.after), asked.limit)))


def terms(ask: Ask) -> Any:
    """The stored terms under a key."""
    found = ask.project.store.terms(ask.body.key)
    return s.FoundTerms(None if found is None else whole(found))


def put_terms(ask: Ask) -> Any:
    """Store terms with the next version; null if another version than the expected one is there."""
    body: s.PutTermsIn = ask.body
    if ask.caller.scope == SPEND and not body.key.startswith(_OF_CALLS):
        raise Refused(403, "this key is for spend only; a budget is changed with an admin key", "permission_error")
    _require_budget(body.key, body.body)
    put = ask.project.store.put_terms(body.key, body.body, expected=body.expected)
    return s.FoundTerms(None if put is None else whole(put))


def all_terms(ask: Ask) -> Any:
    """All stored terms whose key begins with a prefix, by key, page by page."""
    asked: s.PrefixIn = ask.body
    if ask.caller.scope == SPEND and not asked.prefix.startswith(_OF_CALLS):
        names = ", ".join(_OF_CALLS)
        raise Refused(403, f"this key is for spend only; it may list what begins with {names}", "permission_error")
    found = islice(ask.project.store.all_terms(asked.prefix, after=asked.after), asked.limit)
    return s.TermsPage(wire.all_of(found))


def holds(ask: Ask) -> Any:
    """Holds that are open and not expired."""
    return s.OpenHolds(wire.all_of(ask.project.store.holds()))


def entries(ask: Ask) -> Any:
    """The history, a page of it: `after` the hold id of the last one."""
    asked = wire.taken(Query, ask.body)
    most = s.MOST_PAGE if asked.limit is None else min(asked.limit, s.MOST_PAGE)
    found = ask.project.store.entries(replace(asked, limit=most))
    return s.EntriesPage(wire.all_of(found))


def totals(ask: Ask) -> Any:
    """Entries, added up in groups."""
    found = ask.project.store.totals(ask.body.by, wire.taken(Query, ask.body.query))
    return s.Totals(wire.all_of(found))


def check(ask: Ask) -> Any:
    """Add up every account from its holds and entries again."""
    return s.Differences(wire.all_of(ask.project.store.check()))


def note(ask: Ask) -> s.NotedOut:
    """Write records down beside the books; whether each is new, as it is to one only of several who note the same."""
    _require_kinds(ask, {each.kind for each in ask.body.records})
    records = [wire.taken(Record, each) for each in ask.body.records]
    return s.NotedOut(ask.project.store.note(records, replace=ask.body.replace))


def noted(ask: Ask) -> Any:
    """The records of a kind, by their ids, page by page."""
    _require_kinds(ask, {ask.body.kind})
    return s.RecordsPage(wire.all_of(ask.project.store.noted(wire.taken(RecordQuery, ask.body))))


def _require_kinds(ask: Ask, kinds: set[str]) -> None:
    """Refuse a spender what is not of its calls: who changed a budget, and what others spent."""
    if ask.caller.scope == SPEND and not kinds <= _BY_SPENDERS:
        names = " and ".join(sorted(_BY_SPENDERS))
        raise Refused(403, f"this key is for spend only; of records, it may write and read {names}", "permission_error")


def prune(ask: Ask) -> s.Pruned:
    """Delete the entries, the accounts whose period ended, and the records, before a time."""
    return s.Pruned(ask.project.store.prune(ask.body.before_ms))


def carried(ask: Ask) -> Any:
    """All accounts with what their entries do not tell, by key, page by page."""
    asked: s.AfterIn = ask.body
    found = islice(ask.project.store.carried(after=asked.after), asked.limit)
    return s.CarriedPage(wire.all_of(found))


def load(ask: Ask) -> s.Done:
    """Put rows of other books on these as they are, all of them or none: for copies and restores."""
    body = ask.body
    for each in body.accounts:
        if each.unit not in {None, unit_of(each.key)}:
            raise Refused(422, f"key={each.key!r} does not count {each.unit}, as its end says", param="accounts")
    rows = [wire.taken(Carried, each) for each in body.accounts]
    entries_ = [wire.entry(each.entry, each.at_ms) for each in body.entries]
    _refuse(require_rows, rows, entries_)
    for each in body.terms:
        _require_budget(each.key, each.body)
    ask.project.store.load(terms=[wire.taken(Terms, each) for each in body.terms], accounts=rows, entries=entries_)
    return s.Done()


def clock(ask: Ask) -> s.Now:
    """The store's clock."""
    return s.Now(ask.project.store.now_ms())


def _require_budget(key: str, body: str | None) -> None:
    """Refuse what is no budget where budgets are, and no steers where these are: whoever reads them would meet it."""
    if key == STEERS:
        try:
            read_steers(body)
        except StoreError as error:
            raise Refused(422, f"{error}; see POST /v1/steer", param="body") from None
    if body is not None and key.startswith(USERS) and not is_budget_of(key, body):
        raise Refused(422, f"key={key!r}: this body is not that user's budget; see PUT /v1/budgets", param="body")


def _refuse(require: Callable[..., None], *args: Any) -> None:
    """Refuse what no store would book: that is a fault of the request, and none of the store's."""
    try:
        require(*args)
    except StoreError as error:
        raise Refused(422, str(error), "store_error", code="absurd_amount") from None


_SPENDERS = frozenset({SPEND, ADMIN})
_READERS = frozenset({READ, ADMIN})
_ALL = frozenset({SPEND, READ, ADMIN})

ENDPOINTS = [
    Action("POST", "/v1/reserve", reserve, s.Reserved, _SPENDERS, s.HoldIn, finish=reserved),
    Action("POST", "/v1/settle", settle, s.SettledOut, _SPENDERS, s.SettlementIn, finish=settled),
    Action("POST", "/v1/release", release, s.Done, _SPENDERS, s.ReleaseIn, finish=released),
    Action(
        "POST",
        "/v1/settle_many",
        settle_many,
        s.SettledMany,
        _SPENDERS,
        s.SettlementsIn,
        slow=True,
        most_bytes=MOST_BYTES_OF_SEVERAL,
    ),
    Action("POST", "/v1/renew", renew, s.Renewed, _SPENDERS, s.HoldsIn, slow=True, most_bytes=MOST_BYTES_OF_SEVERAL),
    Action("POST", "/v1/balances", balances, s.Balances, _ALL, s.KeysIn, most_bytes=MOST_BYTES_OF_SEVERAL),
    Action("POST", "/v1/ledger/terms", terms, s.FoundTerms, _ALL, s.TermsIn),
    Action("POST", "/v1/ledger/put_terms", put_terms, s.FoundTerms, _SPENDERS, s.PutTermsIn),
    Action("POST", "/v1/ledger/clock", clock, s.Now, _ALL, s.Nothing),
    Action("POST", "/v1/ledger/accounts", accounts, s.Balances, _ALL, s.PrefixIn, slow=True),
    Action("POST", "/v1/ledger/all_terms", all_terms, s.TermsPage, _ALL, s.PrefixIn, slow=True),
    Action("POST", "/v1/ledger/holds", holds, s.OpenHolds, _READERS, s.Nothing, slow=True),
    Action("POST", "/v1/ledger/entries", entries, s.EntriesPage, _READERS, s.QueryIn, slow=True),
    Action("POST", "/v1/ledger/totals", totals, s.Totals, _READERS, s.TotalsIn, slow=True),
    Action("POST", "/v1/ledger/check", check, s.Differences, _READERS, s.Nothing, slow=True),
    Action("POST", "/v1/ledger/carried", carried, s.CarriedPage, _READERS, s.AfterIn, slow=True),
    Action(
        "POST",
        "/v1/ledger/load",
        load,
        s.Done,
        frozenset({ADMIN}),
        s.LoadIn,
        slow=True,
        most_bytes=MOST_BYTES_OF_MANY,
    ),
    Action(
        "POST",
        "/v1/ledger/note",
        note,
        s.NotedOut,
        _SPENDERS,
        s.NoteIn,
        slow=True,
        most_bytes=MOST_BYTES_OF_SEVERAL,
    ),
    Action("POST", "/v1/ledger/noted", noted, s.RecordsPage, _ALL, s.NotedIn, slow=True),
    Action("POST", "/v1/ledger/prune", prune, s.Pruned, frozenset({ADMIN}), s.PruneIn, slow=True),
]
