"""Users' budgets as CSV: what `import` takes from a sheet, and `export` writes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...budgets.rules import Budget, UserBudget
from ...budgets.said.sheet import PlannedSheet, SheetLine, plan_sheet, read_sheet, write_sheet
from ...errors import ConfigError
from ...reports.amounts import readable_in
from ..common.show import console, print_json
from ..common.tables import Column, table
from ..common.waiting import waiting

if TYPE_CHECKING:
    from ...manager import BudgetManager

_MOST_ROWS = 50
_AT_ONCE = 32
_COLUMNS = (Column("user"), Column("what", drop=2), Column("limit"), Column("period", drop=1))


def is_sheet(file: Path) -> bool:
    """Whether a file is to be taken for a sheet: by its name, else by how it begins."""
    if file.suffix.casefold() in {".csv", ".tsv"}:
        return True
    if file.suffix.casefold() == ".json" or not file.is_file():
        return False
    with file.open("rb") as opened:
        return not opened.read(64).removeprefix(b"\xef\xbb\xbf").lstrip().startswith(b"{")


def import_sheet(manager: BudgetManager, file: Path, *, dry_run: bool) -> PlannedSheet:
    """Read a sheet, check all of it, and only then give its users their budgets, unless it is a dry run."""
    try:
        raw = file.read_bytes()
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read ({error.strerror})") from error
    lines = read_sheet(raw, str(file))
    known = {own.user: own for own in manager.users.all()}
    planned = plan_sheet(str(file), lines, known.get)
    if not dry_run:
        _put_all(manager, file, [*planned.new, *[(line, rule) for line, _, rule in planned.changed]])
    return planned


def _put_all(manager: BudgetManager, file: Path, lines: Sequence[tuple[SheetLine, Budget]]) -> None:
    """Give users their budgets, many at a time: what a store is asked meanwhile, it writes together."""

    def put(said: tuple[SheetLine, Budget]) -> None:
        line, rule = said
        manager.users.put(line.user, rule, note=f"{file.name}, line {line.number}")

    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        with waiting("writing") as told:
            for number, _ in enumerate(pool.map(put, lines), 1):
                told(number / len(lines))
    finally:
        pool.shutdown(cancel_futures=True)  # who is interrupted, or fails, writes no more


def export_sheet(manager: BudgetManager, file: Path) -> int:
    """Write all users' budgets as a sheet: whole, or not at all; how many it has."""
    found = list(manager.users.all())
    try:
        with tempfile.TemporaryDirectory(dir=file.absolute().parent) as beside:
            whole = Path(beside, file.name)
            whole.write_bytes(write_sheet(found).encode())
            whole.replace(file)
    except OSError as error:
        raise ConfigError(f"{file}: cannot be written ({error.strerror}): give another file") from error
    return len(found)


def say_planned(planned: PlannedSheet, file: Path, *, dry_run: bool) -> None:
    """What was done with a sheet, or would be; the users of a dry run one by one."""
    out = console()
    rows = list(_rows(planned))
    if dry_run and rows:
        out.print(table(_COLUMNS, rows[:_MOST_ROWS]))
        if len(rows) > _MOST_ROWS:
            out.print(f"and {len(rows) - _MOST_ROWS:,} more.")
    done = "would be" if dry_run else "were"
    out.print(
        f"{file}: {len(planned.new):,} {done} new, {len(planned.changed):,} changed, {planned.same:,} the same."
        + (" Nothing was written." if dry_run else "")
    )
    if planned.anew:
        many = len(planned.anew)
        out.print(
            f"{many:,} of them begin{'s' if many == 1 else ''} with nothing spent: another unit or period counts."
        )


def print_planned(planned: PlannedSheet, *, dry_run: bool) -> None:
    """The same for programs."""
    made = [{"user": line.user, "line": line.number, "what": "new", **_said(rule)} for line, rule in planned.new]
    made += [
        {"user": line.user, "line": line.number, "what": "changed", **_said(rule), "before": _said(own.rule)}
        for line, own, rule in planned.changed
    ]
    print_json({"written": not dry_run, "same": planned.same, "users": made})


def _said(rule: Budget) -> dict[str, Any]:
    return {
        "unit": rule.unit,
        "limit": rule.limit,
        "period": rule.period.name,
        "timezone": rule.period.timezone,
        "enforce": rule.enforce,
        "warn_at": list(rule.warn_at),
    }


def _rows(planned: PlannedSheet) -> Iterator[list[str]]:
    for line, rule in planned.new:
        yield [line.user, "new", _limit(rule), _period(rule)]
    for line, own, rule in planned.changed:
        yield [line.user, _changed(own, rule), _turned(_limit(own.rule), _limit(rule)), _period(rule)]


def _changed(own: UserBudget, rule: Budget) -> str:
    """What is another one, of a budget that is changed."""
    names = ("limit", "unit", "period", "enforce", "warn_at", "on_expire", "in_flight")
    before, after = [
        (each.limit, each.unit, each.period, each.enforce, each.warn_at, each.on_expire, each.in_flight)
        for each in (own.rule, rule)
    ]
    return ", ".join([name for name, was, now in zip(names, before, after, strict=True) if was != now])


def _turned(before: str, after: str) -> str:
    return after if before == after else f"{before} -> {after}"


def _limit(rule: Budget) -> str:
    return "no limit" if rule.limit is None else readable_in(rule.limit, rule.unit)


def _period(rule: Budget) -> str:
    zone = "" if rule.period.timezone == "UTC" else f", {rule.period.timezone}"
    return f"{rule.period.name}{zone}" + ("" if rule.enforce == "hard" else f" ({rule.enforce})")
