"""`spend`: who spent what, on which model, on which day."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from ...budgets.said.checks import require_text
from ...ledger import Query, Store, Total
from ...reports.amounts import share
from ...reports.cube.kept import first_day
from ...reports.spent import SpentQuery, added, spent
from ...stores.encoding import day_text
from ..common.moments import SinceOption, UntilOption, ZoneOption, parse_span
from ..common.options import CsvOption, JsonOption, ProjectOption, StoreOption, parse_tags, project, readable, say_where
from ..common.show import console, in_csv, money, print_csv, print_json
from ..common.tables import BarCell, Column, table
from ..common.waiting import waiting
from .groups import SpentGroup, arranged

_COUNTS = ("calls", "input", "output", "estimated", "cut")
_DAY_MS = 86_400_000


ByOption = Annotated[
    list[str] | None,
    typer.Option("--by", help="user, model, provider, hour, day, week, month, or any tag; repeatable."),
]
UserOption = Annotated[str | None, typer.Option("--user", help="Only this user's calls.", callback=readable)]
TagOption = Annotated[list[str] | None, typer.Option("--tag", help="Only calls with this tag: team=search.")]
SortOption = Annotated[
    str | None, typer.Option("--sort", help="cost, calls, input, output or name; without it times keep their order.")
]
TopOption = Annotated[int | None, typer.Option("--top", min=1, help="Only so many names; the rest is one line.")]


def spend(
    *,
    by: ByOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    zone: ZoneOption = "UTC",
    user: UserOption = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only this provider.")] = None,
    tag: TagOption = None,
    sort: SortOption = None,
    top: TopOption = None,
    chart: Annotated[bool, typer.Option("--chart", help="Bars instead of numbers of tokens.")] = False,
    store: StoreOption = None,
    name: ProjectOption = None,
    as_json: JsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """What was spent, grouped by user unless --by says otherwise.

    Example: budgetguard spend --by month --by team --top 5 --zone Europe/Berlin
    """
    fields = [require_text(field, "--by") for field in by or ["user"]]
    tags = parse_tags([*(tag or []), *([] if user is None else [f"user={user}"])])
    with project(store, name) as manager:
        now = manager.store.now_ms()
        span = parse_span(since, until, now)
        asked = SpentQuery(tuple(fields), *span, zone, tags, model, provider)
        with waiting("adding up") as told:
            groups = arranged(fields, spent(manager.store, asked, told), sort, top)
        _say_what_was_pruned(manager.store, asked)
        if not groups:
            say_where(manager, store)
    if as_json:
        print_json([_as_json(fields, group) for group in groups])
    elif as_csv:
        print_csv([*fields, "cost", *_COUNTS], [_as_csv(fields, group) for group in groups])
    else:
        some = " yet." if asked == SpentQuery(asked.by, zone=zone) else " that fits."
        _print(fields, groups, f"Nothing was spent in project {manager.project_name!r}{some}", chart=chart)


def _print(fields: Sequence[str], groups: Sequence[SpentGroup], nothing: str, *, chart: bool) -> None:
    if not groups:
        console().print(nothing)
        return
    whole, most = added([group.total for group in groups]), max([group.total.cost for group in groups])
    columns = [Column(field) for field in fields]
    columns += [Column("", drop=1)] if chart else []
    columns += [Column("cost", number=True), Column("share", number=True, drop=2)]
    columns += [] if chart else [Column(title, number=True, drop=3 + place) for place, title in enumerate(_COUNTS)]

    def row(names: list[str], total: Total, bar: BarCell | str) -> list[str | BarCell]:
        part = share(total.cost / whole.cost if whole.cost else None)
        return [*names, *([bar] if chart else []), money(total.cost), part, *([] if chart else _counts(total))]

    rows = [row(group.shown(fields), group.total, BarCell(group.total.cost, most)) for group in groups]
    if len(groups) > 1:
        rows.append(row(["total", *[""] * (len(fields) - 1)], whole, ""))
    console().print(table(columns, rows))


def _counts(total: Total) -> list[str]:
    return [f"{count:,}" for count in _numbers(total)]


def _numbers(total: Total) -> tuple[int, ...]:
    return total.calls, total.input_tokens, total.output_tokens, total.estimated, total.cut


def _as_json(fields: Sequence[str], group: SpentGroup) -> dict[str, object]:
    total = group.total
    return {
        **dict(zip(fields, group.names, strict=True)),
        "cost": total.cost,
        "calls": total.calls,
        "input_tokens": total.input_tokens,
        "output_tokens": total.output_tokens,
        "estimated": total.estimated,
        "cut": total.cut,
        **({"others": group.others} if group.others else {}),
    }


def _as_csv(fields: Sequence[str], group: SpentGroup) -> list[str | int]:
    names = group.shown(fields) if group.others else [name or "" for name in group.names]
    return [*names, in_csv(group.total.cost), *_numbers(group.total)]


def _say_what_was_pruned(store: Store, asked: SpentQuery) -> None:
    """Say on stderr that there was more, where entries were pruned whose sums are kept: months have them."""
    kept = first_day(store)
    if kept is None or (asked.since_ms is not None and asked.since_ms >= (kept + 1) * _DAY_MS):
        return
    oldest = next(iter(store.entries(Query(limit=1))), None)
    if oldest is None or oldest.at_ms >= (kept + 1) * _DAY_MS:
        since = "all of them" if oldest is None else f"from {day_text(kept)} to {day_text(oldest.at_ms // _DAY_MS)}"
        told = f"entries were pruned, {since}, and are not in these sums: budgetguard report has their months"
        print(f"budgetguard: {told}", file=sys.stderr)
