"""`report`: the statement of a month, line by line, to the cent; for people, as Markdown, as CSV and as JSON."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Final

import typer
from rich.console import Console
from rich.text import Text

from ...budgets.said.checks import require_text
from ...budgets.said.shown import on_lines
from ...errors import ConfigError
from ...ledger import Millis
from ...reports.amounts import counted, share, whole_cents
from ...reports.cube.zones import before, span_at
from ...reports.reports import Reports
from ...reports.shown.figures import Figures
from ...reports.shown.money import Statement, StatementLine
from ...reports.views.statement import parts_of
from ..common.moments import ZoneOption
from ..common.options import CsvOption, JsonOption, ProjectOption, StoreOption, project
from ..common.show import Terminal, console, csv_text, in_csv, iso, moment, money, print_plain
from ..common.tables import Cell, Column, table
from ..common.waiting import waiting

_COUNTS: Final = ("calls", "input", "output")
_FILE_WIDTH: Final = 100
_STEP_S: Final = 0.2
_MARKS: Final = re.compile(r"([\\`*_\[\]<>|])")
"""What Markdown would obey in a name."""


@dataclass(frozen=True, slots=True)
class MonthReport:
    """A statement, and what is said above it."""

    project: str
    found: Statement
    now_ms: Millis

    @property
    def title(self) -> str:
        """One line."""
        return f"What {self.project} spent in {self.found.month}, by {' and '.join(self.found.by)}"

    def sentences(self) -> list[str]:
        """What the lines are of, and what they are worth."""
        found = self.found
        span = f"From {moment(found.start_ms)} to {moment(found.end_ms)}: the month of {found.zone}."
        return [f"{span} {self._progress()}", _compared(found), _said_of_calls(found.total)]

    def _progress(self) -> str:
        if self.found.final:
            return "It is over."
        if self.now_ms < self.found.start_ms:
            return "It has not begun."
        return f"It is still running: this is what was spent until {moment(self.now_ms)}."


def report(
    month: Annotated[
        str | None, typer.Argument(metavar="[MONTH]", help="Such as 2026-10; the last whole one, if left out.")
    ] = None,
    *,
    by: Annotated[
        list[str] | None,
        typer.Option(help="user, team, model, day, or any tag; with several, the first has subtotals."),
    ] = None,
    zone: ZoneOption = "UTC",
    output: Annotated[Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write it there.")] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="As Markdown.")] = False,
    store: StoreOption = None,
    name: ProjectOption = None,
    as_csv: CsvOption = False,
    as_json: JsonOption = False,
) -> None:
    """The statement of a month: each line in cents, which add up to the total in cents.

    It is compared with the store's own sum before it is shown.

    Example: budgetguard report 2026-10 --by team --by user --markdown --output october.md
    """
    if sum([markdown, as_csv, as_json]) > 1:
        raise ConfigError("--markdown, --csv, --json: one of them")
    fields = [require_text(field, "--by") for field in by or ["user"]]
    with project(store, name) as manager:
        now_ms = manager.store.now_ms()
        named = month or before("month", span_at("month", now_ms, zone), zone).label
        reports = Reports(manager.store, manager.guard.budgets, zone=zone)
        with waiting("reading the history") as told:
            while (done := reports.refresh(budget_s=_STEP_S)) < 1:
                told(done)
        made = MonthReport(manager.project_name, reports.statement(named, fields), now_ms)
    if not (markdown or as_csv or as_json):
        _put_text(made, output)
    else:
        _put(in_markdown(made) if markdown else _in_csv(made) if as_csv else _in_json(made), output, bom=as_csv)


def _compared(found: Statement) -> str:
    """Whether the store itself says the same, and what it means if not."""
    if found.store_cost is None:
        return "Some of its entries were pruned: their sums were kept, and can no longer be compared with the store's."
    if found.agrees:
        return "The store's own sum is the same, to the nano-dollar."
    differs = found.store_cost - found.total.cost
    more = f"{money(abs(differs))} {'more' if differs > 0 else 'less'}"
    return f"The store's own sum is {more}: calls landed or were corrected while it was added up. Ask again."


def _said_of_calls(total: Figures) -> str:
    if not (total.estimated or total.unpriced):
        return f"Of {counted(total.calls, 'call')} none was estimated, and none lacked a price."
    parts = [f"{total.estimated:,} settled on an estimate, as no usage was reported"]
    parts.append(f"{total.unpriced:,} had no known price")
    return f"Of {counted(total.calls, 'call')}: {'; '.join(parts)}."


def _rows(found: Statement) -> list[tuple[bool, list[str], StatementLine]]:
    """Whether it is a sum of others, its names for people, and the line; each subtotal is behind its lines."""
    rows = list[tuple[bool, list[str], StatementLine]]()
    several = len(found.by) > 1
    for subtotal, lines in parts_of(found):
        for line in lines:
            names = [name or f"(no {field})" for field, name in zip(found.by, line.names, strict=True)]
            rows.append((False, names, line))
        if several:
            names = [subtotal.names[0] or f"(no {found.by[0]})", "together", *[""] * (len(found.by) - 2)]
            rows.append((True, names, subtotal))
    whole = StatementLine((), found.total_cents, found.total)
    return [*rows, (True, ["total", *[""] * (len(found.by) - 1)], whole)]


def _cells(found: Statement, line: StatementLine) -> list[str]:
    it, whole = line.figures, found.total.cost
    counts = [f"{count:,}" for count in (it.calls, it.input_tokens, it.output_tokens)]
    return [whole_cents(line.cents), share(it.cost / whole if whole else None), *counts]


def _put_text(made: MonthReport, output: Path | None) -> None:
    if output is None:
        _print(console(), made)
        return
    file = io.StringIO()
    _print(Terminal(file=file, width=_FILE_WIDTH, highlight=False, emoji=False, markup=False), made)
    _put("".join([f"{line.rstrip()}\n" for line in file.getvalue().splitlines()]), output)


def _print(out: Console, made: MonthReport) -> None:
    out.print(made.title, style="bold")
    for sentence in made.sentences():
        out.print(sentence)
    columns = [Column(field) for field in made.found.by]
    columns += [Column("cost", number=True), Column("share", number=True, drop=1)]
    columns += [Column(title, number=True, drop=2 + place) for place, title in enumerate(_COUNTS)]
    rows = list[list[Cell]]()
    for is_sum, names, line in _rows(made.found):
        cells = [*names, *_cells(made.found, line)]
        rows.append([Text(on_lines(cell), style="bold") for cell in cells] if is_sum else list(cells))
    out.print(table(columns, rows))


def in_markdown(made: MonthReport) -> str:
    """A heading, the sentences, and a table in which no name is taken for anything else."""
    titles = [*map(_escaped, made.found.by), "cost", "share", *_COUNTS]
    rule = [*["---"] * len(made.found.by), *["---:"] * (len(titles) - len(made.found.by))]
    lines = [titles, rule]
    for is_sum, names, line in _rows(made.found):
        cells = [*map(_escaped, names), *_cells(made.found, line)]
        lines.append([f"**{cell}**" if is_sum and cell else cell for cell in cells])
    told = "\n\n".join(map(_escaped, made.sentences()))
    rows = "".join([f"| {' | '.join(cells)} |\n" for cells in lines])
    return f"# {_escaped(made.title)}\n\n{told}\n\n{rows}"


def _escaped(text: str) -> str:
    return _MARKS.sub(r"\\\1", " ".join(on_lines(text).split()))


def _in_csv(made: MonthReport) -> str:
    """The lines alone, so that a spreadsheet's own sum of them is the total."""
    header = [*made.found.by, "cents", "cost", *_COUNTS, "estimated", "unpriced"]
    return csv_text(header, [_csv_row(line) for line in made.found.lines])


def _csv_row(line: StatementLine) -> Sequence[str | int]:
    it = line.figures
    cents = f"{line.cents // 100}.{line.cents % 100:02d}"
    return [*line.names, cents, in_csv(it.cost), it.calls, it.input_tokens, it.output_tokens, it.estimated, it.unpriced]


def _in_json(made: MonthReport) -> str:
    found = made.found
    several = len(found.by) > 1
    said = {
        "project": made.project,
        "month": found.month,
        "zone": found.zone,
        "start": iso(found.start_ms),
        "end": iso(found.end_ms),
        "complete": found.final,
        "agrees": found.agrees,
        "store_cost": found.store_cost,
        "total": {"cents": found.total_cents, **_plain(found.total)},
        "by": list(found.by),
        "lines": [_line(found.by, line) for line in found.lines],
        "subtotals": [_line(found.by[:1], each) for each, _ in parts_of(found)] if several else [],
    }
    return f"{json.dumps(said, indent=2)}\n"


def _line(by: Sequence[str], line: StatementLine) -> dict[str, Any]:
    return {"names": dict(zip(by, line.names, strict=False)), "cents": line.cents, **_plain(line.figures)}


def _plain(it: Figures) -> dict[str, Any]:
    return {
        "cost": it.cost,
        "calls": it.calls,
        "input_tokens": it.input_tokens,
        "output_tokens": it.output_tokens,
        "estimated": it.estimated,
        "unpriced": it.unpriced,
    }


def _put(text: str, output: Path | None, *, bom: bool = False) -> None:
    """Write it to stdout or a file; spreadsheets know the letters of a file by the mark at its beginning."""
    if output is None:
        print_plain(text)
        return
    try:
        output.write_text(text, "utf-8-sig" if bom else "utf-8", newline="")
    except OSError as error:
        raise ConfigError(f"--output {output}: {error.strerror}") from error
    print(f"Written to {output}.")
