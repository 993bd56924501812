"""An alert: what is told of a budget, once; as a record of a store, as JSON, and as a sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple, TypeAlias

from ..budgets.periods import named_by
from ..budgets.rules import unescape
from ..budgets.said.shown import on_one_line
from ..ledger import KEPT_FOR_EVER, Account, Millis, Record, Unit, show_amount
from ..ledger.units import MARK
from ..money import DOLLAR

KIND = "alert"
"""What a store calls their records."""

What: TypeAlias = Literal["threshold", "refusals", "spike", "forecast", "unpriced", "away", "test"]

DAY_MS: Millis = 86_400_000


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing that somebody is told. Amounts are in the `unit`, dollars in whole nano-dollars."""

    what: What
    text: str
    """A sentence for people."""
    id: str = ""
    """Its name: there is one alert of each."""
    at_ms: Millis = 0
    until_ms: Millis | None = None
    """Until when it is not told again."""
    budget: str = ""
    subject: str = ""
    """Whose account it is, as account keys have it; "": the budget is for all."""
    account: str = ""
    """The key of the account, if it is about one."""
    unit: Unit = "dollars"
    part: float | None = None
    """Of a threshold: the part of the limit."""
    settled: int = 0
    held: int = 0
    limit: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "text", on_one_line(self.text))  # names are in it, and logs have lines

    @classmethod
    def of_account(
        cls,
        what: What,
        account: Account,
        text: str,
        name: str,
        span: tuple[Millis, Millis],
        *,
        settled: int,
        held: int = 0,
        part: float | None = None,
    ) -> Alert:
        """One about an account; `span` is when it is told, and until when not again."""
        named = AccountName.of(account)
        return cls(
            what,
            f"{named}: {text}",
            name,
            *span,
            named.budget,
            named.subject,
            account.key,
            account.unit,
            part,
            settled,
            held,
            account.limit,
        )

    def record(self, sinks: Sequence[str]) -> Record:
        """What a store keeps of it; `sinks` are told."""
        names = ("what", "budget", "subject", "account", "unit", "part", "settled", "held", "limit", "text")
        body = {**{name: getattr(self, name) for name in names}, "sinks": list(sinks)}
        return Record(KIND, self.id, self.at_ms, json.dumps(body), self.until_ms)

    @classmethod
    def from_record(cls, record: Record) -> Alert:
        """Read what a store keeps."""
        said: Mapping[str, Any] = json.loads(record.body)
        known = {name: value for name, value in said.items() if name in cls.__dataclass_fields__}
        return cls(**{**known, "id": record.id, "at_ms": record.at_ms, "until_ms": record.until_ms})

    def in_json(self) -> dict[str, Any]:
        """For programs: amounts in dollars or in whole units, times in ISO 8601."""
        scale = DOLLAR if self.unit == "dollars" else 1
        return {
            "id": self.id,
            "what": self.what,
            "at": datetime.fromtimestamp(self.at_ms / 1000, UTC).isoformat(),
            "text": self.text,
            "budget": self.budget,
            "subject": self.subject,
            "account": self.account,
            "unit": self.unit,
            "part": self.part,
            "settled": self.settled / scale,
            "held": self.held / scale,
            "limit": None if self.limit is None else self.limit / scale,
        }


class AccountName(NamedTuple):
    """What the key of an account says, but how often it was reset: people do not call it another one for that."""

    budget: str
    subject: str
    window: str

    @classmethod
    def of(cls, account: Account) -> AccountName:
        """Of an account."""
        _, _, window = account.key.removesuffix(f"{MARK}{account.unit}").rpartition("/")
        budget, _, subject = stem_of(account).partition("/")
        return cls(unescape(budget), subject.partition(MARK)[0], window)

    def __str__(self) -> str:
        """For people: "free/ann (2026-11-29)"."""
        shown = f"{self.budget}/{unescape(self.subject)}" if self.subject else self.budget
        return shown if self.window == "all" else f"{shown} ({named_by(self.window)})"


def stem_of(account: Account) -> str:
    """The key of an account, without its period."""
    return account.key.removesuffix(f"{MARK}{account.unit}").rpartition("/")[0]


def rolling_ms(account: Account) -> Millis | None:
    """The length of a rolling period; `None` for another one."""
    if not account.window or account.start_ms is None or account.end_ms is None:
        return None
    return len(account.window) * (account.end_ms - account.start_ms)


def until_ms(account: Account) -> Millis:
    """Until when what was told of an account in its period is not told again."""
    return KEPT_FOR_EVER if account.end_ms is None else account.end_ms


def threshold_id(account: Account, part: float, at_ms: Millis) -> str:
    """
    The name of the alert: one a period; of a rolling one, one for each turn of its length.

    A limit that was changed since is another one, of which nobody was told.
    """
    length_ms, mark = rolling_ms(account), f"{part:g}/{account.limit}"
    if length_ms is None:
        return f"{account.key}@{mark}"
    return f"{stem_of(account)}/{at_ms // length_ms}r{length_ms}{MARK}{account.unit}@{mark}"


def at_threshold(account: Account, part: float, settled: int, held: int, at_ms: Millis, *, refused: str = "") -> Alert:
    """That an account has come to a part of its limit, or that a call was `refused` for it."""
    text = f"{show_amount(settled, account.unit)} of {show_amount(account.limit or 0, account.unit)} spent"
    if refused:
        text = f"{text}; {refused}"
    elif part < 1:
        text = f"{text}, which is {part:.4g} of the limit or more"
    else:
        text = f"{text}: the limit is reached"
    length_ms, name = rolling_ms(account), threshold_id(account, part, at_ms)
    until = until_ms(account) if length_ms is None else (at_ms // length_ms + 2) * length_ms
    return Alert.of_account("threshold", account, text, name, (at_ms, until), settled=settled, held=held, part=part)


def day_of(at_ms: Millis) -> str:
    """The UTC day of a moment."""
    return f"{datetime.fromtimestamp(at_ms / 1000, UTC):%Y-%m-%d}"
