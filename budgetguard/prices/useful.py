"""
The least useful answer of a model: the output tokens below which it is not worth its money.

The table is `data/useful.toml`, each row with its source and date. It is read when a plan is compiled.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path


def least_useful(model: str) -> int:
    """The output tokens without which an answer of a model helps nobody, its thinking included."""
    name = model.lower()
    return next(least for pattern, least in _rows() if pattern.search(name))


@cache
def _rows() -> list[tuple[re.Pattern[str], int]]:
    import tomllib

    text = (Path(__file__).parent / "data/useful.toml").read_text(encoding="utf-8")
    return [(re.compile(row["name"]), row["least"]) for row in tomllib.loads(text)["models"]]
