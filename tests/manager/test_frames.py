"""The history as data frames and as a picture: what is in them is what the entries say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import matplotlib as mpl
import matplotlib.pyplot
import pandas as pd
import polars as pl
import pytest

from budgetguard import BudgetManager
from budgetguard.errors import ConfigError
from budgetguard.ledger import Entry
from budgetguard.manager.frames import FLAGS, frame
from budgetguard.testing import StoppedClock
from tests.support import ENVIRONMENT
from tests.support.history import DAY_MS

mpl.use("Agg")

NOON = datetime(2027, 1, 1, 12, tzinfo=UTC)
NOON_MS = round(NOON.timestamp() * 1000)
ENTRIES = [
    Entry("one", 1_500_000_001, at_ms=NOON_MS - 2 * DAY_MS, tags={"user": "ann"}, provider="openai", model="gpt-4o"),
    Entry(
        "two",
        7,
        at_ms=NOON_MS - 60_000,
        tags={"user": "bob", "team": "search"},
        provider="openai",
        model="o3",
        usage={"input_tokens": 10, "output_tokens": 20, "images/hd/1024": 2},
        flags=frozenset({"estimated", "of a newer version"}),
    ),
    Entry("three", 2_000_000_000, at_ms=NOON_MS - 30_000, usage={"input_tokens": 2**60}, flags=frozenset({"manual"})),
]


@pytest.fixture
def history(url: str, clock: StoppedClock) -> Iterator[BudgetManager]:
    """Three calls: one two days old, one with everything, one that says next to nothing."""
    made = BudgetManager("shop", store=url, clock=clock)
    made.store.load(entries=ENTRIES)
    yield made
    made.close()


def rows(frame: Any) -> list[dict[str, Any]]:
    """The rows of either library, with `None` for what is missing."""
    if isinstance(frame, pl.DataFrame):
        return frame.to_dicts()
    return [{name: None if pd.isna(each) else each for name, each in row.items()} for row in frame.to_dict("records")]


@pytest.mark.parametrize("backend", ["pandas", "polars"])
def test_a_frame_says_what_the_entries_say(history: BudgetManager, backend: Any) -> None:
    """Row for row, with whole nano-dollars beside the dollars, and nothing where an entry says nothing."""
    found = rows(history.entries_frame(backend=backend))

    assert [(each["id"], each["cost_nano"], each["cost"]) for each in found] == [
        ("one", 1_500_000_001, 1.500000001), ("two", 7, pytest.approx(7e-9)), ("three", 2_000_000_000, 2.0)
    ]  # fmt: skip
    assert [(each["user"], each["tag.team"], each["model"], each["provider"]) for each in found] == [
        ("ann", None, "gpt-4o", "openai"), ("bob", "search", "o3", "openai"), (None, None, None, None)
    ]  # fmt: skip
    usage = [(each["input_tokens"], each["output_tokens"], each["usage.images/hd/1024"]) for each in found]
    assert usage == [(None, None, None), (10, 20, 2), (2**60, None, None)]
    assert [each["time"] for each in found] == [
        datetime.fromtimestamp(entry.at_ms / 1000, UTC) for entry in ENTRIES
    ]  # fmt: skip
    assert [{flag for flag in FLAGS if each[flag]} for each in found] == [set(), {"estimated"}, {"manual"}]


@pytest.mark.parametrize("backend", ["pandas", "polars"])
def test_a_count_that_no_column_holds_is_the_largest_that_one_does(backend: Any) -> None:
    """One entry with nonsense in it does not take a million others from who looks at them."""
    [found] = rows(frame([Entry("huge", 1, at_ms=NOON_MS, usage={"input_tokens": 2**70})], backend))
    assert found["input_tokens"] == 2**63 - 1


def test_the_columns_have_types_that_can_be_counted_with(history: BudgetManager) -> None:
    """Times with their zone, tokens that may be missing and stay whole numbers, names that are kept once."""
    frame = history.entries_frame(backend="pandas")
    kinds = {name: str(frame[name].dtype) for name in ("time", "cost_nano", "cost", "input_tokens", "user", "cut")}
    assert kinds == {
        "time": "datetime64[ms, UTC]",
        "cost_nano": "int64",
        "cost": "float64",
        "input_tokens": "Int64",
        "user": "category",
        "cut": "bool",
    }
    assert frame.groupby("user", observed=True)["cost_nano"].sum().to_dict() == {"ann": 1_500_000_001, "bob": 7}

    other = history.entries_frame(backend="polars")
    assert other.schema["time"] == pl.Datetime("ms", "UTC")
    assert (other.schema["cost_nano"], other.schema["input_tokens"], other.schema["cut"]) == (
        pl.Int64, pl.Int64, pl.Boolean
    )  # fmt: skip
    assert other.schema["user"] == pl.Categorical


@pytest.mark.parametrize("backend", ["pandas", "polars"])
def test_a_history_of_nothing_is_a_frame_without_rows(manager: BudgetManager, backend: Any) -> None:
    """A notebook that runs before the first call goes on."""
    frame = manager.entries_frame(backend=backend)
    assert len(frame) == 0
    assert {"time", "user", "cost", "cost_nano", "input_tokens", "output_tokens", *FLAGS} < set(frame.columns)


@pytest.mark.parametrize(
    ("asked", "ids"),
    [
        ({"since": "1d"}, ["two", "three"]),
        ({"since": NOON - timedelta(days=3), "until": timedelta(days=1)}, ["one"]),
        ({"user": "bob"}, ["two"]),
        ({"tags": {"team": "search"}}, ["two"]),
        ({"model": "gpt-4o"}, ["one"]),
        ({"until": "2026-12-30T12:00"}, []),
        ({"until": "2026-12-30T12:00:00.001"}, ["one"]),
    ],
)
def test_only_what_is_asked_for_is_in_a_frame(history: BudgetManager, asked: dict[str, Any], ids: list[str]) -> None:
    """As the store says it; naive times are UTC, and `until` is not included."""
    assert list(history.entries_frame(**asked)["id"]) == ids


WITHOUT = """
import sys
for name in {hidden!r}:
    sys.modules[name] = None
from budgetguard import BudgetManager
manager = BudgetManager("shop", store="memory://")
try:
    print(type(manager.entries_frame(backend={backend!r})).__module__.partition(".")[0])
except ValueError as error:
    print(error)
"""


@pytest.mark.parametrize(
    ("hidden", "backend", "said"),
    [
        (("pandas",), None, "polars"),
        ((), None, "pandas"),
        (("pandas", "polars"), None, "neither pandas nor polars is installed: install the extra `frames`"),
        (("polars",), "polars", "polars is not installed: install the extra `frames`"),
        ((), "excel", "backend='excel': use 'pandas' or 'polars'"),
    ],
)
def test_the_library_that_is_there_is_taken(hidden: tuple[str, ...], backend: str | None, said: str) -> None:
    """And where there is none, it is said what to install. Python itself takes the one that is hidden for missing."""
    program = WITHOUT.format(hidden=hidden, backend=backend)
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, env=ENVIRONMENT)
    assert said in shown.stdout, shown.stderr


def heights(axes: Any) -> list[list[float]]:
    """How high the bars of each name are, day by day."""
    return [[round(bar.get_height(), 9) for bar in each] for each in axes.containers]


def test_a_plot_has_a_bar_for_each_day_and_a_colour_for_each_name(history: BudgetManager) -> None:
    """The dearest first, from the bottom up; its title adds up."""
    axes = history.plot_spend(days=4)

    assert heights(axes) == [[0, 0, 0, 2.0], [0, 1.500000001, 0, 0], [0, 0, 0, 7e-9]]
    assert axes.get_title(loc="left") == "$3.50 spent in 4 days, by model"
    assert [each.get_text() for each in axes.get_legend().get_texts()] == [
        "(no model)  $2.00", "gpt-4o  $1.50", "o3  < $0.01"
    ]  # fmt: skip
    assert axes.get_yaxis().get_major_formatter()(1.5, None) == "$1.50"


def test_beyond_eight_names_the_rest_is_others(history: BudgetManager) -> None:
    """And a day is one of the zone; bars stand on each other."""
    late = NOON_MS + 11 * 3_600_000  # tomorrow in Berlin
    history.store.load(
        entries=[Entry(f"u{n}", (12 - n) * 10**9, at_ms=late, tags={"user": f"u{n:02}"}) for n in range(12)]
    )
    history.guard.clock.advance(12 * 3600)  # type: ignore[attr-defined]
    figure, axes = mpl.pyplot.subplots()
    assert history.plot_spend("user", 2, zone="Europe/Berlin", ax=axes) is axes
    names = [each.get_text().partition("  ")[0] for each in axes.get_legend().get_texts()]

    assert names == [*[f"u{n:02}" for n in range(8)], "others"]
    assert heights(axes)[0] == [0, 12.0]
    assert heights(axes)[-1] == [2.000000007, 10.0]
    assert axes.containers[1][1].get_y() == 12.0
    mpl.pyplot.close(figure)


@pytest.mark.parametrize(
    ("asked", "complaint"), [({"days": 0}, "days=0"), ({"by": "day"}, "by='day'"), ({"zone": "Mars"}, "'Mars'")]
)
def test_a_plot_of_nothing_that_can_be_is_refused(manager: BudgetManager, asked: Any, complaint: str) -> None:
    """Before anything is read."""
    with pytest.raises(ConfigError, match=complaint):
        manager.plot_spend(**asked)
    mpl.pyplot.close("all")
