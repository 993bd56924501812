"""`spend`: who spent what, on which model, on which day."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated

import typer

from ..budgets.said.checks import require_text
from ..errors import ConfigError
from ..ledger import Millis, Query, Total
from .options import JsonOption, ProjectOption, StoreOption, parse_tags, project, say_where
from .show import Column, bar, console, dollars, money, print_json, table

_AGO = re.compile(r"(\d+)([hdw])")
_HOUR_MS = 3_600_000
_UNITS_MS = {"h": _HOUR_MS, "d": 24 * _HOUR_MS, "w": 7 * 24 * _HOUR_MS}


def spend(
    *,
    by: Annotated[
        list[str] | None, typer.Option(help="user, model, provider, day, or any tag; may be repeated.")
    ] = None,
    since: Annotated[str | None, typer.Option(help="A day (2026-01-31) or how long ago: 24h, 7d, 4w.")] = None,
    until: Annotated[str | None, typer.Option(help="As --since; that moment is not included.")] = None,
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
        query = Query(_moment(since, now), _moment(until, now), parse_tags(tag or []), model)
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
        "cost": dollars(total.cost),
        "calls": total.calls,
        "input_tokens": total.input_tokens,
        "output_tokens": total.output_tokens,
        "estimated": total.estimated,
        "cut": total.cut,
    }


def _shown(groups: Sequence[str], total: Total) -> list[str]:
    """What calls of a group have in common; what they do not say is a row of its own."""
    return [value or f"(no {group})" for group, value in zip(groups, total.group, strict=True)]


def _moment(text: str | None, now_ms: Millis) -> Millis | None:
    """A day, a time, or a length before now; raises `ConfigError` for anything else."""
    if text is None:
        return None
    ago = _AGO.fullmatch(text)
    if ago:
        return now_ms - int(ago[1]) * _UNITS_MS[ago[2]]
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text!r} is no time: write a day (2026-01-31), a time, or how long ago (24h, 7d)") from None
    return round((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() * 1000)
