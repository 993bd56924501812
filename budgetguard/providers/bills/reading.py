"""What readers of bills share: pages of days, amounts with all of their digits, counts."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal, InvalidOperation
from typing import Any

from ...errors import BillError
from .lines import BillDay

_DIGITS = Context(prec=60, rounding=ROUND_HALF_EVEN)
_ATTO_PLACES = 18
_MOST = Decimal(10) ** 12
"""Dollars, above which an amount is none."""


def listed(page: Any, name: str = "data") -> list[Mapping[str, Any]]:
    """The objects in a list of a page; raises `BillError` where there is no list."""
    found = page.get(name) if isinstance(page, dict) else None
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise BillError(f"the provider's answer has no list {name!r}: it is not as documented")
    return found


def buckets(page: Any, start: str) -> Iterator[tuple[BillDay, Mapping[str, Any]]]:
    """Every result of a page with its day: `results`, or `result` as a schema of OpenAI's has it; there may be none."""
    for bucket in listed(page):
        day = day_of(bucket.get(start))
        if "results" not in bucket and "result" not in bucket:
            raise BillError(f"{day} has no list of results: the provider's answer is not as documented")
        results = bucket.get("results") or bucket.get("result") or []
        if not isinstance(results, list):
            raise BillError(f"the results of {day} are no list: the provider's answer is not as documented")
        for result in results:
            if not isinstance(result, dict):
                raise BillError(f"a result of {day} is {result!r}: it is not as documented")
            yield day, result


def require_new(page: Any, sent: set[str]) -> None:
    """Remember the days of a page; raises `BillError` for one that was sent before as it is, and would count twice."""
    found = page.get("data") if isinstance(page, dict) else None
    for bucket in found if isinstance(found, list) else ():
        if isinstance(bucket, dict) and (bucket.get("results") or bucket.get("result")):
            text = json.dumps(bucket, sort_keys=True, default=str)
            if text in sent:
                raise BillError("the provider sends the same day twice: the pages of its bill repeat")
            sent.add(text)


def day_of(value: Any) -> BillDay:
    """The day of a time in seconds or in ISO 8601; raises `BillError`."""
    try:
        if isinstance(value, str):
            moment = datetime.fromisoformat(value)
            return f"{moment.astimezone(UTC) if moment.tzinfo else moment:%Y-%m-%d}"
        return f"{datetime.fromtimestamp(int(value), UTC):%Y-%m-%d}"
    except (TypeError, ValueError, OverflowError, OSError):
        raise BillError(f"{value!r} is no day: the provider's answer is not as documented") from None


def atto_of(value: Any, currency: Any = "usd", *, places: int = 0) -> int:
    """
    A stated amount in 1e-18 dollars; `places`: 2 for cents. Raises `BillError` for what is none, or not in dollars.

    Numbers and texts alike: OpenAI's reference has a number, and its API sends texts ("0E-6176",
    "0.000004500000000000000000000000000000000").
    """
    if str(currency or "usd").lower() != "usd":
        raise BillError(f"the bill is in {currency!r}: only dollars can be compared with the books")
    try:
        amount = Decimal(str(value))
    except InvalidOperation:
        raise BillError(f"{value!r} is no amount: the provider's answer is not as documented") from None
    if not amount.is_finite() or abs(amount) > _MOST:
        raise BillError(f"{value!r} is no amount of dollars: the provider's answer is not as documented")
    if amount == 0 or amount.adjusted() < -_ATTO_PLACES - places:
        return 0
    return int(_DIGITS.scaleb(amount, _ATTO_PLACES - places).to_integral_value(ROUND_HALF_EVEN))


def count_of(row: Mapping[str, Any], name: str) -> int:
    """A count; 0 where nothing is said of it. Raises `BillError` for what is none."""
    value = row.get(name)
    if value is None:
        return 0
    if isinstance(value, bool) or not isinstance(value, int | Decimal) or value < 0 or value > _MOST * 1000:
        raise BillError(f"{name} is {value!r}: the provider's answer is not as documented")
    return int(value)


def text_of(row: Mapping[str, Any], name: str) -> str:
    """A text; "" where nothing is said."""
    value = row.get(name)
    return value.strip() if isinstance(value, str) else ""


def counted(**counts: int) -> dict[str, int]:
    """The counts that are not 0."""
    return {kind: count for kind, count in counts.items() if count}
