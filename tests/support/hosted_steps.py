"""
One use of a hosted store after the other, of every verb and every kind of answer, in dollars.

What the client of version 1 sent for them, and what the server of version 1 answered, is in
`tests/upgrades/kept/http_version_1.json`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from budgetguard.ledger import Account, Carried, Entry, Hold, Query, Store, Terms
from budgetguard.testing.clock import START_S

START_MS = round(START_S * 1000)
TEAM = Account("team/2027-01", limit=100)
ODD = Account(
    "daily//2027-01-01",
    limit=1_000,
    enforce="soft",
    share=4,
    start_ms=START_MS - 1_000,
    end_ms=START_MS + 90_000,
    window=("daily//2026-12-31", "daily//2026-12-30"),
    lease="charge",
)
FREE = Account("counted")


def hold(number: int, amount: int, *accounts: Account, **fields: Any) -> Hold:
    return Hold(f"{number:032x}", accounts or (TEAM,), amount, **fields)


FIRST = hold(1, 60)
FULL = hold(
    2,
    30,
    TEAM,
    ODD,
    FREE,
    least=10,
    useful=20,
    ttl_ms=60_000,
    on_expire="charge",
    terms=(("ann", 1), ("bob", 0)),
    tags={"user": "ann", "name": "Ünï \ud800 \x1a"},
    provider="openai",
    model="gpt",
    leases=(FIRST.id,),
)
NEVER = hold(3, 5)
FULL_ENTRY = Entry(
    FULL.id,
    25,
    ("models/ann/gpt", "#1"),
    tags=FULL.tags,
    provider="openai",
    model="gpt",
    usage={"input_tokens": 5, "output_tokens": 2**80},
    flags=frozenset({"cut", "capped"}),
)
LOADED = Entry("f" * 32, 3, ("old",), START_MS - 5_000, {"user": "bob"}, "openai", "gpt", {"input_tokens": 1})

STEPS: dict[str, Callable[[Store], Any]] = {
    "a clock": lambda store: store.now_ms(),
    "terms are stored": lambda store: store.put_terms("ann", "{}"),
    "terms are not stored over another version": lambda store: store.put_terms("ann", "x", expected=7),
    "terms": lambda store: store.terms("ann"),
    "no terms": lambda store: store.terms("nobody"),
    "all terms": lambda store: list(store.all_terms("a")),
    "a hold": lambda store: store.reserve(FIRST),
    "a hold of all fields": lambda store: store.reserve(FULL),
    "a hold again": lambda store: store.reserve(FULL),
    "a refusal": lambda store: store.reserve(hold(4, 50, FREE, TEAM)),
    "stale terms": lambda store: store.reserve(hold(5, 1, terms=(("ann", 0),))),
    "a wrong clock": lambda store: store.reserve(hold(5, 1, Account("past", end_ms=START_MS - 1))),
    "holds": lambda store: store.holds(),
    "a renewal": lambda store: store.renew([FIRST, FULL._replace(least=None, useful=0)]),
    "a settlement": lambda store: store.settle(FULL, FULL_ENTRY),
    "a settlement again": lambda store: store.settle(FULL, FULL_ENTRY),
    "a conflict": lambda store: store.settle(FULL, FULL_ENTRY._replace(cost=26)),
    "a late settlement": lambda store: store.settle(NEVER, Entry(NEVER.id, 4)),
    "several settlements": lambda store: store.settle_many([(FIRST, Entry(FIRST.id, 0)), (NEVER, Entry(NEVER.id, 5))]),
    "a release": lambda store: store.release(hold(6, 1).id),
    "a hold that has ended": lambda store: store.reserve(hold(6, 1)),
    "balances": lambda store: store.balances([TEAM.key, "never"]),
    "accounts": lambda store: list(store.accounts("d", after="c")),
    "rows of other books": lambda store: store.load(
        terms=[Terms("bob", 3, None)], accounts=[Carried("old", START_MS, 7), Carried("older")], entries=[LOADED]
    ),
    "the history": lambda store: list(store.entries()),
    "some of the history": lambda store: list(
        store.entries(Query(START_MS - 9_000, START_MS + 9_000, {"user": "bob"}, "gpt", None, 5))
    ),
    "totals": lambda store: store.totals(["user", "model"], Query(tags={"user": "bob"})),
    "what adds up": lambda store: store.check(),
    "accounts with what was pruned": lambda store: list(store.carried(after="d")),
    "what is old": lambda store: store.prune(START_MS - 1_000),
}
"""By what each is about; in this order, on an empty store whose clock stands at `START_S`."""
