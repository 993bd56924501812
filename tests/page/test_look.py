"""How amounts, times and charts look: pure functions, held against what they stand for."""

from __future__ import annotations

from decimal import Decimal
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from budgetguard.money import DOLLAR
from budgetguard.reports.amounts import amount, cents, change, precise, share, short, whole_cents
from budgetguard.server.page.look.axes import MOST_LINES, Scale
from budgetguard.server.page.look.charts import (
    MOST_SERIES,
    OTHER,
    WIDTH,
    Series,
    SlotName,
    fewest,
    shares,
    sparkline,
    stacked,
)
from budgetguard.server.page.look.times import again, from_now, lasting, minute, month_name
from budgetguard.server.page.spending.slots import named

HOUR_MS = 3_600_000
COSTS = st.integers(0, 9_000_000 * DOLLAR)


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (0, "$0.00"),
        (1, "< $0.01"),
        (DOLLAR // 100 - 1, "< $0.01"),
        (DOLLAR // 100, "$0.01"),
        (1_234_560_000_000, "$1,234.56"),
        (9_000_000 * DOLLAR, "$9,000,000.00"),
        (-3 * DOLLAR, "-$3.00"),
        (-1, "> -$0.01"),
        (None, "–"),
    ],
)
def test_money_is_read_in_cents(nano: int | None, text: str) -> None:
    """What is not nothing never reads as nothing, and what is unknown reads as neither."""
    assert cents(nano) == text


@pytest.mark.parametrize(
    ("nano", "text"),
    [(2_310_000, "$0.00231"), (1, "< $0.00001"), (0, "$0.00"), (12 * DOLLAR, "$12.00"), (DOLLAR, "$1.00000")],
)
def test_the_cost_of_a_call_has_the_digits_that_tell_calls_apart(nano: int, text: str) -> None:
    """In cents nearly all of them would be the same."""
    assert precise(nano) == text


@given(COSTS)
def test_money_in_cents_is_within_half_a_cent(nano: int) -> None:
    """Rounding is for the eye: it moves nothing by more."""
    text = cents(nano)
    shown = Decimal(text.removeprefix("< ").replace("$", "").replace(",", ""))
    assert abs(shown - Decimal(nano) / DOLLAR) <= Decimal("0.01" if text.startswith("<") else "0.005")


def test_amounts_say_their_unit() -> None:
    """Sixty what?"""
    shown = [amount(1, "requests"), amount(1204, "tokens"), amount(2, "parallel"), amount(DOLLAR, "dollars")]
    assert shown == ["1 request", "1,204 tokens", "2 in parallel", "$1.00"]
    assert whole_cents(-123_456) == "-$1,234.56"
    shorts = [short(each) for each in (0, DOLLAR // 4, DOLLAR * 6 // 100, 2_000_000, 1_200 * DOLLAR)]
    assert shorts == ["$0", "$0.25", "$0.06", "$0.002", "$1.2k"]
    assert short(3_000_000, "tokens") == "3M"


def test_shares_and_changes_say_what_is_small_and_what_is_new() -> None:
    """ "0 %" of what costs money, and "+1,300 %", are both misread."""
    assert [share(each) for each in (None, 0.0, 0.004, 0.5, 0.999, 1.0)] == [
        "–",
        "0 %",
        "< 1 %",
        "50 %",
        "> 99 %",
        "100 %",
    ]
    assert [change(each) for each in (None, 0.12, -0.5, 0.001, 13.0)] == ["new", "+12 %", "-50 %", "±0 %", "×14"]


def test_times_are_those_of_the_readers_zone() -> None:
    """The same moment is another day elsewhere."""
    at_ms = 1_782_864_000_000 - HOUR_MS
    assert minute(at_ms) == "2026-06-30 23:00"
    assert minute(at_ms, ZoneInfo("Asia/Tokyo")) == "2026-07-01 08:00"
    assert from_now(at_ms + 3 * HOUR_MS, at_ms) == "in 3 h"
    assert from_now(at_ms - 25 * HOUR_MS, at_ms) == "1 d 1 h ago"
    assert lasting(20) == "under a minute"
    assert month_name("2026-02") == "February 2026"


def test_a_budget_never_begins_again_in_the_past() -> None:
    """One of the last minute does at any moment, and its line was read a moment ago: "under a minute ago"."""
    assert [again(at_ms, 1_000) for at_ms in (0, 1_000, 1_001)] == ["now", "now", "in under a minute"]


@given(COSTS)
def test_an_axis_has_few_round_lines_above_all_that_is_drawn(most: int) -> None:
    """A bar that sticks out of its chart, or 40 lines, or one at $0.37, cannot be read."""
    scale = Scale.over(most, 200)
    assert most <= scale.top
    assert len(scale.lines()) <= MOST_LINES + 1
    assert str(scale.step).rstrip("0") in {"1", "2", "5"}
    assert scale.lines()[0].y == 200
    assert scale.lines()[-1].y == 0


@pytest.mark.parametrize(
    ("most", "texts"),
    [
        (1_500_000_000, ["$0", "$0.50", "$1.00", "$1.50"]),
        (40 * DOLLAR, ["$0", "$10", "$20", "$30", "$40"]),
        (3_000_000, ["$0", "$0.001", "$0.002", "$0.003"]),
        (150_000_000, ["$0", "$0.05", "$0.10", "$0.15"]),
        (2_500_000, ["$0", "$0.001", "$0.002", "$0.003"]),
        (900, ["$0", "$0.0000005", "$0.0000010"]),
        (2_100 * DOLLAR, ["$0", "$1k", "$2k", "$3k"]),
    ],
)
def test_the_lines_of_an_axis_have_as_many_digits_as_each_other(most: int, texts: list[str]) -> None:
    """ "$1" between "$0.50" and "$1.50" reads as if it were another kind of number."""
    assert [line.text for line in Scale.over(most, 200).lines()] == texts


@given(st.lists(st.lists(COSTS, min_size=3, max_size=3), min_size=1, max_size=14))
def test_the_pieces_of_a_bar_add_up_to_its_height(costs: list[list[int]]) -> None:
    """Each begins where the one below it ends, so the bar is as high as its sum is on the axis."""
    slots = [SlotName(f"day {number}") for number in range(3)]
    chart = stacked("Spend", slots, [Series(f"model {at}", tuple(values)) for at, values in enumerate(costs)])
    top = Scale.over(max(map(sum, zip(*costs, strict=True))), 200)
    lefts = sorted({each.x for each in chart.segments})
    for at, whole in enumerate(map(sum, zip(*costs, strict=True))):
        pieces = [each for each in chart.segments if each.said.startswith(f"day {at}:")]
        assert sum(each.height for each in pieces) == pytest.approx(top.height_of(whole), abs=0.01 * len(costs))
        for below, above in pairwise(pieces):
            assert below.y == pytest.approx(above.y + above.height, abs=0.011)
    assert all(0 <= left < WIDTH for left in lefts)
    assert chart.total == sum(map(sum, costs))
    assert sum(row.total for row in chart.legend) == chart.total


def test_more_series_than_colours_are_one() -> None:
    """The eye tells eight apart; twelve would be eight and four wrong ones. Nothing is lost."""
    series = [Series(f"model {at}", (100 - at,)) for at in range(12)]
    drawn = fewest([*series, Series(OTHER, (7,), is_rest=True)])
    assert [each.name for each in drawn] == [f"model {at}" for at in range(MOST_SERIES)] + [OTHER]
    assert sum(each.total for each in drawn) == sum(each.total for each in series) + 7


def test_nothing_at_all_is_a_chart_too() -> None:
    """The first of a month has days, and no spend."""
    chart = stacked("Spend", named(["2026-11-01", "2026-11-02"]), [])
    assert chart.segments == ()
    assert chart.said == "Nothing was spent in this time."
    assert sparkline([]).points == ""
    assert len(sparkline([5]).points.split()) == 2


def test_a_month_behind_is_drawn_as_far_as_this_one_goes() -> None:
    """The last one may have a day more."""
    chart = stacked("Spend", [SlotName("a"), SlotName("b")], [Series("x", (1, 2))], behind=(3, 4, 50))
    assert len(chart.behind.split()) == 2


@given(COSTS, COSTS, st.none() | COSTS)
def test_the_bar_of_a_budget_is_never_wider_than_its_place(spent: int, held: int, limit: int | None) -> None:
    """What is spent above the limit fills it, and is said."""
    bar = shares(spent, held, limit)
    width = float(bar.spent[:-1]) + float(bar.held[:-1])
    assert width <= 100.02
    if limit is not None:
        assert bar.is_over == (spent + held > limit)
        assert ("above the limit" in bar.said) == bar.is_over


@pytest.mark.parametrize("count", [1, 7, 31, 90, 400])
def test_names_of_slots_do_not_touch(count: int) -> None:
    """At most 31 on a wide screen and six on a narrow one, whatever the span."""
    slots = named([f"2026-W{at:02d}" for at in range(count)])
    assert len([each for each in slots if each.short]) <= 31
    assert 1 <= len([each for each in slots if each.always]) <= 6
    hours = [f"2026-11-{1 + at // 24:02d} {at % 24:02d}:00" for at in range(min(count, 29) * 24)]
    assert len([each for each in named(hours) if each.short]) <= 15
    assert named(["2026-11-01", "2026-11-02"])[0] == SlotName("Sun 1 Nov", "1 Nov", True)
