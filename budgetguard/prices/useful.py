"""
The least useful answer of a model: the output tokens below which it is not worth its money.

The table is `data/useful.toml`, each row with its source and date. It is read when a plan is compiled.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple


class Useful(NamedTuple):
    """Output tokens of one answer, its thinking included."""

    least: int
    """Without these it helps nobody."""
    last: int
    """What a call that nobody is beside may have of the last of a budget: some words are better than none."""


def least_useful(model: str) -> Useful:
    """The least that an answer of a model should have."""
    name = model.lower()
    return next(useful for pattern, useful in _rows() if pattern.search(name))


@cache
def _rows() -> list[tuple[re.Pattern[str], Useful]]:
    import tomllib

    text = (Path(__file__).parent / "data/useful.toml").read_text(encoding="utf-8")
    rows = tomllib.loads(text)["models"]
    return [(re.compile(row["name"]), Useful(row["least"], row.get("last", row["least"]))) for row in rows]
