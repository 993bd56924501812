"""`log`: calls and refusals by time, and new ones as they come."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final, NoReturn, TypeAlias

import typer

from ...errors import ConfigError, StoreError
from ...ledger import Store
from ...money import parse_dollars
from ..common.moments import SinceOption, UntilOption, parse_span
from ..common.options import ProjectOption, StoreOption, one_form, parse_tags, project, readable, say_where
from ..common.show import console, print_csv, print_json_line
from .following import Follower
from .lines import HEADER, LogWriter, csv_row, json_line
from .newest import Logged, LogQuery, listed, newest

if TYPE_CHECKING:
    pass

LINES: Final = 20
FLAGS: Final = ("capped", "cut", "estimated", "expired", "fallback", "late", "manual", "tier", "unpriced")
INTERRUPTED: Final = 130
EVERY_S: Final = 0.5
"""How often a look is taken for new lines."""
_AGAIN_S: Final = 2.0

Write: TypeAlias = Callable[[Iterable[Logged]], int]
"""Writes lines; how many they were."""

LinesOption = Annotated[
    int | None, typer.Option("--lines", "-n", min=0, help="So many of the newest; 20, or with --since all.")
]
ModelOption = Annotated[str | None, typer.Option(help="Only these models: gpt-4o, 'claude-*'.")]
UserOption = Annotated[str | None, typer.Option(help="Only this user.", callback=readable)]
TagOption = Annotated[
    list[str] | None, typer.Option(metavar="NAME=VALUE", help="Only lines with this tag: team=search; may be repeated.")
]
FlagOption = Annotated[
    list[str] | None,
    typer.Option(metavar="FLAG", help=f"Only calls with this flag: {', '.join(FLAGS)}; may be repeated."),
]
MinCostOption = Annotated[str | None, typer.Option(metavar="DOLLARS", help="Only calls that cost so much: 0.05.")]
ProviderOption = Annotated[str | None, typer.Option(help="Only this provider.")]
RefusedOption = Annotated[bool, typer.Option("--refused", help="Only refusals.")]
CallsOption = Annotated[bool, typer.Option("--calls", help="Only calls.")]
FollowOption = Annotated[bool, typer.Option("--follow", "-f", help="Then new ones as they come, from any process.")]
LinesOfJsonOption = Annotated[
    bool,
    typer.Option("--json", help="One JSON object a line, at once; amounts are whole nano-dollars.", callback=one_form),
]
CsvOption = Annotated[bool, typer.Option("--csv", help="CSV; amounts are dollars.", callback=one_form)]


def log(
    *,
    lines: LinesOption = None,
    user: UserOption = None,
    tag: TagOption = None,
    model: ModelOption = None,
    provider: ProviderOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    refused: RefusedOption = False,
    calls: CallsOption = False,
    min_cost: MinCostOption = None,
    flag: FlagOption = None,
    follow: FollowOption = False,
    store: StoreOption = None,
    name: ProjectOption = None,
    as_json: LinesOfJsonOption = False,
    as_csv: CsvOption = False,
) -> None:
    """
    Calls and refusals by time, the newest last, in UTC; refusals alike within seconds are one line: x12.

    Example: budgetguard log --user ann --since 1h
    """
    only_calls = bool(calls or flag or min_cost is not None)
    _require_sense(refused=refused and only_calls, follow=follow and (until is not None or as_csv))
    tags = {**parse_tags(tag or []), **({} if user is None else {"user": user})}
    least = None if min_cost is None else parse_dollars(min_cost, name="--min-cost")
    query = LogQuery(None, None, tags, model, provider, _flags(flag or []), least, not refused, not only_calls)
    with project(store, name) as manager:
        now_ms = manager.store.now_ms()
        span = parse_span(since, until, now_ms)
        query = replace(query, since_ms=span[0], until_ms=span[1])
        write = _print_csv if as_csv else _print_json if as_json else LogWriter(console()).write
        if not (_follow if follow else _list)(manager.store, query, lines, write):
            say_where(manager, store)


def _require_sense(*, refused: bool, follow: bool) -> None:
    if refused:
        raise ConfigError("--refused shows no calls: leave --calls, --flag and --min-cost out")
    if follow:
        raise ConfigError("--follow goes on for ever, as text or --json: leave --until and --csv out")


def _flags(flags: list[str]) -> frozenset[str]:
    for flag in flags:
        if flag not in FLAGS:
            raise ConfigError(f"--flag {flag!r}: use {', '.join(FLAGS)}")
    return frozenset(flags)


def _found(store: Store, query: LogQuery, lines: int | None) -> Iterable[Logged]:
    """The newest of them; all, where a beginning is named and no number."""
    if lines is None and query.since_ms is not None:
        return listed(store, query)
    return newest(store, query, LINES if lines is None else lines)


def _list(store: Store, query: LogQuery, lines: int | None, write: Write) -> bool:
    """Whether there was any line, or none was wanted."""
    if write(_found(store, query, lines)) or lines == 0:
        return True
    print("budgetguard: no line fits", file=sys.stderr)
    return False


def _follow(store: Store, query: LogQuery, lines: int | None, write: Write) -> NoReturn:
    """Lines for ever. A store that is away for a moment is asked again, and nothing of that time is lost."""
    follower = Follower(store, query)
    try:
        follower.begin()
        there = list(_found(store, query, lines))
        follower.skip(there)
        write(there)
        away = False
        while True:
            try:
                found = follower.poll()
            except StoreError as error:
                if not away:
                    print(f"budgetguard: {error}; it is asked again until it answers", file=sys.stderr, flush=True)
                away = True
                time.sleep(_AGAIN_S)
                continue
            if away:
                print("budgetguard: the store answers again", file=sys.stderr, flush=True)
            away = False
            write(found)
            time.sleep(EVERY_S)
    except KeyboardInterrupt:
        raise typer.Exit(INTERRUPTED) from None


def _print_json(lines: Iterable[Logged]) -> int:
    count = 0
    for line in lines:
        count += 1
        print_json_line(json_line(line))
    return count


def _print_csv(lines: Iterable[Logged]) -> int:
    rows = [csv_row(line) for line in lines]
    print_csv(HEADER, rows)
    return len(rows)
