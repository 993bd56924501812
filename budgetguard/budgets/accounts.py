"""
Coverage: which accounts in the store a call touches, by its tags and the time.

The rules are fixed, but for those that are told for calls with a certain tag; users'
own budgets, and the steers of rules, are what the store last said, each with a version.
A hold carries these versions, and a store that knows newer ones says so: so nothing is
read before a call, and a changed budget holds from the next one on.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from ..concurrency.locks import mutex
from ..errors import ConfigError
from ..ledger import Account, Balance, Clock, Millis, OnExpire, Stale, Store, Unit
from ..ledger.units import ELASTIC
from .crowds import Company, Crowd
from .news import NO_NEWS, Markings, Tidings
from .rules import USERS, Budget, UserBudget, model_keys, terms_key, unescape
from .said.fallbacks import Fallbacks, fallbacks_on, most_said
from .steering.known import UNSTEERED, Pause, Steers, user_pause
from .steering.steers import STEERS

_CACHED_USERS = 100_000
_CACHED_COUNTERS = 10_000
MOST_COVERS = 20_000
"""Kept by one process, whoever its calls are for: names of models come from outside."""
_CACHED_TAGS = 1_000
MOST_TOLD = 100_000
"""Of how many tags' values it is known which rules were told for them."""
_FOREVER: Millis = 1 << 62
ASKED_MS: Millis = 60_000
"""How long it is believed that no user has a budget."""

Tag: TypeAlias = tuple[str, str]
"""The name of a tag, and its value."""

DOLLARS_ALONE: frozenset[Unit] = frozenset()


@dataclass(slots=True)
class Cover:
    """What a call with certain tags touches, while all of its accounts' periods last."""

    accounts: tuple[Account, ...]
    terms: tuple[tuple[str, int], ...]
    """The key and version of the user's budget in it, and behind it of the steers of rules, if it has any of theirs."""
    on_expire: OnExpire
    """What becomes of a hold if its process dies: the strictest rule wins."""
    hard: bool
    """Whether an account may refuse a call by its projected cost, in dollars."""
    start_ms: Millis
    end_ms: Millis
    leased: tuple[Account, ...] = ()
    """Those of the accounts that this process may hold a part of."""
    plain: tuple[Account, ...] = ()
    """The others."""
    units: frozenset[Unit] = DOLLARS_ALONE
    """What its accounts count beside dollars: most calls need no more than to see that this is nothing."""
    tokens: bool | None = None
    """Whether an account may refuse a call by its projected tokens; `None`: none counts them."""
    lacks: Mapping[str, str] = field(default_factory=dict)
    """The tags that it has not, though budgets count by them, and the first of these budgets."""
    unasked: bool = False
    """Whether users may have budgets, and the store was not asked lately."""
    own: bool = False
    """Whether it has a user with a budget of their own, as far as is known."""
    paused: Pause | None = None
    """Which of its budgets people have paused: no call passes."""
    plans: dict[Hashable, Any] = field(default_factory=dict, compare=False)
    """What was worked out for calls that have this cover: it is void with it (`guards/plan.py`)."""
    crowds: Mapping[str, Crowd] = field(default_factory=dict, compare=False)
    """The calls on each of its accounts that may refuse one by what it is projected at, by the account's key."""
    fallbacks: Mapping[str, Fallbacks] = field(default_factory=dict, compare=False)
    """Which models are asked where one of its accounts has no room, by the account's key."""
    companies: dict[tuple[int, ...], Company] = field(default_factory=dict, compare=False)
    """By the parts that a call may have in these crowds."""
    _counters: dict[str, tuple[str, ...]] = field(default_factory=dict, compare=False)

    @property
    def whose(self) -> bool:
        """Whether it names a user."""
        return bool(self.terms) and self.terms[0][0] != STEERS

    def company(self, parts: tuple[int, ...]) -> Company:
        """What a call asks of the accounts that has these parts in the crowds on them; kept for the next one."""
        if len(self.companies) >= _CACHED_TAGS:
            self.companies.clear()
        company = self.companies[parts] = Company(self.accounts, self.crowds, parts)
        return company

    def with_accounts(self, accounts: tuple[Account, ...]) -> Cover:
        """The same for other accounts."""
        return replace(
            self,
            accounts=accounts,
            plain=accounts,
            leased=(),
            units=_units(accounts),
            tokens=_tokens(accounts),
            plans={},
            crowds={},
            fallbacks={},
            companies={},
            _counters={},
        )

    def counters(self, model: str) -> tuple[str, ...]:
        """Keys of the accounts that a hold does not name: the leased, and what the user spends on this model."""
        keys = self._counters.get(model)
        if keys is None:
            if len(self._counters) > _CACHED_COUNTERS:
                self._counters.clear()
            counted = model_keys([account.key for account in self.accounts], model)
            keys = self._counters[model] = (*[account.key for account in self.leased], *counted)
        return keys


NO_COVER = Cover((), (), "release", False, 0, _FOREVER)
"""What a call touches where there is no store."""


class Coverage:
    """The rules and the users' budgets of one store, as far as this process knows them."""

    def __init__(self, budgets: Sequence[Budget], clock: Clock, news: Tidings = NO_NEWS) -> None:
        self._budgets = tuple(budgets)
        self.marks = Markings(news)
        """At which amounts somebody is told of an account."""
        self.clock = clock
        self.skew_ms: Millis = 0
        """How far the store's clock is ahead of this process's."""
        self._users: dict[str, tuple[int, UserBudget | None]] = {}
        self.steers = UNSTEERED
        """What people changed of rules."""
        self._peopled: tuple[bool, Millis] = (False, -ASKED_MS)
        """Whether some user has a budget, and when that was found out."""
        self._covers: dict[str | None, dict[frozenset[Tag], Cover]] = {}
        """By user, so that what is learned of one leaves the others' alone; then by all tags."""
        self._kept = 0
        """How many covers were kept since all were forgotten: there are no more."""
        self.falls = most_said(self._budgets)
        """Whether a rule has other models asked where one does not fit (1), or before that (2)."""
        self._told: dict[Tag, tuple[Budget, ...]] = {}
        self._names = dict.fromkeys([*[budget.name for budget in self._budgets], "users", "models"], "")
        """Of each rule the tag that it was told for; "": it is for all calls, or a user's own."""
        self._tags: frozenset[str] = frozenset()
        """Those that some rule was told for."""
        self._telling = mutex("told rules")
        self._edition = object()
        """Another one once rules were told or steered, before the covers that lack them are void."""
        self._listed: dict[Tag, set[tuple[str | None, frozenset[Tag]]]] = {}
        """Which covers calls have with a tag that rules are told for: void with what is told of it."""
        self._crowds: dict[tuple[str, int | None], Crowd] = {}
        """By what the keys of an account have in common in all periods, and the calls at once that its rule states."""

    def now_ms(self) -> Millis:
        """The store's time, as far as this process knows it."""
        return int(self.clock() * 1000) + self.skew_ms

    def cover(self, tags: Mapping[str, str], at_ms: Millis | None = None) -> Cover:
        """What a call with these tags touches, now or at another moment."""
        if at_ms is None:
            at_ms = int(self.clock() * 1000) + self.skew_ms
        user, key = tags.get("user"), frozenset(tags.items())
        covers = self._covers.get(user)
        cover = None if covers is None else covers.get(key)
        if cover is None or not cover.start_ms <= at_ms < cover.end_ms:
            cover = self._anew(tags, user, key, at_ms)
        return cover

    def tell(self, tag: str, name: str, rules: tuple[Budget, ...]) -> None:
        """
        Have calls whose `tag` has this name be covered by these rules, too, from the next call on; `()`: no more.

        Each counts by the tag, and so goes on with what was spent when its limit is changed; in another period or unit
        it begins with nothing spent, and goes on where it was when it is changed back. What is told again costs
        nothing: share the rules of those that have the same. From any thread. Raises `ConfigError` for a name that
        other rules have, and beyond `MOST_TOLD`.
        """
        if self._told.get((tag, name), ()) == rules:
            return
        with self._telling:
            if len(self._told) >= MOST_TOLD and (tag, name) not in self._told:
                raise ConfigError(
                    f"rules were told for {MOST_TOLD:,} tags: forget those that are gone, by tell(..., ())"
                )
            self._require_told(tag, rules)
            known, self._tags = tag in self._tags, self._tags | {tag}
            self._names.update({rule.name: tag for rule in rules})
            self.falls = max(self.falls, most_said(rules))
            self._told[tag, name] = rules
            if not rules:
                del self._told[tag, name]
            self._edition = object()
            if known:
                for user, key in list(self._listed.pop((tag, name), ())):
                    self._drop(user, key)
            else:  # nobody listed the covers with this tag
                self._covers.clear()

    def _require_told(self, tag: str, rules: Sequence[Budget]) -> None:
        """Raise `ConfigError` if what these count is counted by other rules, too, or for others."""
        seen = set()
        for rule in rules:
            if self._names.get(rule.name, tag) != tag:
                raise ConfigError(f"{rule.name!r} is the name of a rule that is not for {tag!r}: use another name")
            if tag not in rule.per:
                raise ConfigError(f"{rule.name!r}, per={rule.per!r}: a rule that is told for {tag!r} counts by it, too")
            counted = (rule.name, rule.per, rule.unit, rule.period.name)
            if counted in seen:
                raise ConfigError(f"two rules {rule.name!r} count {rule.unit}, {rule.period.name}: give each its name")
            seen.add(counted)

    def shared(self) -> list[tuple[Budget, Account]]:
        """The limits that hold for all calls together, and the account that each has now."""
        now_ms = self.now_ms()
        pairs = [(budget, self.steers.account(budget, "", now_ms)) for budget in self._budgets if not budget.per]
        return [(budget, account) for budget, account in pairs if account.limit is not None]

    def read_steers(self, store: Store) -> None:
        """Ask the store for the steers of rules, if there are rules."""
        if self._budgets or self._told:
            steers = Steers.of(store.terms(STEERS))
            if steers != self.steers:
                self.take_steers(steers)

    def take_steers(self, steers: Steers) -> None:
        """Take these for what the store has."""
        with self._telling:
            self.steers, self._edition = steers, object()
            self._listed.clear()
            self._covers.clear()

    def know(self, own: UserBudget) -> None:
        """Take a user's budget for the one that the store has."""
        if self._users.get(own.user) != (own.version, own):
            self._note(own.user, own.version, own)

    def learn(self, stale: Stale) -> None:
        """Take in what the store knows better: newer budgets of users, steers of rules, or the time."""
        for terms in stale.terms:
            if terms.key == STEERS:
                self.take_steers(Steers.of(terms))
                continue
            own = None if terms.body is None else UserBudget.from_text(terms.body, terms.version)
            self._note(unescape(terms.key.removeprefix(USERS)) if own is None else own.user, terms.version, own)
        if not stale.terms:
            self.skew_ms = stale.now_ms - int(self.clock() * 1000)
            self._covers.clear()

    def people(self, peopled: bool) -> None:
        """Take in whether any user has a budget."""
        self._peopled = (peopled, self.now_ms())
        self._covers.pop(None, None)

    def _note(self, user: str, version: int, own: UserBudget | None) -> None:
        if len(self._users) > _CACHED_USERS:
            self._users.clear()
        self._users[user] = (version, own)
        self._covers.pop(user, None)
        if own is not None and not self._peopled[0]:
            self.people(True)

    def _anew(self, tags: Mapping[str, str], user: str | None, key: frozenset[Tag], at_ms: Millis) -> Cover:
        """Work a cover out, and keep it; once more if rules were told or steered meanwhile, which it may lack."""
        while True:
            edition = self._edition
            cover = self._make(tags, at_ms)
            with self._telling:  # nobody may find a cover that lacks what was told before they looked
                if edition is self._edition:
                    self._keep(user, key, cover)
                    return cover

    def _keep(self, user: str | None, key: frozenset[Tag], cover: Cover) -> None:
        if self._kept >= MOST_COVERS:
            self._listed.clear()  # first, as what is kept meanwhile is listed afterwards
            self._covers.clear()
            self._kept = 0
        covers = self._covers.setdefault(user, {})
        if user is not None and len(covers) >= _CACHED_TAGS:
            covers.clear()
        self._kept += key not in covers
        covers[key] = cover
        if self._tags:
            for pair in key:
                if pair[0] in self._tags:
                    self._listed.setdefault(pair, set()).add((user, key))

    def _drop(self, user: str | None, key: frozenset[Tag]) -> None:
        covers = self._covers.get(user)
        if covers is not None:
            covers.pop(key, None)

    def _make(self, tags: Mapping[str, str], at_ms: Millis) -> Cover:
        said = self._budgets
        if self._told:
            said = (*said, *[rule for pair in tags.items() for rule in self._told.get(pair, ())])
        subjects = [(rule, subject) for rule in said if (subject := rule.subject(tags)) is not None]
        rules = [rule for rule, _ in subjects]
        accounts, ends, paused, known = self.steers.covering(subjects, at_ms)
        terms: tuple[tuple[str, int], ...] = (known,) if rules else ()
        user, own = tags.get("user"), None
        lacks = _lacks(said, tags)
        unasked = user is None and "user" not in lacks and self._unasked(lacks, ends, at_ms)
        if user is not None:
            version, own = self._users.get(user, (0, None))
            terms = ((terms_key(user), version), *terms)
            if own is not None:
                rules.append(own.rule)
                accounts.append(own.account(at_ms))
                ends += own.ends_ms(at_ms)
                paused = paused or user_pause(own, at_ms)
        return Cover(
            tuple(accounts),
            terms,
            "charge" if any(rule.on_expire == "charge" for rule in rules) else "release",
            _is_hard(accounts, "dollars"),
            max((account.start_ms for account in accounts if account.start_ms is not None), default=0),
            min([account.end_ms for account in accounts if account.end_ms is not None] + ends, default=_FOREVER),
            tuple(account for account in accounts if account.lease is not None),
            tuple(account for account in accounts if account.lease is None),
            _units(accounts),
            _tokens(accounts),
            lacks,
            unasked,
            own is not None,
            paused,
            crowds=self._crowds_on(rules, accounts),
            fallbacks=fallbacks_on(rules, accounts) if self.falls else {},
        )

    def _unasked(self, lacks: dict[str, str], ends: list[Millis], at_ms: Millis) -> bool:
        """Whether the store has to be asked if users have budgets, for a call without one; else what it lacks, then."""
        peopled, asked_ms = self._peopled
        if not peopled and at_ms - asked_ms >= ASKED_MS:
            return True
        if peopled:
            lacks["user"] = "users"
        else:
            ends.append(asked_ms + ASKED_MS)
        return False

    def _crowds_on(self, rules: Sequence[Budget], accounts: Sequence[Account]) -> dict[str, Crowd]:
        if not self.marks.note(rules, accounts):
            self._covers.clear()  # those that are kept have lost their marks
        return {
            account.key: self._crowd(account, rule.in_flight)
            for account, rule in zip(accounts, rules, strict=True)
            if account.limit is not None and account.enforce == "hard" and account.unit in ELASTIC
        }

    def _crowd(self, account: Account, stated: int | None) -> Crowd:
        key = (account.key.rpartition("/")[0], stated)
        crowd = self._crowds.get(key)
        if crowd is None:
            if len(self._crowds) >= _CACHED_USERS:
                self._crowds.clear()
            crowd = self._crowds[key] = Crowd(stated)
        return crowd


def _lacks(budgets: Sequence[Budget], tags: Mapping[str, str]) -> dict[str, str]:
    """Of rules that fit a call but for whom they count by: the tags that it has not, and the first of these rules."""
    lacks: dict[str, str] = {}
    for budget in budgets:
        if budget.fits(tags):
            for tag in budget.per:
                if tag not in tags:
                    lacks.setdefault(tag, budget.name)
    return lacks


def _units(accounts: Sequence[Account]) -> frozenset[Unit]:
    return DOLLARS_ALONE.union(account.unit for account in accounts if account.unit != "dollars")


def _tokens(accounts: Sequence[Account]) -> bool | None:
    counted = any(each.unit == "tokens" for each in accounts)
    return _is_hard(accounts, "tokens") if counted else None


def _is_hard(accounts: Sequence[Account], unit: Unit) -> bool:
    return any(each.unit == unit and each.enforce == "hard" and each.limit is not None for each in accounts)


def read_balances(store: Store, accounts: Sequence[Account]) -> list[Balance]:
    """What each account has taken, the earlier buckets of a rolling period included, in one look at the store."""
    keys = [(account.key, *account.window) for account in accounts]
    taken = iter(store.balances([key for window in keys for key in window]))
    found = []
    for account, window in zip(accounts, keys, strict=True):
        parts = [next(taken) for _ in window]
        found.append(Balance(account.key, sum(part.settled for part in parts), sum(part.held for part in parts)))
    return found
