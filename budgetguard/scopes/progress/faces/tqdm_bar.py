"""tqdm's bar, one of ours or the one that the rows come from, with the money behind it."""

from __future__ import annotations

import sys
from typing import Any

from ..pace import LoopView
from ..said import money_said


def is_tqdm(rows: object) -> bool:
    """Whether these rows are a bar of tqdm's by themselves."""
    return any(each.__module__.partition(".")[0] == "tqdm" for each in type(rows).__mro__)


class TqdmFace:
    """A bar: `rows`, if they are one, which counts by itself; else one that is made."""

    every_s = 0.25

    def __init__(self, description: str, total: int | None, rows: Any = None) -> None:
        self._given = rows is not None
        self._bar = rows
        if rows is None:
            from tqdm.auto import tqdm  # type: ignore[import-untyped]

            self._bar = tqdm(total=total, desc=description or None, unit="row", file=sys.stderr)

    def draw(self, view: LoopView) -> None:
        """Show the rows that are done, and the money."""
        if not self._given:
            self._bar.n = view.sums.done
        said = [each for each in money_said(view) if "rows/" not in each]
        self._bar.set_postfix_str(", ".join([*said, view.ended] if view.ended else said), refresh=True)

    def end(self, view: LoopView) -> None:
        """Show how it ended; a bar that was given is closed by who iterates it."""
        self.draw(view)
        if not self._given:
            self._bar.close()
