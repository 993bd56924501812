"""The statement of a month: compared with the store's own sums before it is given out, and adding up to the cent."""

from __future__ import annotations

from collections.abc import Sequence

from ...errors import ConfigError
from ...ledger import Millis
from ..cube.check import ComparedSums
from ..cube.packed import cost_of
from ..cube.reading import HistoryReader
from ..cube.sums import dearest, summed, totals
from ..cube.zones import TIMES, Span, month_named, spans
from ..shown.figures import sum_of_figures
from ..shown.money import Statement, StatementLine

CENT = 10_000_000
"""Nano-dollars."""


def statement(
    reader: HistoryReader, month: str, by: Sequence[str], *, zone: str, now_ms: Millis, age_s: float
) -> Statement:
    """See `Reports.statement`."""
    cube, span = reader.cube, month_named(month, zone)
    times = [name for name in by if name in TIMES]
    if not by or len(times) > 1 or len(set(by)) != len(by):
        raise ConfigError(f"by={tuple(by)!r}: fields are needed, each once, at most one of them a time")
    compared = reader.check(span.start_ms, span.end_ms, age_s=age_s)
    with cube.locked():
        found = list[tuple[tuple[str, ...], int]]()
        others = [name for name in by if name not in TIMES]
        for part in spans(times[0], span.first, span.end, zone) if times else [span]:
            sums = summed(cube, others, part.first, part.end)
            found += [(_names(by, others, names, part.label), packed) for names, packed in sums.items()]
        found = sorted(found) if times else dearest(found)
        whole = totals(cube, [(span.first, span.end)])[0]
        figures = [cube.kinds.figures(packed) for _, packed in found]
        total = cube.kinds.figures(whole)
    cents = nested_cents([names[0] for names, _ in found], [each.cost for each in figures], total.cost)
    lines = zip(found, cents, figures, strict=True)
    return Statement(
        month,
        zone,
        tuple(by),
        span.start_ms,
        span.end_ms,
        now_ms >= span.end_ms,
        tuple([StatementLine(names, each, shown) for (names, _), each, shown in lines]),
        total,
        _nearest(total.cost),
        _store_cost(reader, span, compared),
        reader.read(),
    )


def parts_of(found: Statement) -> list[tuple[StatementLine, list[StatementLine]]]:
    """
    The lines of each first name, and before them what they come to: to the cent as to the nano-dollar.

    The dearest first name comes first; where it is a time, they are in their order.
    """
    groups: dict[str, list[StatementLine]] = {}
    for line in found.lines:
        groups.setdefault(line.names[0], []).append(line)
    rest = ("",) * (len(found.by) - 1)
    parts = [
        (
            StatementLine(
                (name, *rest), sum([line.cents for line in lines]), sum_of_figures([line.figures for line in lines])
            ),
            lines,
        )
        for name, lines in groups.items()
    ]
    return parts if found.by[0] in TIMES else sorted(parts, key=lambda part: (-part[0].figures.cost, part[0].names))


def nested_cents(firsts: Sequence[str], costs: Sequence[int], total: int) -> list[int]:
    """
    As `in_cents`, so that those of one first name add up to its own cents, and these to the total.

    A first name's cents are the nearest to what it cost, but for some that are one off; its lines share them.
    """
    groups: dict[str, list[int]] = {}
    for place, first in enumerate(firsts):
        groups.setdefault(first, []).append(place)
    in_groups = in_cents([sum([costs[place] for place in places]) for places in groups.values()], total)
    found = [0] * len(costs)
    for places, cents in zip(groups.values(), in_groups, strict=True):
        for place, each in zip(places, _shared([costs[place] for place in places], cents), strict=True):
            found[place] = each
    return found


def in_cents(costs: Sequence[int], total: int) -> list[int]:
    """
    Each amount in cents so that they add up to the total in cents.

    All are rounded down, and those that lost most by it get one more each, until the sum is right; of equals the first.
    """
    return _shared(costs, _nearest(total))


def _shared(costs: Sequence[int], whole: int) -> list[int]:
    cents = [cost // CENT for cost in costs]
    lacking = whole - sum(cents)
    lost = sorted(range(len(costs)), key=lambda place: (-(costs[place] % CENT), place))
    for place in lost[: max(lacking, 0)]:
        cents[place] += 1
    return cents


def _nearest(cost: int) -> int:
    return (cost + CENT // 2) // CENT


def _names(by: Sequence[str], others: Sequence[str], names: Sequence[str], label: str) -> tuple[str, ...]:
    said = dict(zip(others, names, strict=True))
    return tuple([said.get(name, label) for name in by])


def _store_cost(reader: HistoryReader, span: Span, compared: ComparedSums) -> int | None:
    """What the store adds up to, but for the hours that are not over; `None` where entries of the time were pruned."""
    first = min(compared.first, span.end)
    with reader.cube.locked():
        before, since = totals(reader.cube, [(span.first, first), (min(span.end, compared.end), span.end)])
    return None if before and first != span.first else compared.cost + cost_of(since)
