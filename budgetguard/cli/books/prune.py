"""`prune`: old entries leave the history; the sums of their days stay."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ...errors import ConfigError
from ...ledger import Millis
from ...reports.amounts import cents
from ...reports.pruning import OldEntries, old_entries
from ...reports.pruning import prune as prune_entries
from ...reports.reports import Reports
from ..common.moments import parse_moment
from ..common.options import JsonOption, ProjectOption, StoreOption, opened
from ..common.show import console, iso, print_json, when
from ..common.waiting import waiting

BeforeOption = Annotated[
    str | None, typer.Option("--before", metavar="DAY", help="Entries from before this day (UTC), such as 2026-01-01.")
]
KeepOption = Annotated[
    str | None, typer.Option("--keep", metavar="LENGTH", help="Instead: all but the last 90d, 52w, ...")
]
DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say how many entries that is, and leave them.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def prune(
    *,
    before: BeforeOption = None,
    keep: KeepOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    store: StoreOption = None,
    name: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Take old entries out of the history, with the changes, refusals and alerts of their time.

    What budgets have spent stays, and so do the sums of each day, of which statements are made. Programs may go on.

    Example: budgetguard prune --keep 400d --dry-run
    """
    with opened(store, name) as (books, where):
        old = old_entries(books, _cut(before, keep, books.now_ms()))
        what = f"{old.calls:,} {'entry' if old.calls == 1 else 'entries'} of {cents(old.cost)} from before {_day(old)}"
        went = 0
        if old.calls and not dry_run:
            _require_consent(f"{what}, in project {books.namespace!r} of {where}", yes=yes)
            with waiting("reading the history") as told:
                Reports(books).keep(old, told)
        if not dry_run:
            with waiting("pruning") as told:
                went = prune_entries(books, old, told)
    if as_json:
        print_json({"before": iso(old.before_ms), "entries": old.calls, "cost": old.cost, "pruned": went})
    elif not old.calls:
        console().print(f"There are no entries from before {_day(old)}.")
    elif dry_run:
        console().print(f"{what} would go; nothing was changed.")
    else:
        console().print(f"{what} are gone; the sums of their days stay.")


def _cut(before: str | None, keep: str | None, now_ms: Millis) -> Millis:
    """The moment before which entries go."""
    if (before is None) == (keep is None):
        raise ConfigError("say which entries go: --before 2026-01-01, or all but those of --keep 90d")
    cut = parse_moment(before if before is not None else keep, now_ms)
    assert cut is not None
    if keep is not None and not keep[-1:].isalpha():
        raise ConfigError(f"--keep {keep!r}: write how long, such as 90d; a day is --before")
    return cut


def _day(old: OldEntries) -> str:
    return f"{when(old.before_ms):%Y-%m-%d}"


def _require_consent(what: str, *, yes: bool) -> None:
    """Ask, where there is somebody; else raise `ConfigError` unless they said yes before."""
    if yes:
        return
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise ConfigError(f"{what} would be gone for good: say --yes, or --dry-run to see")
    if not typer.confirm(f"Remove {what}?"):
        raise typer.Exit(1)
