"""
A rehearsal: the guard decides on a call, with a copy of the books that it touches.

What is touched, projected, held and refused is worked out by what works it out for calls; only the store is another
one: in memory, at the same time, with the same terms, steers and balances. So nothing real is held or written.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from ...budgets.accounts import Cover, Coverage, read_balances
from ...budgets.rules import USERS, Budget, UserBudget, terms_key
from ...budgets.steering.known import Steers
from ...budgets.steering.steers import STEERS
from ...calls import Call, Endpoint, Host
from ...errors import BudgetGuardError
from ...guards.admission import ANY_ROOM, Asked, Bounds, hold_of, is_hard
from ...guards.background.background import Background
from ...guards.charge import Charge
from ...guards.costs.projection import Projection, Wish
from ...guards.fallbacks.fallback import Degraded, Fallback
from ...guards.guard import Guard
from ...guards.parts import Notices, Parts
from ...guards.plan import CallPlan, Plans
from ...guards.scope import Scope
from ...guards.shells import AsyncShell, Shell
from ...ledger import Account, Balance, Carried, Hold, Millis, Stale, Store, Terms, Unit, Wanted, new_id
from ...process.keeper import NEVER_MS
from ...process.layers import Ledger
from ...stores.memory.store import MemoryStore

_MOST_PLACES = 10_000
_OWN_WORDS = ("unscoped ", "fallback ")
"""How the names of those notices begin that an explanation says by itself."""


class HeardNotices(Notices):
    """What the guard says of a call is kept, instead of logged."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def warn_once(self, key: str, text: str, *args: object) -> None:
        """Keep a warning."""
        if not key.startswith(_OWN_WORDS):
            self.texts.append(text % args)

    def warn_opaque(self, name: str) -> None:
        """Nothing: a call whose model is not named is no operation that cannot be counted."""


class Rehearsed(NamedTuple):
    """What the guard decided on one model."""

    plan: CallPlan
    projection: Projection | None
    """`None`: nothing would be held for it, or no model was named."""
    wish: Wish
    hold: Hold
    """What it asked its accounts for."""
    bounds: Bounds
    error: BudgetGuardError | None = None
    near: bool = False
    """Whether a budget is so near its limit that another model is asked at once."""


class Rehearsal:
    """The books that calls with certain tags touch, copied, and a guard's parts around them."""

    def __init__(self, store: Store, guard: Guard, rules: Sequence[Budget], tags: Mapping[str, str]) -> None:
        self.tags = tags
        self.rules = rules
        self.now_ms: Millis = store.now_ms()
        self._clock_s = (self.now_ms + 0.25) / 1000  # whoever rounds it, and whoever cuts it, comes to the same
        self.coverage = Coverage(rules, self._clock)
        self.books = MemoryStore(clock=self._clock, namespace=store.namespace)
        self.own: UserBudget | None = None
        """The user's own budget, if they have one."""
        self._learn(store)
        self.cover: Cover = self.coverage.cover(tags)
        self.balances: list[Balance] = read_balances(store, self.cover.accounts)
        """Of its accounts, in their order, windows included."""
        self._copy(store)
        self.heard = HeardNotices()
        self.shell = Shell()
        self._parts = self._made_of(guard)

    def _clock(self) -> float:
        return self._clock_s

    def _learn(self, store: Store) -> None:
        """Take over what people changed, and whose budget it is."""
        user = self.tags.get("user")
        known: list[Terms | None] = [store.terms(STEERS) if self.rules else None]
        if user is not None:
            known.append(store.terms(terms_key(user)))
        else:  # whether anybody has a budget matters to a call that names nobody
            known.append(next(store.all_terms(USERS), None))
        found = [terms for terms in known if terms is not None]
        self.books.load(terms=found)
        self.coverage.take_steers(Steers.of(found[0] if found and found[0].key == STEERS else None))
        self.coverage.people(user is None and any(terms.key != STEERS for terms in found))
        for terms in found:
            if terms.key != STEERS and user is not None:
                self.coverage.learn(Stale(self.now_ms, (terms,)))
                self.own = None if terms.body is None else UserBudget.from_text(terms.body, terms.version)

    def _copy(self, store: Store) -> None:
        """Have the accounts stand as they do in the store, each bucket of a window by itself."""
        keys = [key for account in self.cover.accounts for key in (account.key, *account.window)]
        for balance in store.balances(list(dict.fromkeys(keys))):
            if balance.settled:
                self.books.load(accounts=[Carried(balance.key, None, balance.settled)])
            if balance.held:
                self._hold(Account(balance.key), balance.held)

    def _hold(self, account: Account, amount: int) -> None:
        unit = account.unit
        if unit == "parallel":
            for _ in range(min(amount, _MOST_PLACES)):
                self.books.reserve(Hold(new_id(), (account,), 0, ttl_ms=NEVER_MS))
        else:
            dollars = amount if unit == "dollars" else 0
            units: dict[Unit, Wanted] = {} if unit == "dollars" else {unit: Wanted(amount)}
            self.books.reserve(Hold(new_id(), (account,), dollars, ttl_ms=NEVER_MS, units=units))

    def _made_of(self, guard: Guard) -> Parts:
        settings = replace(guard.settings, ttl_ms=NEVER_MS)  # no thread is to keep what is held here
        return Parts(
            plans=Plans(guard.prices, self.coverage, stored=True, settings=settings),
            ledger=Ledger(self.books, marks=self.coverage.marks),
            settings=settings,
            notices=self.heard,
            later=Background(self.books),
            shell=self.shell,
            async_shell=AsyncShell(),
            clock=self._clock,
        )

    def attempt(
        self, endpoint: Endpoint, provider: str | None, host: Host, call: Call, fallback: Fallback | None
    ) -> Rehearsed:
        """Have the guard admit a call, and take it back."""
        instead_of = "" if fallback is None or not fallback.model else fallback.asked
        asked = Asked(endpoint, provider, host, self.tags, Scope(self.tags), instead_of)
        charge = Charge(self._parts, asked, call)
        charge.fallback = fallback
        error, near = None, False
        try:
            self.shell.run(charge.admit())
        except Degraded:
            near = True
        except BudgetGuardError as refused:
            error = refused
        try:
            projection = None if endpoint.opaque else charge.projected()
            wish = ANY_ROOM if endpoint.opaque else Wish(0, None, 0, 0)
            if projection is not None:
                wish = projection.wish(is_hard(charge), charge.plan.cover.tokens)
            hold, _ = hold_of(charge, wish)
        finally:
            charge.failed(free=True)
            self.shell.run(charge.close())
        return Rehearsed(charge.plan, projection, wish, hold, charge.bounds, error, near)
