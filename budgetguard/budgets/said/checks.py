"""What the arguments of a budget may be: each is checked here, and said by its name if it cannot be used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ...errors import ConfigError
from ...ledger import Unit, show_amount
from ...money import MAX_AMOUNT, parse_dollars

LAST_MOMENT_S = 253_402_300_800
"""The year 10000, with which calendars end."""


def require_text(value: object, name: str) -> str:
    """A text that is not empty, or `ConfigError` naming the argument."""
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{name}={value!r}: a text that is not empty is needed")
    return value


def parse_limit(value: object, unit: Unit, *, name: str = "limit") -> int:
    """A limit in its unit: nano-dollars of dollars, else a whole number, also as text; raises `ConfigError`."""
    if unit == "dollars":
        return parse_dollars(value, name=name)
    if (isinstance(value, str) and value.isascii() and value.isdigit()) or (
        isinstance(value, float) and value.is_integer()
    ):
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_AMOUNT:
        shown = show_amount(MAX_AMOUNT, unit)
        raise ConfigError(f"{name}={value!r}, unit={unit!r}: a whole number from 0 to {shown} is needed")
    return value


def require_choice(value: object, choices: tuple[str, ...], name: str) -> str:
    """One of the choices, or `ConfigError` naming them."""
    if value not in choices:
        raise ConfigError(f"{name}={value!r}: use one of {', '.join(map(repr, choices))}")
    return str(value)


def require_moment(value: object, name: str) -> float:
    """A time in seconds since the epoch, or `ConfigError`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < LAST_MOMENT_S:
        raise ConfigError(f"{name}={value!r}: a time in seconds since 1970 is needed, as time.time() gives")
    return float(value)


def require_in_flight(value: object) -> int | None:
    """A whole number of at least 1, or nothing; else `ConfigError`."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"in_flight={value!r}: a whole number of at least 1 is needed")
    return value


def require_match(match: Mapping[str, str] | None) -> Mapping[str, str]:
    """Globs by their tags, or `ConfigError`."""
    if match is not None and not isinstance(match, Mapping):
        raise ConfigError(f"match={match!r}: a mapping of tags to globs is needed, such as {{'team': 'search*'}}")
    return {require_text(tag, "match"): require_text(glob, f"match[{tag!r}]") for tag, glob in (match or {}).items()}


def require_per(per: Sequence[str]) -> tuple[str, ...]:
    """The tags that a budget counts by, or `ConfigError`."""
    if isinstance(per, str) or not isinstance(per, Sequence):
        raise ConfigError(f"per={per!r}: a sequence of tags is needed, such as ('user',)")
    return tuple(require_text(tag, "per") for tag in per)


def require_fractions(value: object, name: str) -> tuple[float, ...]:
    """Parts of a limit, such as 0.5 and 1.0, the smallest first; else `ConfigError`. One number is one part."""
    parts = [value] if isinstance(value, int | float) else value
    if isinstance(parts, str) or not isinstance(parts, Sequence):
        raise ConfigError(f"{name}={value!r}: parts of the limit are needed, such as (0.5, 0.8, 1.0)")
    return tuple(sorted({require_fraction(part, name) for part in parts}))


def require_fraction(value: object, name: str) -> float:
    """A part of a limit above 0 and up to 1, or `ConfigError`."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value <= 1:
        raise ConfigError(f"{name}={value!r}: a part of the limit is needed, above 0 and up to 1, such as 0.8")
    return float(value)


def require_models(value: object, name: str) -> tuple[str, ...]:
    """One model or several, in order, each once; else `ConfigError`."""
    models = [value] if isinstance(value, str) else value
    if not isinstance(models, Sequence):
        raise ConfigError(f"{name}={value!r}: a model is needed, or several in order, such as ['gpt-4o-mini']")
    return tuple(dict.fromkeys(require_text(model, name) for model in models))
