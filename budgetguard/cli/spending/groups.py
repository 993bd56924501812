"""Groups of calls in the order in which they are shown, and those beyond the top as one line, so that all adds up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from ...errors import ConfigError
from ...ledger import Total
from ...reports.cube.sums import Names
from ...reports.cube.zones import TIMES
from ...reports.spent import added

Shared: TypeAlias = tuple[str | None, ...]
"""Names of a line; `None` where several groups are in it."""

THE_OTHERS: Final = "(others)"
ORDERS: Final[dict[str, Callable[[Total], int]]] = {
    "cost": lambda total: total.cost,
    "calls": lambda total: total.calls,
    "input": lambda total: total.input_tokens,
    "output": lambda total: total.output_tokens,
}
"""The numbers that groups can be sorted by, the largest first."""


@dataclass(frozen=True, slots=True)
class SpentGroup:
    """One line: what calls have in common, and what they add up to."""

    names: Shared
    """ "" where calls do not say it."""
    total: Total
    others: int = 0
    """How many groups the line stands for, if it is that of the others."""

    def shown(self, by: Sequence[str]) -> list[str]:
        """The names for people; what calls do not say is a name of its own, too."""
        return [
            THE_OTHERS if value is None else value or f"(no {field})"
            for field, value in zip(by, self.names, strict=True)
        ]


def arranged(by: Sequence[str], totals: Sequence[Total], sort: str | None, top: int | None) -> list[SpentGroup]:
    """
    Groups as they are asked for; `totals` come in the order of time.

    Without a `sort` the dearest is first, but for times, which stay in their order. Only the `top` of the names are
    shown, within each time those of all of it; where there are only times, the top of these.
    """
    if sort is not None and sort not in {*ORDERS, "name"}:
        raise ConfigError(f"--sort {sort}: use {', '.join(ORDERS)} or name")
    size = ORDERS.get(sort or "cost", ORDERS["cost"])
    kept, rest = _topmost(by, totals, size, top)
    groups = [SpentGroup(total.group, total) for total in kept]
    if sort is None and any(field in TIMES for field in by):
        ranks = _ranks(by, [*groups, *rest], size, list(dict.fromkeys([total.group for total in totals])))
        return sorted([*groups, *rest], key=lambda group: [rank[group.names[: n + 1]] for n, rank in enumerate(ranks)])
    if sort == "name":
        groups.sort(key=lambda group: group.total.group)
    else:
        groups.sort(key=lambda group: (-size(group.total), group.total.group))
    return [*groups, *rest]


def _topmost(
    by: Sequence[str], totals: Sequence[Total], size: Callable[[Total], int], top: int | None
) -> tuple[list[Total], list[SpentGroup]]:
    """The groups of the topmost names, and what the others come to, together or by their times."""
    places = [place for place, field in enumerate(by) if field not in TIMES] or list(range(len(by)))
    sizes: dict[Names, int] = {}
    for total in totals:
        name = tuple([total.group[place] for place in places])
        sizes[name] = sizes.get(name, 0) + size(total)
    if top is None or len(sizes) <= top:
        return list(totals), []
    named = set(sorted(sizes, key=lambda name: (-sizes[name], name))[:top])
    kept, rest = list[Total](), dict[Shared, list[Total]]()
    for total in totals:
        if tuple([total.group[place] for place in places]) in named:
            kept.append(total)
        else:
            names = tuple([None if place in places else value for place, value in enumerate(total.group)])
            rest.setdefault(names, []).append(total)
    return kept, [SpentGroup(names, added(those), len(those)) for names, those in rest.items()]


def _ranks(
    by: Sequence[str], groups: Sequence[SpentGroup], size: Callable[[Total], int], came: Sequence[Names]
) -> list[dict[Shared, int]]:
    """By the first names of groups, one, two and so on, their place: times as they `came`, others by their size."""
    ranks = list[dict[Shared, int]]()
    for place, field in enumerate(by):
        sizes: dict[Shared, int] = {}
        for group in groups:
            names = group.names[: place + 1]
            sizes[names] = sizes.get(names, 0) + size(group.total)
        if field in TIMES:
            order = {names[place]: number for number, names in reversed(list(enumerate(came)))}
            ranks.append({names: order.get(names[-1] or "", len(came)) for names in sizes})
        else:
            ordered = sorted(
                sizes, key=lambda names: (names[-1] is None, -sizes[names], [name or "" for name in names])
            )
            ranks.append({names: number for number, names in enumerate(ordered)})
    return ranks
