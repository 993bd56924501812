"""What a program gives for prices, in one line: a book, models with what they cost, or the path of a price file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TypeAlias

from ..errors import ConfigError
from .book import PriceBook

GivenPrices: TypeAlias = PriceBook | Mapping[str, object] | str | os.PathLike[str]
"""A book; `{"my-model": {"input": 0.15, "output": 0.60}}`, as the `[models]` of a price file; or the path of one, or
of LiteLLM's map in JSON."""


def book_of(
    given: GivenPrices,
    beside: Path | None = None,
    auto_tier: Iterable[str] | None = None,
    price_list: str | None = None,
) -> PriceBook:
    """
    The book that is meant. Models stand over a price file that is named `beside`; a book or a path is all there is.
    `auto_tier` and `price_list` are the book's, unless it is one already.

    Raises `ConfigError` for anything that cannot be used.
    """
    if isinstance(given, PriceBook):
        return given
    if isinstance(given, Mapping):
        return PriceBook(overrides=given, path=beside, auto_tier=auto_tier, price_list=price_list)
    if not isinstance(given, str | os.PathLike):
        raise ConfigError(
            f"prices={given!r}: write {{'my-model': {{'input': 0.15, 'output': 0.60}}}} (dollars per million tokens), "
            "the path of a price file, or a PriceBook"
        )
    return PriceBook(path=Path(given), auto_tier=auto_tier, price_list=price_list)
