"""`spend`: who spent what, on which model, on which day."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from ...budgets.said.checks import require_text
from ...ledger import Query, Total
from ..common.moments import SinceOption, UntilOption, parse_moment
from ..common.options import JsonOption, ProjectOption, StoreOption, parse_tags, project, say_where
from ..common.show import console, money, print_json
from ..common.tables import Column, bar, table


def spend(
    *,
    by: Annotated[
        list[str] | None, typer.Option(help="user, model, provider, day, or any tag; may be repeated.")
    ] = None,
    since: SinceOption = None,
    until: UntilOption = None,
    model: Annotated[str | None, typer.Option(help="Only this model.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="Only calls with this tag: team=search.")] = None,
    chart: Annotated[bool, typer.Option("--chart", help="Bars instead of numbers of tokens.")] = False,
    store: StoreOption = None,
    name: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """What was spent, grouped by user unless --by says otherwise."""
    groups = [require_text(group, "--by") for group in by or ["user"]]
    with project(store, name) as manager:
        now = manager.store.now_ms()
        query = Query(parse_moment(since, now), parse_moment(until, now), parse_tags(tag or []), model)
        totals = manager.store.totals(groups, query)
        if not totals:
            say_where(manager, store)
    if as_json:
        print_json([_as_json(groups, total) for total in totals])
    elif not totals:
        some = " that fits." if query != Query() else " yet."
        console().print(f"Nothing was spent in project {manager.project_name!r}{some}")
    elif chart:
        _print_chart(groups, totals)
    else:
        _print_table(groups, totals)


def _print_table(groups: Sequence[str], totals: Sequence[Total]) -> None:
    columns = [Column(group) for group in groups]
    columns += [Column(title, number=True) for title in ("cost", "calls", "input", "output", "estimated", "cut")]
    rows = [[*_shown(groups, total), money(total.cost), *_counts(total)] for total in totals]
    if len(totals) > 1:
        whole = _sum(totals)
        rows.append(["total", *[""] * (len(groups) - 1), money(whole.cost), *_counts(whole)])
    console().print(table(columns, rows))


def _print_chart(groups: Sequence[str], totals: Sequence[Total]) -> None:
    most = max(total.cost for total in totals)
    columns = [*(Column(group) for group in groups), Column(""), Column("cost", number=True)]
    console().print(
        table(columns, [[*_shown(groups, total), bar(total.cost, most), money(total.cost)] for total in totals])
    )


def _counts(total: Total) -> list[str]:
    counts = (total.calls, total.input_tokens, total.output_tokens, total.estimated, total.cut)
    return [f"{count:,}" for count in counts]


def _sum(totals: Sequence[Total]) -> Total:
    return Total(
        (),
        cost=sum(total.cost for total in totals),
        calls=sum(total.calls for total in totals),
        input_tokens=sum(total.input_tokens for total in totals),
        output_tokens=sum(total.output_tokens for total in totals),
        estimated=sum(total.estimated for total in totals),
        cut=sum(total.cut for total in totals),
    )


def _as_json(groups: Sequence[str], total: Total) -> dict[str, object]:
    return {
        **dict(zip(groups, total.group, strict=True)),
        "cost": total.cost,
        "calls": total.calls,
        "input_tokens": total.input_tokens,
        "output_tokens": total.output_tokens,
        "estimated": total.estimated,
        "cut": total.cut,
    }


def _shown(groups: Sequence[str], total: Total) -> list[str]:
    """What calls of a group have in common; what they do not say is a row of its own."""
    return [value or f"(no {group})" for group, value in zip(groups, total.group, strict=True)]
