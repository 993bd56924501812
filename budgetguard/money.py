"""
Money: whole nano-dollars, so that sums are exact.

The ledger and the stores count in plain `int` nano-dollars (the alias `Nano`
says so in signatures). `Money` is what people see: it prints as dollars,
compares with dollars, is a number of dollars in JSON, and cannot be mistaken
for a bare count of nano-dollars.
"""

from __future__ import annotations

import re
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from fractions import Fraction
from math import inf
from typing import TYPE_CHECKING, Any, TypeAlias

from .errors import ConfigError

if TYPE_CHECKING:
    from pydantic_core import CoreSchema

Nano: TypeAlias = int
"""An amount in whole nano-dollars: $1 is 1_000_000_000."""

DOLLAR: Nano = 1_000_000_000

MAX_AMOUNT: Nano = 9_000_000 * DOLLAR
"""The largest limit: nano-dollars up to here are exact in every store (2**53, the integers of a double)."""

PICO_PER_NANO = 1_000

_WIDTH = re.compile(r"(.?[<>^])?\d*s?", re.DOTALL)
"""A format that is as good for a text as for a number, and is taken for a text's."""


def nano_from_pico(pico: int) -> Nano:
    """Round pico-dollars up to nano-dollars: the one rounding of a call's cost."""
    return -(-pico // PICO_PER_NANO)


def parse_dollars(value: object, *, name: str) -> Nano:
    """
    An amount in dollars (`int`, `float`, `Decimal`, `Money`, or text such as "5", "$0.25") in nano-dollars.

    A float means the number that it prints as: 0.1 is ten cents. Raises `ConfigError`, naming the argument
    `name`, for anything negative, not finite, not a number, or above $9,000,000.
    """
    if isinstance(value, Money):
        return value.nano
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        raise ConfigError(f"{name}={value!r}: an amount in dollars, such as 5, 0.25 or '$0.25', is needed")
    text = value.strip().removeprefix("$").replace("_", "") if isinstance(value, str) else str(value)
    try:
        dollars = Decimal(text)
    except InvalidOperation:
        raise ConfigError(f"{name}={value!r} is no number: give dollars, such as 5, 0.25 or '$0.25'") from None
    if not dollars.is_finite():
        raise ConfigError(f"{name}={value!r} is not finite: leave the limit out for none")
    if dollars < 0:
        raise ConfigError(f"{name}={value!r} is negative: the least is 0, which refuses every call")
    if dollars > MAX_AMOUNT // DOLLAR:
        raise ConfigError(f"{name}={value!r} is above $9,000,000, the largest amount that every store keeps exact")
    return int((dollars * DOLLAR).to_integral_value(ROUND_CEILING))


def format_nano(amount: Nano) -> str:
    """Dollars as people write them: "$0.0023", "$12.50", "-$1.00"; never rounded."""
    sign, amount = ("-", -amount) if amount < 0 else ("", amount)
    whole, fraction = divmod(amount, DOLLAR)
    digits = f"{fraction:09d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole:,}.{digits}"


class Money(float):
    """
    An exact amount of US dollars.

    `str()` gives "$0.0023", `float()` dollars, `.nano` whole nano-dollars. It compares with, and adds to,
    another `Money` or a number of dollars: `scope.remaining < 0.10`.

    It is a `float` of dollars, and one in all that it does not do exactly itself, so that `json`, FastAPI, numpy and
    others that take numbers take it as they find it: `0.0023`, read back to the nano-dollar up to $8,388,608. It
    formats as one, too, where more than a width is asked for: `f"{scope.spent:.2f}"`.
    """

    __slots__ = ("nano",)

    nano: Nano

    def __new__(cls, nano: Nano) -> Money:
        """The amount of so many nano-dollars; raises `TypeError` for what is no `int`."""
        if not isinstance(nano, int) or isinstance(nano, bool):
            raise TypeError(
                f"Money({nano!r}): whole nano-dollars are needed; for dollars write Money.dollars({nano!r})"
            )
        try:
            money = super().__new__(cls, nano / DOLLAR)
        except OverflowError:  # that of an absurd reply, which must not raise
            money = super().__new__(cls, inf if nano > 0 else -inf)
        money.nano = nano
        return money

    @classmethod
    def dollars(cls, value: object) -> Money:
        """The amount of a number or text in dollars; raises `ConfigError` as `parse_dollars` does."""
        return cls(parse_dollars(value, name="dollars"))

    def __add__(self, other: object) -> Money:
        return Money(self.nano + _nano(other)) if _is_amount(other) else NotImplemented

    __radd__ = __add__

    def __sub__(self, other: object) -> Money:
        return Money(self.nano - _nano(other)) if _is_amount(other) else NotImplemented

    def __rsub__(self, other: object) -> Money:
        return Money(_nano(other) - self.nano) if _is_amount(other) else NotImplemented

    def __eq__(self, other: object) -> bool:
        return _exact(other) == self.nano if _is_amount(other) else NotImplemented

    def __ne__(self, other: object) -> bool:
        return _exact(other) != self.nano if _is_amount(other) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return self.nano < _exact(other) if _is_amount(other) else NotImplemented

    def __le__(self, other: object) -> bool:
        return self.nano <= _exact(other) if _is_amount(other) else NotImplemented

    def __gt__(self, other: object) -> bool:
        return self.nano > _exact(other) if _is_amount(other) else NotImplemented

    def __ge__(self, other: object) -> bool:
        return self.nano >= _exact(other) if _is_amount(other) else NotImplemented

    __hash__ = float.__hash__  # `__eq__` alone would leave it without one

    def __bool__(self) -> bool:
        return self.nano != 0

    def __str__(self) -> str:
        return format_nano(self.nano)

    def __format__(self, spec: str) -> str:
        return format(str(self) if _WIDTH.fullmatch(spec) else float(self), spec)

    def __repr__(self) -> str:
        return f"Money({format_nano(self.nano)!r})"

    def __getnewargs__(self) -> tuple[Nano]:  # a copy is of the exact amount
        return (self.nano,)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        """A field of a pydantic model: read from dollars as numbers or text, below 0 too; in JSON a number."""
        from pydantic_core.core_schema import (
            float_schema,
            no_info_plain_validator_function,
            plain_serializer_function_ser_schema,
        )

        return no_info_plain_validator_function(
            _read,
            json_schema_input_schema=float_schema(),
            serialization=plain_serializer_function_ser_schema(
                float.__float__, return_schema=float_schema(), when_used="json"
            ),
        )


def _read(value: object) -> Money:
    """Dollars that were written somewhere, which may be below 0; raises `ValueError` for what is no amount."""
    if isinstance(value, Money):
        return value
    written = str(value).strip()
    below = written.startswith("-")
    try:
        nano = parse_dollars(written[1:] if below else value, name="dollars")
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return Money(-nano if below else nano)


def _is_amount(value: object) -> bool:
    return isinstance(value, Money | int | float | Decimal) and not isinstance(value, bool)


def _exact(value: object) -> Fraction | float:
    if isinstance(value, Money):
        return Fraction(value.nano)
    text = str(value)
    return float(text) if text.lower().lstrip("-") in {"inf", "infinity", "nan"} else Fraction(text) * DOLLAR


def _nano(value: object) -> Nano:
    exact = _exact(value)
    if isinstance(exact, float):
        raise ConfigError(f"{value!r} is not finite: it cannot be added to an amount of money")
    return -int(-exact // 1)
