"""
News: what calls tell of budgets on their way, and the marks at which they do.

A mark says from which amount on somebody is to be told of an account. On the path of a call a settlement is compared
with it, by what the store has said anyhow; whoever hears of it does the rest elsewhere (`alerts/`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, Decimal
from typing import Final, NamedTuple, Protocol

from ..ledger import Account, Balance, Millis, Refusal, Settled
from .rules import Budget

NEVER: Final = 1 << 100
"""An amount that no account comes to."""
_MOST_MARKS = 100_000


class RefusedCall(NamedTuple):
    """A call that was not sent, as no budget of it had room."""

    refusal: Refusal
    wanted: int
    """The least that it needed, in the account's unit."""
    tags: Mapping[str, str]
    model: str
    provider: str
    at_ms: Millis
    mark: Mark | None = None
    """That of the account, if it has one."""
    paused: bool = False
    """Whether somebody has paused the budget."""


class Tidings(Protocol):
    """Who hears of it. Nothing here waits or raises: it is told on the path of a call."""

    def crossed(self, mark: Mark, parts: Sequence[float], balance: Balance) -> None:
        """An account has come to these parts of its limit."""
        ...

    def look(self, mark: Mark) -> None:
        """A part of an account was settled that does not tell of the whole: it is to be read, and the mark set."""
        ...

    def begin(self) -> None:
        """Calls are made: said when it is worked out what some of them touch."""
        ...

    def refused(self, call: RefusedCall) -> None:
        """A call was refused."""
        ...

    def unpriced(self, model: str, assumed: bool) -> None:
        """A model has no known price; whether the dearest of its provider is assumed."""
        ...

    def away(self, error: Exception) -> None:
        """The store could not be reached."""
        ...

    def close(self) -> None:
        """Tell what is left to be told, and no more."""
        ...


class _NoNews:
    """Nobody hears of it."""

    def crossed(self, mark: Mark, parts: Sequence[float], balance: Balance) -> None:
        """Nothing."""

    def look(self, mark: Mark) -> None:
        """Nothing."""

    def begin(self) -> None:
        """Nothing."""

    def refused(self, call: RefusedCall) -> None:
        """Nothing."""

    def unpriced(self, model: str, assumed: bool) -> None:
        """Nothing."""

    def away(self, error: Exception) -> None:
        """Nothing."""

    def close(self) -> None:
        """Nothing."""


NO_NEWS: Final[Tidings] = _NoNews()


class Mark:
    """From which amount on somebody is to be told of one account."""

    __slots__ = ("_told", "account", "news", "next", "parts")

    def __init__(self, account: Account, parts: Sequence[float], news: Tidings) -> None:
        self.account = account
        self.parts = tuple(parts)
        self.news = news
        self._told = 0.0
        self.next = 0 if self.in_pieces else self.amount(self.parts[0])
        """Of what is settled; in the account's unit."""

    @property
    def in_pieces(self) -> bool:
        """Whether settlements tell of its newest bucket alone: those of leases, on a rolling period."""
        return self.account.lease is not None and bool(self.account.window)

    def amount(self, part: float) -> int:
        """What a part of the limit comes to."""
        return int((Decimal(self.account.limit or 0) * Decimal(repr(part))).to_integral_value(ROUND_CEILING))

    def passed(self, balance: Balance) -> None:
        """The account has come to `next`."""
        if self.in_pieces:
            self.next = NEVER  # until somebody has looked
            self.news.look(self)
        else:
            self.reached(balance, balance.settled)

    def reached(self, balance: Balance, said: int) -> None:
        """Tell of the parts that it has come to; settlements say `said` where it has all that the balance says."""
        parts = [part for part in self.parts if part > self._told and balance.settled >= self.amount(part)]
        if parts:
            self._told = parts[-1]
        following = next((self.amount(part) for part in self.parts if part > self._told), NEVER)
        self.next = following - (balance.settled - said) if following != NEVER else NEVER
        if parts:
            self.news.crossed(self, parts, balance)


NO_MARKS: Final[Mapping[str, Mark]] = {}


class Markings:
    """The marks of one guard's accounts, and who hears of them."""

    def __init__(self, news: Tidings = NO_NEWS) -> None:
        self.news = news
        self.by_key: dict[str, Mark] = {}
        """By the keys of the accounts: nothing, where no rule has marks."""

    def note(self, rules: Sequence[Budget], accounts: Sequence[Account]) -> bool:
        """Have these accounts marked as their rules say; whether there was room: else all are to be noted anew."""
        room = True
        self.news.begin()
        for rule, account in zip(rules, accounts, strict=True):
            if not rule.warn_at or not account.limit or self.news is NO_NEWS:
                continue
            mark = self.by_key.get(account.key)
            if mark is None or mark.account.limit != account.limit or mark.parts != rule.warn_at:
                if len(self.by_key) >= _MOST_MARKS:
                    self.by_key.clear()
                    room = False
                self.by_key[account.key] = Mark(account, rule.warn_at, self.news)
        return room


def tell(marks: Mapping[str, Mark], outcome: object) -> None:
    """Compare what a settlement brought with the marks of its accounts."""
    if isinstance(outcome, Settled):
        for balance in outcome.balances:
            mark = marks.get(balance.key)
            if mark is not None and balance.settled >= mark.next:
                mark.passed(balance)
