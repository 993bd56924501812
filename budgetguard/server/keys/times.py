"""Times as people write them: how long something is right, and until when."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from ...budgets.said.checks import require_moment
from ...errors import ConfigError
from ...ledger import Millis

_UNITS_S = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400}
_DURATION = re.compile(r"(\d{1,9})([smhdw])", re.ASCII)


def duration_s(text: str, name: str) -> int:
    """Seconds of "30s", "10m", "24h", "90d" or "2w"; raises `ConfigError` naming the argument."""
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ConfigError(f"{name}={text!r}: write how long, such as 24h or 90d (s, m, h, d, w)")
    return int(found[1]) * _UNITS_S[found[2]]


def moment_ms(text: str, name: str, now_ms: Millis) -> Millis:
    """
    The moment of a duration from now, or of a time in ISO 8601 (UTC unless it says otherwise).

    Raises `ConfigError` naming the argument, also for one that is over.
    """
    if _DURATION.fullmatch(text.strip()):
        at_s = now_ms / 1000 + duration_s(text, name)
    else:
        try:
            moment = datetime.fromisoformat(text)
            at_s = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError):
            raise ConfigError(f"{name}={text!r}: write how long, such as 90d, or a day, such as 2027-01-31") from None
    at_ms = round(require_moment(at_s, name) * 1000)
    if at_ms <= now_ms:
        raise ConfigError(f"{name}={text!r}: that is over already; to refuse a key now, revoke it")
    return at_ms


def iso_of(at_ms: Millis) -> str:
    """A moment for people, and for programs."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
