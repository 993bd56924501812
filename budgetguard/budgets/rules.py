"""
Budgets: rules that say which accounts a call touches.

A `Budget` covers the calls whose tags match, counts for each subject apart
(`per=("user",)`: every user has this much), and begins again with its period.
One user's own budget is the same rule, kept in the store as `Terms`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Any, get_args
from urllib.parse import quote, unquote

from ..errors import ConfigError
from ..ledger import Account, Enforce, Millis, OnExpire, Unit, key_in
from ..money import Money
from .crowds import MANY
from .periods import Period, Window
from .said.checks import (
    parse_limit,
    require_choice,
    require_fraction,
    require_fractions,
    require_in_flight,
    require_match,
    require_models,
    require_per,
    require_text,
)
from .said.words import in_our_words
from .steering.steers import NO_STEER, Steer, read_steer

USERS = "users/"
"""How the keys of users' own budgets begin, and those of their accounts."""
MODELS = "models/"
"""How the keys of the accounts begin that count what users spend on each model."""
_CACHED_ACCOUNTS = 100_000
_UNSAID = 50
"""`in_flight` as terms have it where nobody stated one: earlier versions, which read them, too, know no other way."""


@dataclass(slots=True)
class _Now:
    """The window of the moment and the accounts already made in it, replaced whole when the window ends."""

    window: Window = field(default_factory=lambda: Window("", 0, 0))
    accounts: dict[str, Account] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, init=False)
class Budget:
    """
    A limit in dollars, tokens, requests or calls at once on the calls that match, for each subject and each period.

    * `limit`: dollars, or a whole number of the `unit`; `None` counts without a limit.
    * `period`: "daily", "weekly", "monthly", "yearly", "rolling 7d", or `None` for ever; in `timezone`.
    * `match`: a glob for every tag that must fit, `{"team": "search*"}`; a call without that tag does not match.
    * `per`: tags of which every combination has the limit for itself; a call that lacks one is not covered.
    * `enforce`: "hard" never lets the limit be passed, "soft" refuses once it is reached, "observe" counts.
    * `on_expire`: whether the hold of a process that died is given back ("release") or booked ("charge").
    * `in_flight`: how many calls at once should find room when none of them states an output cap; `None`: as many as
      were lately seen (docs/costs.md).
    * `lease`: whether a process may hold a part of the budget and serve calls from it without asking the store, for a
      hard budget that every call of many processes touches (docs/stores.md).
    * `warn_at`: parts of the limit, such as `(0.5, 0.8, 1.0)`, at which somebody is told, once a period for each
      subject, over all processes (docs/alerts.md).
    * `fallback`: a model, or several in order, of which the first that fits is asked where the one that was asked for
      does not (docs/fallbacks.md).
    * `degrade_at`: the part of the limit from which on the fallback is asked at once; `None`: only where there is no
      room.
    * `unit`: "dollars"; "tokens", of input and output together; "requests", each attempt that was sent; or "parallel",
      the calls in flight at once, which has no period (docs/costs.md).

    Raises `ConfigError` for anything else.
    """

    name: str
    limit: int | None
    """In whole nano-dollars, tokens, requests or calls at once."""
    period: Period
    match: Mapping[str, str]
    per: tuple[str, ...]
    enforce: Enforce
    on_expire: OnExpire
    in_flight: int | None
    lease: bool
    unit: Unit
    warn_at: tuple[float, ...]
    fallback: tuple[str, ...]
    degrade_at: float | None
    _now: _Now = field(repr=False, compare=False)

    @in_our_words
    def __init__(
        self,
        name: str,
        limit: Money | float | str | None,
        period: Period | str | None = None,
        *,
        match: Mapping[str, str] | None = None,
        per: Sequence[str] = (),
        enforce: Enforce = "hard",
        on_expire: OnExpire = "release",
        in_flight: int | None = None,
        timezone: str | None = None,
        lease: bool = False,
        unit: Unit = "dollars",
        warn_at: float | Sequence[float] = (),
        fallback: str | Sequence[str] = (),
        degrade_at: float | None = None,
    ) -> None:
        set_ = object.__setattr__
        set_(self, "name", require_text(name, "name"))
        set_(self, "unit", require_choice(unit, get_args(Unit), "unit"))
        set_(self, "limit", None if limit is None else parse_limit(limit, self.unit))
        set_(self, "period", period if isinstance(period, Period) else Period.parse(period, timezone))
        _require_forever(self)
        set_(self, "match", require_match(match))
        set_(self, "per", require_per(per))
        set_(self, "enforce", require_choice(enforce, get_args(Enforce), "enforce"))
        set_(self, "on_expire", require_choice(on_expire, get_args(OnExpire), "on_expire"))
        set_(self, "in_flight", require_in_flight(in_flight))
        set_(self, "lease", _lease(lease, self))
        set_(self, "warn_at", require_fractions(warn_at, "warn_at"))
        set_(self, "fallback", require_models(fallback, "fallback"))
        set_(self, "degrade_at", None if degrade_at is None else require_fraction(degrade_at, "degrade_at"))
        _require_limited(self)
        set_(self, "_now", _Now())

    def window(self, at_ms: Millis) -> Window:
        """The window of this moment, computed once a period."""
        return self._at(at_ms).window

    def subject(self, tags: Mapping[str, str]) -> str | None:
        """Whose account a call with these tags touches ("" if the budget is for all); `None` if it is not covered."""
        if not self.fits(tags):
            return None
        if not self.per:
            return ""
        values = [tags.get(tag) for tag in self.per]
        return None if None in values else ",".join(escape(value) for value in values if value is not None)

    def fits(self, tags: Mapping[str, str]) -> bool:
        """Whether a call with these tags matches, whoever's it is."""
        for tag, pattern in self.match.items():
            value = tags.get(tag)
            if value is None or not fnmatchcase(value, pattern):
                return False
        return True

    def account(self, tags: Mapping[str, str], at_ms: Millis) -> Account | None:
        """The account that a call with these tags touches now; `None` if the budget does not cover it."""
        subject = self.subject(tags)
        return None if subject is None else self.account_of(subject, at_ms)

    def account_of(self, subject: str, at_ms: Millis) -> Account:
        """The account of a subject at a moment; made once a window."""
        now = self._at(at_ms)
        account = now.accounts.get(subject)
        if account is None:
            if len(now.accounts) >= _CACHED_ACCOUNTS:
                now.accounts.clear()
            account = now.accounts[subject] = self._account(subject, now.window)
        return account

    def _at(self, at_ms: Millis) -> _Now:
        now = self._now
        if not _covers(now.window, at_ms):
            now = _Now(self.period.window(at_ms))
            object.__setattr__(self, "_now", now)
        return now

    def _account(self, subject: str, window: Window) -> Account:
        stem, unit = f"{escape(self.name)}/{subject}", self.unit
        return Account(
            key=key_in(unit, f"{stem}/{window.label}"),
            limit=self.limit,
            enforce=self.enforce,
            share=MANY if self.in_flight is None else self.in_flight,
            start_ms=window.start_ms,
            end_ms=window.end_ms,
            window=tuple(key_in(unit, f"{stem}/{label}") for label in window.earlier),
            lease=self.on_expire if self.lease else None,
        )


@dataclass(frozen=True, slots=True)
class UserBudget:
    """One user's own budget, as the store keeps it; `epoch` grows when the spend is set to zero by hand."""

    user: str
    rule: Budget
    created_s: float
    updated_s: float
    epoch: int = 0
    version: int = 0
    steer: Steer = NO_STEER
    """What people changed of it while it runs."""

    def account(self, at_ms: Millis) -> Account:
        """The user's account now."""
        account = self.rule.account_of(self.subject, at_ms)
        return account if self.steer is NO_STEER else self.steer.applied(account, at_ms)

    def limit_at(self, at_ms: Millis) -> int | None:
        """The limit that holds at a moment, paused or not."""
        return self.steer.limit_at(self.rule.limit, at_ms)

    def ends_ms(self, at_ms: Millis) -> list[Millis]:
        """When its steer is another one by itself."""
        end = self.steer.ends_ms(at_ms)
        return [] if end is None else [end]

    def ruled(self, rule: Budget) -> UserBudget:
        """The same under another rule: whoever says anew what the limit is ends what was changed of the old one."""
        same = (rule.limit, rule.unit) == (self.rule.limit, self.rule.unit)
        return replace(self, rule=rule, steer=self.steer if same else self.steer.settled())

    def model_prefixes(self, at_ms: Millis) -> list[str]:
        """The prefixes of the keys of `model_keys` in this period; what follows is the escaped model."""
        account = self.account(at_ms)
        return [key for account_key in (account.key, *account.window) for key in model_keys([account_key], "")]

    @property
    def subject(self) -> str:
        """The user, escaped, with the epoch if there was a reset."""
        return escape(self.user) + (f"#{self.epoch}" if self.epoch else "")

    def renewed(self, at_s: float) -> UserBudget:
        """The same budget with nothing spent: its accounts from now on are new ones."""
        return replace(self, epoch=self.epoch + 1, updated_s=at_s)

    def to_text(self) -> str:
        """The text of the stored terms."""
        rule = self.rule
        return json.dumps(
            {
                **({} if rule.unit == "dollars" else {"unit": rule.unit}),
                **({"stated": True} if rule.in_flight == _UNSAID else {}),
                **({"warn_at": rule.warn_at} if rule.warn_at else {}),
                "user": escape(self.user),  # JSON would read two lone surrogates as one character
                "limit": rule.limit,
                "period": rule.period.name,
                "timezone": rule.period.timezone,
                "enforce": rule.enforce,
                "on_expire": rule.on_expire,
                "in_flight": _UNSAID if rule.in_flight is None else rule.in_flight,
                "created": self.created_s,
                "updated": self.updated_s,
                "epoch": self.epoch,
                **({} if self.steer.idle else {"steer": self.steer.in_json()}),
            }
        )

    @classmethod
    def from_text(cls, text: str, version: int) -> UserBudget:
        """Read stored terms."""
        data: dict[str, Any] = json.loads(text)
        limit, unit = data["limit"], data.get("unit", "dollars")
        in_flight = None if data["in_flight"] == _UNSAID and "stated" not in data else data["in_flight"]
        rule = user_rule(
            Money(limit) if unit == "dollars" and limit is not None else limit,
            Period(data["period"], data["timezone"]),
            enforce=data["enforce"],
            on_expire=data["on_expire"],
            in_flight=in_flight,
            unit=unit,
            warn_at=data.get("warn_at", ()),
        )
        steer = read_steer(data.get("steer"))
        return cls(unescape(data["user"]), rule, data["created"], data["updated"], data["epoch"], version, steer)


def user_rule(
    limit: Money | float | str | None,
    period: Period | str | None,
    *,
    timezone: str | None = None,
    enforce: Enforce = "hard",
    on_expire: OnExpire = "release",
    in_flight: int | None = None,
    unit: Unit = "dollars",
    warn_at: float | Sequence[float] = (),
) -> Budget:
    """The rule of one user's own budget."""
    return Budget(
        "users",
        limit,
        period,
        per=("user",),
        timezone=timezone,
        enforce=enforce,
        on_expire=on_expire,
        in_flight=in_flight,
        unit=unit,
        warn_at=warn_at,
    )


def terms_key(user: str) -> str:
    """Where the store keeps a user's own budget."""
    return f"{USERS}{escape(user)}"


def model_keys(keys: Iterable[str], model: str) -> tuple[str, ...]:
    """
    Keys of the accounts, without a limit, that count what users spend on one model.

    `keys` are those of the accounts that a call is charged to; only users' own have such an account. It counts dollars,
    whatever the user's budget does.
    """
    return tuple([f"{MODELS}{key[len(USERS) :]}/{escape(model)}" for key in keys if key.startswith(USERS)])


@lru_cache(maxsize=16_384)
def escape(text: str) -> str:
    """
    A name as one segment of a key: any Unicode stays readable, what would split or break a key is escaped.

    Lone surrogates, which no store can encode, are escaped too.
    """
    if text.isalnum() and text.isascii():
        return text
    return "".join(char if _plain(char) else quote(char, safe="", errors="surrogatepass") for char in text)


def unescape(text: str) -> str:
    """The name that `escape` made a segment of."""
    return unquote(text, errors="surrogatepass")


def _plain(char: str) -> bool:
    return char not in "/%#," and char.isprintable()


def _require_forever(rule: Budget) -> None:
    if rule.unit == "parallel" and rule.period.name != "forever":
        raise ConfigError(
            f"unit='parallel', period={rule.period.name!r}: it counts the calls that are in flight, which no period "
            "begins without: leave the period out (calls in a minute are unit='requests')"
        )


def _lease(lease: object, rule: Budget) -> bool:
    if not isinstance(lease, bool):
        raise ConfigError(f"lease={lease!r}: True or False is needed")
    if lease and rule.unit == "parallel":
        raise ConfigError(
            "lease=True, unit='parallel': a place that one process holds is one that the others lack; leave lease out"
        )
    if lease and (rule.enforce != "hard" or rule.limit is None):
        raise ConfigError(
            f"lease=True, enforce={rule.enforce!r}, limit={rule.limit!r}: only a hard limit can be held in parts; "
            "leave lease out"
        )
    return lease


def _require_limited(rule: Budget) -> None:
    """Raise `ConfigError` for what is to happen at a part of a limit that is none, or without a model to ask."""
    if rule.limit is None and (rule.warn_at or rule.fallback):
        raise ConfigError(f"limit=None: nothing is ever near it; leave {'warn_at' if rule.warn_at else 'fallback'} out")
    if rule.degrade_at is not None and not rule.fallback:
        raise ConfigError(f"degrade_at={rule.degrade_at!r}: say which model is asked from then on, as in fallback=...")


def _covers(window: Window, at_ms: Millis) -> bool:
    return (window.start_ms is None or window.start_ms <= at_ms) and (window.end_ms is None or at_ms < window.end_ms)
