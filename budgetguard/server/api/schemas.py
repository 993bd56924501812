"""What the native API reads and answers: typed structs, which also make its OpenAPI document."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ...ledger import DEFAULT_TTL_MS

MOST_ACCOUNTS = 1_000
MOST_SETTLEMENTS = 10_000
MOST_KEYS = 20_000
PAGE = 1_000
MOST_PAGE = 10_000

_INT64 = 2**63 - 1
Whole = Annotated[int, Meta(ge=-_INT64, le=_INT64)]
"""Any integer that every store can keep; an amount that is out of bounds is told so by name."""
Version = Annotated[int, Meta(ge=0, le=_INT64)]
LoadedVersion = Annotated[int, Meta(ge=0, le=10**15)]
"""One of other books, to which a store still adds."""
Page = Annotated[int, Meta(ge=1, le=MOST_PAGE, description="How many at most.")]
Text = Annotated[str, Meta(max_length=100_000)]
Tags = dict[Text, Text]


class AccountIn(Struct, forbid_unknown_fields=True, frozen=True):
    """One budget, for one subject, in one period; `limit` in nano-dollars, null: counted, never refused."""

    key: Text
    limit: Whole | None = None
    enforce: Literal["hard", "soft", "observe"] = "hard"
    share: Annotated[int, Meta(ge=1, le=_INT64)] = 1
    start_ms: Whole | None = None
    end_ms: Whole | None = None
    window: Annotated[tuple[Text, ...], Meta(max_length=MOST_ACCOUNTS)] = ()


class KnownTerms(Struct, forbid_unknown_fields=True, frozen=True):
    """The version of a stored budget that a hold was computed from."""

    key: Text
    version: Version


class HoldIn(Struct, forbid_unknown_fields=True, frozen=True):
    """Money to be set aside for one call. The caller makes the `id`, and may repeat the request with it."""

    id: Annotated[str, Meta(min_length=1, max_length=200)]
    accounts: Annotated[tuple[AccountIn, ...], Meta(max_length=MOST_ACCOUNTS)]
    amount: Whole
    least: Whole | None = None
    useful: Whole = 0
    ttl_ms: Annotated[int, Meta(ge=0, le=10**12)] = DEFAULT_TTL_MS
    on_expire: Literal["release", "charge"] = "release"
    terms: Annotated[tuple[KnownTerms, ...], Meta(max_length=MOST_ACCOUNTS)] = ()
    tags: Tags = {}
    provider: Text = ""
    model: Text = ""
    leases: Annotated[tuple[Text, ...], Meta(max_length=MOST_ACCOUNTS)] = ()


class EntryIn(Struct, forbid_unknown_fields=True, frozen=True):
    """What a call cost, in nano-dollars, and what it used."""

    hold_id: Annotated[str, Meta(min_length=1, max_length=200)]
    cost: Whole
    accounts: Annotated[tuple[Text, ...], Meta(max_length=MOST_ACCOUNTS)] = ()
    tags: Tags = {}
    provider: Text = ""
    model: Text = ""
    usage: dict[Text, Whole] = {}
    flags: Annotated[tuple[Text, ...], Meta(max_length=20)] = ()


class SettlementIn(Struct, forbid_unknown_fields=True, frozen=True):
    """A hold, and the entry that ends it."""

    hold: HoldIn
    entry: EntryIn


class SettlementsIn(Struct, forbid_unknown_fields=True, frozen=True):
    """Many settlements, in their order."""

    settlements: Annotated[tuple[SettlementIn, ...], Meta(max_length=MOST_SETTLEMENTS)]


class HoldsIn(Struct, forbid_unknown_fields=True, frozen=True):
    """Holds whose calls live, each with the amount that was admitted."""

    holds: Annotated[tuple[HoldIn, ...], Meta(max_length=MOST_SETTLEMENTS)]


class ReleaseIn(Struct, forbid_unknown_fields=True, frozen=True):
    """The hold to give back."""

    id: Annotated[str, Meta(min_length=1, max_length=200)]


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


class QueryIn(Struct, forbid_unknown_fields=True, frozen=True):
    """Which entries: all that match every field that is set. Times are [since_ms, until_ms)."""

    since_ms: Whole | None = None
    until_ms: Whole | None = None
    tags: Tags = {}
    model: Text | None = None
    after: Text | None = None
    limit: Annotated[int, Meta(ge=0, le=_INT64)] | None = None


class TotalsIn(Struct, forbid_unknown_fields=True, frozen=True):
    """Entries summed by "model", "provider", "day" or the name of a tag."""

    by: Annotated[tuple[Text, ...], Meta(max_length=20)]
    query: QueryIn = QueryIn()


class PruneIn(Struct, forbid_unknown_fields=True, frozen=True):
    """What is older goes."""

    before_ms: Whole


class LoadedTerms(Struct, forbid_unknown_fields=True, frozen=True):
    """Terms of other books, with their version."""

    key: Text
    version: LoadedVersion
    body: Text | None


class CarriedIn(Struct, forbid_unknown_fields=True, frozen=True):
    """An account of other books, with what its entries do not tell."""

    key: Text
    end_ms: Whole | None = None
    pruned: Whole = 0


class LoadedEntry(Struct, forbid_unknown_fields=True, frozen=True):
    """An entry of other books, with its time."""

    entry: EntryIn
    at_ms: Whole


class LoadIn(Struct, forbid_unknown_fields=True, frozen=True):
    """Rows of other books, as they are."""

    terms: Annotated[tuple[LoadedTerms, ...], Meta(max_length=MOST_PAGE)] = ()
    accounts: Annotated[tuple[CarriedIn, ...], Meta(max_length=MOST_PAGE)] = ()
    entries: Annotated[tuple[LoadedEntry, ...], Meta(max_length=MOST_PAGE)] = ()


class Nothing(Struct, forbid_unknown_fields=True, frozen=True):
    """An empty object."""


# -- answers ---------------------------------------------------------------------------------------------------------


class RefusalOut(Struct, frozen=True):
    """The first account that has no room; nothing was held."""

    place: int
    key: str
    limit: int | None
    settled: int
    held: int
    busy: bool


class TermsOut(Struct, frozen=True):
    """The stored terms of one subject's own budget."""

    key: str
    version: int
    body: str | None


class StaleOut(Struct, frozen=True):
    """The hold was computed from old terms or a wrong clock: compute it again."""

    now_ms: int
    terms: list[TermsOut]


class Reserved(Struct, frozen=True, omit_defaults=True):
    """The answer to a reserve: one of these is set. A refusal is an answer, not an error."""

    admitted: int | None = None
    refusal: RefusalOut | None = None
    stale: StaleOut | None = None
    ended: bool = False


class SettledOut(Struct, frozen=True, omit_defaults=True):
    """The cost stands; or a `conflict` with the cost that was recorded before, which stands."""

    settled: int | None = None
    late: bool | None = None
    conflict: int | None = None


class SettledMany(Struct, frozen=True):
    """The answers, in the order of the settlements."""

    answers: list[SettledOut]


class Renewed(Struct, frozen=True):
    """Whether each of the holds counts, in their order."""

    counts: list[bool]


class BalanceOut(Struct, frozen=True):
    """What an account has taken so far."""

    key: str
    settled: int
    held: int


class Balances(Struct, frozen=True):
    """Accounts."""

    balances: list[BalanceOut]


class FoundTerms(Struct, frozen=True):
    """The terms; null if there are none, or if nothing was changed."""

    terms: TermsOut | None


class TermsPage(Struct, frozen=True):
    """Terms, by key."""

    terms: list[TermsOut]


class OpenHoldOut(Struct, frozen=True):
    """A hold that has not ended."""

    id: str
    amount: int
    accounts: tuple[str, ...]
    placed_ms: int
    expires_ms: int
    tags: dict[str, str]
    provider: str
    model: str


class OpenHolds(Struct, frozen=True):
    """Holds, the oldest first."""

    holds: list[OpenHoldOut]


class EntryOut(Struct, frozen=True):
    """A line of the history."""

    hold_id: str
    cost: int
    accounts: tuple[str, ...]
    at_ms: int
    tags: dict[str, str]
    provider: str
    model: str
    usage: dict[str, int]
    flags: list[str]


class EntriesPage(Struct, frozen=True):
    """Entries, the oldest first."""

    entries: list[EntryOut]


class TotalOut(Struct, frozen=True):
    """What one group of entries adds up to."""

    group: tuple[str, ...]
    cost: int
    calls: int
    input_tokens: int
    output_tokens: int
    estimated: int


class Totals(Struct, frozen=True):
    """The groups, in their order."""

    totals: list[TotalOut]


class DifferenceOut(Struct, frozen=True):
    """An account whose books do not add up."""

    key: str
    kind: Literal["settled", "held"]
    booked: int
    summed: int


class Differences(Struct, frozen=True):
    """None, if the books add up."""

    differences: list[DifferenceOut]


class Pruned(Struct, frozen=True):
    """How many entries went."""

    pruned: int


class CarriedOut(Struct, frozen=True):
    """What an account has beside its entries."""

    key: str
    end_ms: int | None
    pruned: int


class CarriedPage(Struct, frozen=True):
    """Accounts, by key."""

    accounts: list[CarriedOut]


class Now(Struct, frozen=True):
    """The store's clock."""

    now_ms: int


class Done(Struct, frozen=True):
    """It is done."""

    done: Literal[True] = True
