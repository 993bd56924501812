"""
The history as a data frame of pandas or polars, whichever is there.

Entries come one by one, and become columns of plain numbers at once: names are kept once, and counted by number. So a
million calls take some tens of bytes a column each, and nothing of an entry is kept beside that.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, Literal, TypeAlias

from ..errors import ConfigError
from ..ledger import Entry
from ..money import DOLLAR

Backend: TypeAlias = Literal["pandas", "polars"]

FLAGS: Final = ("estimated", "late", "expired", "capped", "cut", "unpriced", "fallback", "tier", "manual")
"""Each is a column of its own; see `Entry.flags`."""
TOKENS: Final = ("input_tokens", "output_tokens")
"""These columns are always there; other kinds of usage where an entry has them."""
_NONE: Final = -1
"""In a column of numbers, that an entry says nothing."""
_MOST: Final = 2**63 - 1


class NameColumn:
    """Texts of which most are there often: each once, and a number for every row."""

    __slots__ = ("names", "numbers")

    def __init__(self, missing: int = 0) -> None:
        self.names: dict[str, int] = {}
        self.numbers = array("i", [_NONE]) * missing

    def add(self, name: str | None) -> None:
        """One row; `None`: it has none."""
        self.numbers.append(_NONE if name is None else self.names.setdefault(name, len(self.names)))


class EntryColumns:
    """What entries say, in columns of the same length."""

    def __init__(self, entries: Iterable[Entry]) -> None:
        self.ids: list[str] = []
        self.at_ms = array("q")
        self.costs = array("q")
        self.provider = NameColumn()
        self.model = NameColumn()
        self.tags: dict[str, NameColumn] = {"user": NameColumn()}
        self.usage = {kind: array("q") for kind in TOKENS}
        self._flagged = {flag: array("q") for flag in FLAGS}
        for entry in entries:
            self._add(entry)

    def _add(self, entry: Entry) -> None:
        rows = len(self.ids)
        self.ids.append(entry.hold_id)
        self.at_ms.append(entry.at_ms)
        self.costs.append(entry.cost)
        self.provider.add(entry.provider or None)
        self.model.add(entry.model or None)
        tags, usage = entry.tags, entry.usage
        for tag in tags:
            if tag not in self.tags:
                self.tags[tag] = NameColumn(rows)
        for tag, names in self.tags.items():
            names.add(tags.get(tag))
        for kind in usage:
            if kind not in self.usage:
                self.usage[kind] = array("q", [_NONE]) * rows
        for kind, counts in self.usage.items():
            count = usage.get(kind, _NONE)
            counts.append(count if count <= _MOST else _MOST)
        for flag in entry.flags:
            if flag in self._flagged:
                self._flagged[flag].append(rows)

    def tag_columns(self) -> Iterator[tuple[str, NameColumn]]:
        """Each with its name in a frame, users first, then by their names."""
        yield "user", self.tags["user"]
        for tag in sorted(self.tags.keys() - {"user"}):
            yield f"tag.{tag}", self.tags[tag]

    def usage_columns(self) -> Iterator[tuple[str, array[int]]]:
        """Tokens first, then the other kinds by their names."""
        for kind in (*TOKENS, *sorted(self.usage.keys() - set(TOKENS))):
            yield kind if kind in TOKENS else f"usage.{kind}", self.usage[kind]

    def flag_columns(self) -> Iterator[tuple[str, bytearray]]:
        """1 where an entry has the flag: few have any."""
        for flag, rows in self._flagged.items():
            marks = bytearray(len(self.ids))
            for row in rows:
                marks[row] = 1
            yield flag, marks


def frame(entries: Iterable[Entry], backend: Backend | None) -> Any:
    """These entries as a frame of that library, or of the one that is installed; pandas, if both are."""
    make = _maker(backend)
    return make(EntryColumns(entries))


def _maker(backend: str | None) -> Any:
    makers: Mapping[str, Any] = {"pandas": _pandas_maker, "polars": _polars_maker}
    if backend is not None and backend not in makers:
        raise ConfigError(f"backend={backend!r}: use 'pandas' or 'polars'")
    for name in makers if backend is None else (backend,):
        try:
            return makers[name]()
        except ModuleNotFoundError as error:
            if (error.name or "").partition(".")[0] != name:
                raise
    missing = "neither pandas nor polars is" if backend is None else f"{backend} is not"
    raise ConfigError(f"entries_frame: {missing} installed: install the extra `frames`, as in budgetguard-llm[frames]")


def _pandas_maker() -> Any:
    import numpy as np
    import pandas as pd

    def text(names: NameColumn) -> Any:
        return pd.Categorical.from_codes(np.frombuffer(names.numbers, dtype="int32"), list(names.names))

    def counts(said: array[int]) -> Any:
        values = np.frombuffer(said, dtype="int64")
        return pd.arrays.IntegerArray(values, values == _NONE)

    def make(it: EntryColumns) -> Any:
        at = np.frombuffer(it.at_ms, dtype="int64").view("datetime64[ms]")
        cost = np.frombuffer(it.costs, dtype="int64")
        columns: dict[str, Any] = {"id": it.ids, "time": pd.DatetimeIndex(at).tz_localize("UTC")}
        columns |= {name: text(names) for name, names in it.tag_columns()}
        columns |= {"provider": text(it.provider), "model": text(it.model), "cost": cost / DOLLAR, "cost_nano": cost}
        columns |= {name: counts(said) for name, said in it.usage_columns()}
        columns |= {flag: np.frombuffer(marks, dtype=bool) for flag, marks in it.flag_columns()}
        return pd.DataFrame(columns)

    return make


def _polars_maker() -> Any:
    import polars as pl

    def text(names: NameColumn) -> Any:
        known = pl.Series(list(names.names), dtype=pl.String)
        numbers = pl.Series(names.numbers, dtype=pl.Int32)
        places = pl.select(pl.when(numbers >= 0).then(numbers)).to_series()
        return (known.gather(places) if len(known) else pl.Series([None] * len(numbers), dtype=pl.String)).cast(
            pl.Categorical
        )

    def counts(said: array[int]) -> Any:
        values = pl.Series(said, dtype=pl.Int64)
        return pl.select(pl.when(values != _NONE).then(values)).to_series()

    def make(it: EntryColumns) -> Any:
        cost = pl.Series(it.costs, dtype=pl.Int64)
        at = pl.Series(it.at_ms, dtype=pl.Int64).cast(pl.Datetime("ms", "UTC"))
        columns: dict[str, Any] = {"id": pl.Series(it.ids, dtype=pl.String), "time": at}
        columns |= {name: text(names) for name, names in it.tag_columns()}
        columns |= {"provider": text(it.provider), "model": text(it.model), "cost": cost / DOLLAR, "cost_nano": cost}
        columns |= {name: counts(said) for name, said in it.usage_columns()}
        columns |= {flag: pl.Series(array("b", marks), dtype=pl.Int8) == 1 for flag, marks in it.flag_columns()}
        return pl.DataFrame(columns)

    return make
