"""
Users' own budgets: who has one, how much of it is left, and how it is changed.

A store keeps them as terms, each with a version. Whoever changes one reads it, and writes only over the version that
was read; if somebody else came between, it is read again. So no change is lost, from whichever process it comes. Each
change is in the audit (`steering/audit.py`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, TypeVar

from ..calls import tokens_in
from ..errors import ContendedError, UnknownUserError
from ..ledger import NO_USAGE, Clock, Conflict, Entry, Hold, Millis, Settled, Stale, Store, new_id
from ..money import MAX_AMOUNT, Nano
from .accounts import Coverage, read_balances
from .rules import MODELS, USERS, Budget, UserBudget, model_keys, terms_key, unescape
from .said.checks import require_text
from .steering.audit import Author, Changed, write_down
from .steering.states import Condition, is_raised, left_of, state_of

T = TypeVar("T")

_TRIES = 16
_FEW = 8
"""Of so many accounts the spend on each model is asked for one by one; of more, everybody's at once."""
_MOST_RESETS = 10**15


@dataclass(frozen=True, slots=True)
class Standing:
    """One user's budget and its books in this period, in the budget's unit."""

    budget: UserBudget
    spent: int
    held: int
    resets_ms: Millis | None
    limit: int | None
    """What holds now: that of the budget's rule, as people changed it since."""

    @property
    def left(self) -> int | None:
        """What may still be spent; `None` without a limit."""
        return left_of(self.limit, self.spent, self.held, self.state)

    @property
    def state(self) -> Condition:
        """How it is, in a word."""
        rule, raised = self.budget.rule, is_raised(self.budget.rule.limit, self.limit)
        paused = self.budget.steer.paused
        return state_of(
            self.limit, self.spent, self.held, paused=paused, raised=raised, unit=rule.unit, warn_at=rule.warn_at
        )


class Users:
    """
    The users' budgets in one store.

    `coverage`, which says what a guard's calls touch, is told of everything that is read and changed here; without
    one, users have no budgets but their own. `author` is who changes them, as the audit has it.
    """

    def __init__(
        self,
        store: Store,
        coverage: Coverage | None = None,
        *,
        clock: Clock = time.time,
        author: Author = Author(),  # noqa: B008  # a tuple, which nobody can change
    ) -> None:
        self.store = store
        self.coverage = Coverage((), clock) if coverage is None else coverage
        self.clock = clock
        self.author = author

    def by(self, author: Author) -> Users:
        """The same for another author."""
        return Users(self.store, self.coverage, clock=self.clock, author=author)

    # -- who has which -------------------------------------------------------------------------------------------

    def find(self, user: str) -> UserBudget | None:
        """The user's budget as it is now; `None` without one."""
        return self._read(user)[1]

    def get(self, user: str) -> UserBudget:
        """The user's budget as it is now; raises `UnknownUserError`, a `KeyError`."""
        own = self.find(user)
        if own is None:
            name = repr(user) if isinstance(user, str) else f"of {type(user).__name__}"  # an answer has texts of users
            raise UnknownUserError(f"no budget was created for user {name}: call create_budget first", user=user)
        return own

    def all(self, *, after: str | None = None) -> Iterator[UserBudget]:
        """Every user's budget, by name; with `after`, of those behind that user."""
        for terms in self.store.all_terms(USERS, after=None if after is None else terms_key(after)):
            if terms.body is not None:
                yield UserBudget.from_text(terms.body, terms.version)

    # -- changing them -------------------------------------------------------------------------------------------

    def put(self, user: str, rule: Budget, *, created_s: float | None = None, note: str = "") -> UserBudget:
        """Give a user this budget, whether they had one or not; the spend stays."""
        require_text(user, "user")
        was: list[UserBudget | None] = []

        def put() -> UserBudget | None:
            version, own = self._read(user)
            was[:] = [own]
            own = self._new(user, rule, version) if own is None else replace(own.ruled(rule), updated_s=self.clock())
            return self.replace(own if created_s is None else replace(own, created_s=created_s, updated_s=created_s))

        made = insist(put, f"user={user!r}: the budget is")
        self._write_down("create" if was[0] is None else "change", user, was[0], made, note)
        return made

    def add(self, user: str, rule: Budget, *, note: str = "") -> UserBudget | None:
        """Give a user a budget; `None`: they have one, or are just given one."""
        version, own = self._read(require_text(user, "user"))
        made = self.replace(self._new(user, rule, version)) if own is None else None
        if made is not None:
            self._write_down("create", user, None, made, note)
        return made

    def change(
        self, user: str, changed: Callable[[UserBudget], UserBudget], *, what: str = "change", note: str = ""
    ) -> UserBudget:
        """Put what `changed` makes of a user's budget, of a newer one again; raises `UnknownUserError`."""
        was: list[UserBudget] = []

        def watched(own: UserBudget) -> UserBudget:
            was[:] = [own]
            return changed(own)

        made = self.swap(user, watched)
        self._write_down(what, user, was[0], made, note)
        return made

    def swap(self, user: str, changed: Callable[[UserBudget], UserBudget]) -> UserBudget:
        """`change`, for who writes the audit."""
        return insist(lambda: self.replace(changed(self.get(user))), f"user={user!r}: the budget is")

    def renew(self, user: str, *, note: str = "") -> UserBudget:
        """Begin a user's period again with nothing spent; the history stays. Raises `UnknownUserError`."""
        return self.change(user, lambda own: own.renewed(self.clock()), what="reset", note=note)

    def replace(self, own: UserBudget) -> UserBudget | None:
        """Put a budget over the version that it was read with; `None`: somebody else changed it since."""
        terms = self.store.put_terms(terms_key(own.user), own.to_text(), expected=own.version)
        if terms is None:
            return None
        put = replace(own, version=terms.version)
        self.coverage.know(put)
        return put

    def remove(self, user: str, *, note: str = "") -> None:
        """Take a user's budget away; the history stays. Raises `UnknownUserError`."""
        own = self.get(user)
        removed = self.store.put_terms(terms_key(user), None)
        if removed is not None:
            self.coverage.learn(Stale(0, (removed,)))
        self._write_down("remove", user, own, None, note)

    def _write_down(self, what: str, user: str, was: UserBudget | None, now: UserBudget | None, note: str) -> None:
        """Have the audit tell of a change, if it is one."""
        before, after = told_of(was), told_of(now)
        if before != after:
            who, via = self.author
            change = Changed(who, via, what, "users", user, before, after, note)
            write_down(self.store, change, round(self.clock() * 1000))

    # -- what was spent ------------------------------------------------------------------------------------------

    def standing(self, own: UserBudget, now_ms: Millis) -> Standing:
        """A user's budget with its books."""
        return self.standings([own], now_ms)[0]

    def standings(self, budgets: Collection[UserBudget], now_ms: Millis) -> list[Standing]:
        """Budgets with their books, in one look at the store."""
        taken = read_balances(self.store, [own.account(now_ms) for own in budgets])
        return [
            Standing(own, balance.settled, balance.held, own.rule.window(now_ms).resets_ms, own.limit_at(now_ms))
            for own, balance in zip(budgets, taken, strict=True)
        ]

    def spent_by_model(self, budgets: Collection[UserBudget], now_ms: Millis) -> dict[str, dict[str, Nano]]:
        """What users spent in this period on each model; of many, in one look at the store."""
        found: dict[str, dict[str, Nano]] = {own.user: {} for own in budgets}
        whose = {prefix: found[own.user] for own in budgets for prefix in own.model_prefixes(now_ms)}
        for prefix in whose if len(whose) < _FEW or len(found) == 1 else [MODELS]:
            for balance in self.store.accounts(prefix):
                stem, slash, model = balance.key.rpartition("/")
                costs = whose.get(stem + slash)
                if costs is not None:
                    name = unescape(model)
                    costs[name] = costs.get(name, 0) + balance.settled
        return found

    # -- spend that no guard saw -----------------------------------------------------------------------------------

    def book(
        self,
        own: UserBudget,
        cost: Nano,
        *,
        model: str,
        usage: Mapping[str, int] = NO_USAGE,
        hold_id: str = "",
        counted: Mapping[str, str] | None = None,
        at_ms: Millis | None = None,
    ) -> Settled | Conflict:
        """
        Book a cost on a user by hand; with `hold_id`, once.

        `counted` are the tags of a guarded call that this is the cost of: what it was charged to is not charged again.
        `at_ms` is when, by the store's clock; `None`: now, as far as this process knows.
        """
        tags = {**(counted or {}), "user": own.user}
        self.coverage.know(own)
        self.coverage.read_steers(self.store)
        before = () if counted is None else self.coverage.cover(counted, at_ms).accounts
        accounts = tuple(account for account in self.coverage.cover(tags, at_ms).accounts if account not in before)
        entry = Entry(
            hold_id or new_id(),
            cost,
            accounts=model_keys([account.key for account in accounts], model),
            tags=tags,
            model=model,
            usage=usage,
            flags=frozenset({"manual"}),
            units={"tokens": tokens} if (tokens := tokens_in(usage)) else {},
        )
        return self.store.settle(Hold(entry.hold_id, accounts, cost, tags=tags, model=model), entry)

    def book_rest(
        self, own: UserBudget, cost: Nano, *, model: str, hold_id: Callable[[Nano], str], at_ms: Millis | None = None
    ) -> Nano:
        """
        Book a cost of which some may be on the books already; how much is, then.

        `hold_id` names the booking that comes after so much: an id that is taken tells how much it booked.
        """
        booked = 0
        while True:
            outcome = self.book(own, cost - booked, model=model, hold_id=hold_id(booked), at_ms=at_ms)
            booked += outcome.recorded if isinstance(outcome, Conflict) else cost - booked
            if booked >= cost:
                return booked

    def _read(self, user: str) -> tuple[int, UserBudget | None]:
        """The version of what the store has of a user, and the budget, if it is one."""
        terms = self.store.terms(terms_key(user)) if isinstance(user, str) else None
        if terms is None or terms.body is None:
            return 0 if terms is None else terms.version, None
        own = UserBudget.from_text(terms.body, terms.version)
        self.coverage.know(own)
        return terms.version, own

    def _new(self, user: str, rule: Budget, version: int) -> UserBudget:
        now_s = self.clock()
        return UserBudget(user, rule, now_s, now_s, epoch=version, version=version)  # after a removal, nothing is spent


def insist(attempt: Callable[[], T | None], what: str) -> T:
    """What an attempt gives that nobody came between; raises `ContendedError` after many that somebody did."""
    for _ in range(_TRIES):
        done = attempt()
        if done is not None:
            return done
    raise ContendedError(f"{what} being changed by others all the time: try again")


def told_of(own: UserBudget | None) -> dict[str, Any]:
    """What the audit has of a user's budget."""
    if own is None:
        return {}
    rule, steer = own.rule, own.steer.in_json()
    told: dict[str, Any] = {
        "limit": rule.limit,
        "unit": rule.unit,
        "period": rule.period.name,
        "timezone": rule.period.timezone,
        "enforce": rule.enforce,
        "on_expire": rule.on_expire,
        "in_flight": rule.in_flight,
        "epoch": own.epoch,
    }
    said = {name: value for name, value in steer.items() if name not in ("by", "note")}
    return {**told, "steer": said} if said else told


def is_budget_of(key: str, body: str) -> bool:
    """Whether terms can stand where the users' budgets are: whoever lists these meets what anybody put there."""
    try:
        own = UserBudget.from_text(body, 0)
        for seconds in (own.created_s, own.updated_s):
            datetime.fromtimestamp(seconds, UTC)
            own.account(round(seconds * 1000))
        limit = 0 if own.rule.limit is None else own.rule.limit
        steer = own.steer
        numbers = (
            (own.epoch, _MOST_RESETS),
            (limit, MAX_AMOUNT),
            (steer.limit or 0, MAX_AMOUNT),
            (steer.extra, MAX_AMOUNT),
        )
        return terms_key(own.user) == key and all(type(it) is int and 0 <= it <= most for it, most in numbers)
    except Exception:  # it may be anything
        return False
