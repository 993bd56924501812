"""What the native API reads and answers: structs, which also make its OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct

from ...ledger import (
    KEPT_FOR_EVER,
    Account,
    Balance,
    Carried,
    Difference,
    Entry,
    Hold,
    OpenHold,
    Query,
    Record,
    Terms,
    Total,
    Unit,
)
from .wire import MOST_ACCOUNTS, MOST_INT, Text, Whole, answer, body, listed, several

MOST_SETTLEMENTS = 10_000
MOST_KEYS = 20_000
PAGE = 1_000
MOST_PAGE = 10_000
MOST_RECORDS = 1_000

Version = Annotated[int, Meta(ge=0, le=MOST_INT)]
LoadedVersion = Annotated[int, Meta(ge=0, le=10**15)]
"""One of other books, to which a store still adds."""
Page = Annotated[int, Meta(ge=1, le=MOST_PAGE, description="How many at most.")]
Id = Annotated[str, Meta(min_length=1, max_length=200)]


class KnownTerms(Struct, forbid_unknown_fields=True, frozen=True):
    """The version of a stored budget that a hold was computed from."""

    key: Text
    version: Version


AccountIn = body(
    "AccountIn",
    "One budget, for one subject, in one period, in the unit that the end of its key says (`#tokens`, `#requests`, "
    "`#parallel`, or nano-dollars). A `limit` of null: counted, never refused.",
    Account,
    without=("lease",),
    share=Annotated[int, Meta(ge=1, le=MOST_INT)],
)
HoldIn = body(
    "HoldIn",
    "What is to be set aside for one call: nano-dollars, and in `units` what it wants beside dollars, of which tokens "
    "have to be said where an account counts them. The caller makes the `id`, and may repeat the request with it.",
    Hold,
    id=Id,
    accounts=several(AccountIn, MOST_ACCOUNTS),
    ttl_ms=Annotated[int, Meta(ge=0, le=10**12)],
    terms=several(KnownTerms, MOST_ACCOUNTS),
)
EntryIn = body(
    "EntryIn",
    "What a call cost, in nano-dollars, what it used, and in `units` what it counts for beside dollars: no tokens and "
    "one request, where nothing is said.",
    Entry,
    without=("at_ms",),
    hold_id=Id,
    flags=several(Text, 20),
)
SettlementIn = body("SettlementIn", "A hold, and the entry that ends it.", hold=HoldIn, entry=EntryIn)
SettlementsIn = body(
    "SettlementsIn", "Many settlements, in their order.", settlements=several(SettlementIn, MOST_SETTLEMENTS)
)
HoldsIn = body(
    "HoldsIn",
    "Holds whose calls live, each with the amounts that were admitted.",
    holds=several(HoldIn, MOST_SETTLEMENTS),
)


class ReleaseIn(Struct, forbid_unknown_fields=True, frozen=True):
    """The hold to give back."""

    id: Id


class KeysIn(Struct, forbid_unknown_fields=True, frozen=True):
    """Which accounts."""

    keys: Annotated[tuple[Text, ...], Meta(max_length=MOST_KEYS)]


class PrefixIn(Struct, forbid_unknown_fields=True, frozen=True):
    """Which keys: those that begin with `prefix` and come behind `after`."""

    prefix: Text = ""
    after: Text | None = None
    limit: Page = MOST_PAGE


class AfterIn(Struct, forbid_unknown_fields=True, frozen=True):
    """Which keys: those that come behind `after`."""

    after: Text | None = None
    limit: Page = MOST_PAGE


class TermsIn(Struct, forbid_unknown_fields=True, frozen=True):
    """Which terms."""

    key: Text


class PutTermsIn(Struct, forbid_unknown_fields=True, frozen=True):
    """New terms; null removes them. With `expected`, only over that version."""

    key: Text
    body: Annotated[str, Meta(max_length=1_000_000)] | None
    expected: Version | None = None


QueryIn = body(
    "QueryIn",
    "Which entries: all that match every field that is set. Times are [since_ms, until_ms).",
    Query,
    limit=Annotated[int, Meta(ge=0, le=MOST_INT)] | None,
)
TotalsIn = body(
    "TotalsIn",
    'Entries summed by "model", "provider", "day" or the name of a tag.',
    by=several(Text, 20),
    query=(QueryIn, QueryIn()),
)


class PruneIn(Struct, forbid_unknown_fields=True, frozen=True):
    """What is older goes."""

    before_ms: Whole


LoadedTerms = body("LoadedTerms", "Terms of other books, with their version.", Terms, version=LoadedVersion)
CarriedIn = body(
    "CarriedIn",
    "An account of other books, with what its entries do not tell. Its `unit`, where it is said, is what its key says.",
    Carried,
    unit=(Unit | None, None),
)
LoadedEntry = body("LoadedEntry", "An entry of other books, with its time.", entry=EntryIn, at_ms=Whole)
LoadIn = body(
    "LoadIn",
    "Rows of other books, as they are.",
    terms=(several(LoadedTerms, MOST_PAGE), ()),
    accounts=(several(CarriedIn, MOST_PAGE), ()),
    entries=(several(LoadedEntry, MOST_PAGE), ()),
)


Kind = Annotated[str, Meta(pattern="^[a-z]{1,40}$", description="What a record is one of, such as `refusal`.")]
Name = Annotated[str, Meta(max_length=1_000)]
Moment = Annotated[int, Meta(ge=0, le=KEPT_FOR_EVER)]
RecordIn = body(
    "RecordIn",
    "One thing that happened, beside the books. Its `body` is JSON that nobody looks into; it is pruned with the "
    "history of its time, but not before `until_ms`.",
    Record,
    kind=Kind,
    id=Name,
    at_ms=Moment,
    body=Annotated[str, Meta(max_length=65_536)],
    until_ms=Moment | None,
)
NoteIn = body(
    "NoteIn",
    "Records to be written down. One whose kind and id are there stays as it is; with `replace` it becomes the one "
    "given.",
    records=several(RecordIn, MOST_RECORDS),
    replace=(bool, False),
)


class NotedIn(Struct, forbid_unknown_fields=True, frozen=True):
    """Which records of a kind: those whose id is in (after, before), in the order of their ids."""

    kind: Kind
    after: Name | None = None
    before: Name | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_RECORDS)] = MOST_RECORDS
    newest: bool = False


class Nothing(Struct, forbid_unknown_fields=True, frozen=True):
    """An empty object."""


# -- answers ---------------------------------------------------------------------------------------------------------


BalanceOut = answer("BalanceOut", "What an account has taken so far, in its unit.", Balance)
TermsOut = answer("TermsOut", "The stored terms of one subject's own budget.", Terms)
OpenHoldOut = answer("OpenHoldOut", "A hold that has not ended, and in `units` what it holds beside dollars.", OpenHold)
EntryOut = answer(
    "EntryOut", "A line of the history; `units` has what is not usual: no tokens, and one request.", Entry
)
TotalOut = answer("TotalOut", "What one group of entries adds up to.", Total)
DifferenceOut = answer("DifferenceOut", "An account whose books do not add up.", Difference)
CarriedOut = answer("CarriedOut", "What an account has beside its entries, in its unit.", Carried)

RecordOut = answer("RecordOut", "One thing that happened, beside the books.", Record)

RefusalOut = answer(
    "RefusalOut",
    "The first account that has no room, by its place in the hold; nothing was held.",
    Balance,
    place=int,
    limit=int | None,
    busy=bool,
)
StaleOut = answer(
    "StaleOut",
    "The hold was computed from old terms or a wrong clock: compute it again.",
    now_ms=int,
    terms=listed(TermsOut),
)
Reserved = answer(
    "Reserved",
    "The answer to a reserve: one of `admitted`, `refusal`, `stale` and `ended`. A refusal is an answer, not an error. "
    "With `admitted`, the nano-dollars that are held, come the `units` held beside them, and the balance of each "
    "account of the hold, its window included.",
    admitted=(int, UNSET),
    units=(dict[Unit, int], UNSET),
    balances=(listed(BalanceOut), UNSET),
    refusal=(RefusalOut, UNSET),
    stale=(StaleOut, UNSET),
    ended=(Literal[True], UNSET),
)
SettledOut = answer(
    "SettledOut",
    "The cost stands, and the balance of each account of the hold, its window included, and of each of the entry is "
    "this; or a `conflict` with the cost, and the `units`, that were recorded before, which stand.",
    settled=(int, UNSET),
    late=(bool, UNSET),
    balances=(listed(BalanceOut), UNSET),
    conflict=(int, UNSET),
    units=(dict[Unit, int], UNSET),
)
SettledMany = answer("SettledMany", "The answers, in the order of the settlements.", answers=listed(SettledOut))
Balances = answer("Balances", "Accounts.", balances=listed(BalanceOut))
FoundTerms = answer(
    "FoundTerms", "The terms; null if there are none, or if nothing was changed.", terms=TermsOut | None
)
TermsPage = answer("TermsPage", "Terms, by key.", terms=listed(TermsOut))
OpenHolds = answer("OpenHolds", "Holds, the oldest first.", holds=listed(OpenHoldOut))
EntriesPage = answer("EntriesPage", "Entries, the oldest first.", entries=listed(EntryOut))
Totals = answer("Totals", "The groups, in their order.", totals=listed(TotalOut))
Differences = answer("Differences", "None, if the books add up.", differences=listed(DifferenceOut))
CarriedPage = answer("CarriedPage", "Accounts, by key.", accounts=listed(CarriedOut))

RecordsPage = answer("RecordsPage", "Records, by their ids.", records=listed(RecordOut))


class NotedOut(Struct, frozen=True):
    """Whether each of the records is new, in their order."""

    new: list[bool]


class Renewed(Struct, frozen=True):
    """Whether each of the holds counts, in their order."""

    counts: list[bool]


class Pruned(Struct, frozen=True):
    """How many entries went."""

    pruned: int


class Now(Struct, frozen=True):
    """The store's clock."""

    now_ms: int


class Done(Struct, frozen=True):
    """It is done."""

    done: Literal[True] = True
