"""Times as they are typed: a day, a moment, how long ago; and months."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

import typer

from ...errors import ConfigError
from ...ledger import Millis

_AGO = re.compile(r"(\d{1,6})([smhdw])")
_SECOND_MS = 1000
_UNITS_MS = {
    "s": _SECOND_MS,
    "m": 60 * _SECOND_MS,
    "h": 3600 * _SECOND_MS,
    "d": 24 * 3600 * _SECOND_MS,
    "w": 7 * 24 * 3600 * _SECOND_MS,
}

SinceOption = Annotated[
    str | None, typer.Option("--since", metavar="TIME", help="A day (2026-01-31) or how long ago: 90m, 24h, 7d, 4w.")
]
UntilOption = Annotated[
    str | None, typer.Option("--until", metavar="TIME", help="As --since; that moment is not included.")
]
ZoneOption = Annotated[str, typer.Option("--zone", metavar="ZONE", help="Where days begin, such as Europe/Berlin.")]


def parse_moment(text: str | None, now_ms: Millis) -> Millis | None:
    """A day, a time, or a length before now; raises `ConfigError` for anything else."""
    if text is None:
        return None
    ago = _AGO.fullmatch(text)
    if ago:
        return now_ms - int(ago[1]) * _UNITS_MS[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
        return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
    except (ValueError, OverflowError):
        raise ConfigError(f"{text!r} is no time: write a day (2026-01-31), a time, or how long ago (24h, 7d)") from None


def parse_span(since: str | None, until: str | None, now_ms: Millis) -> tuple[Millis | None, Millis | None]:
    """From `--since` to `--until`; raises `ConfigError` where nothing can be between them."""
    start, end = parse_moment(since, now_ms), parse_moment(until, now_ms)
    if start is not None and end is not None and start >= end:
        raise ConfigError(f"--since {since} --until {until}: nothing is between them: name the earlier time first")
    return start, end
