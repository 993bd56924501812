"""`reconcile`: the books compared with what a provider says that it bills."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...errors import ConfigError
from ..common.moments import SinceOption, UntilOption, parse_moment
from ..common.options import JsonOption, ProjectOption, StoreOption, project
from ..common.show import console, print_csv, print_json, when
from .reconciled import FIELDS, as_json, csv_rows, markdown, print_tables

if TYPE_CHECKING:
    from ...ledger import Millis
    from ...prices import PriceBook
    from ...reports.shown.bill import Reconciled

DIFFERS = 1
"""The exit code where books and bill are further apart than is tolerated."""

_MonthOption = Annotated[str | None, typer.Option("--month", metavar="MONTH", help="2026-10; or --since, --until.")]
_ByOption = Annotated[str, typer.Option("--by", help="model, day, or day,model: the rows of tables and CSV.")]
_OnlyOption = Annotated[
    list[str] | None,
    typer.Option("--only", metavar="ID", help="Only this project (OpenAI) or workspace (Anthropic); may be repeated."),
]
_ToleranceOption = Annotated[str, typer.Option(help="How far both may be apart: 1%, 0.5%.")]
_UrlOption = Annotated[
    str | None, typer.Option("--url", help="Another address of the provider's API: a proxy that has it.")
]
_DiscountOption = Annotated[
    Path | None,
    typer.Option("--write-discount", metavar="FILE", help="Put a discount that was found into this price file."),
]

_YesOption = Annotated[bool, typer.Option("--yes", help="Write it without asking.")]
_CsvOption = Annotated[bool, typer.Option("--csv", help="Print CSV; amounts are dollars.")]
_MarkdownOption = Annotated[bool, typer.Option("--markdown", help="Print Markdown.")]


def reconcile(
    provider: Annotated[str, typer.Argument(help="openai, anthropic or openrouter.")],
    *,
    month: _MonthOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    by: _ByOption = "model",
    only: _OnlyOption = None,
    tolerance: _ToleranceOption = "1%",
    url: _UrlOption = None,
    write_discount: _DiscountOption = None,
    yes: _YesOption = False,
    as_csv: _CsvOption = False,
    as_markdown: _MarkdownOption = False,
    store: StoreOption = None,
    name: ProjectOption = None,
    is_json: JsonOption = False,
) -> None:
    """
    Compare the books with a provider's bill, by model and day, and say why they differ.

    The key is in OPENAI_ADMIN_KEY, ANTHROPIC_ADMIN_KEY or OPENROUTER_MANAGEMENT_KEY. It ends with 1 where they differ.

    Example: budgetguard reconcile openai --month 2026-10
    """
    fields, tolerated = _fields(by), _part(tolerance)
    with project(store, name) as manager:
        prices, now_ms = manager.guard.prices, manager.store.now_ms()
        times = [_moment(said, now_ms) for said in (since, until)]
        found = manager.reconcile(provider, month, since=times[0], until=times[1], projects=only or (), url=url)
    if is_json:
        print_json({**as_json(found), "within": found.within(tolerated)})
    else:
        _show(found, fields, as_csv=as_csv, as_markdown=as_markdown)
    if write_discount is not None:
        _write(found, prices, write_discount, yes=yes)
    if not found.within(tolerated):
        raise typer.Exit(DIFFERS)


def _moment(said: str | None, now_ms: Millis) -> datetime | None:
    at_ms = parse_moment(said, now_ms)
    return None if at_ms is None else when(at_ms)


def _show(found: Reconciled, fields: frozenset[str], *, as_csv: bool, as_markdown: bool) -> None:
    if as_csv:
        print_csv(FIELDS, csv_rows(found, fields))
    elif as_markdown:
        console().print(markdown(found, fields), soft_wrap=True)
    else:
        print_tables(console(), found, fields)


def _fields(by: str) -> frozenset[str]:
    fields = frozenset(filter(None, map(str.strip, by.split(","))))
    if not fields or not fields <= {"model", "day"}:
        raise ConfigError(f"--by {by}: write model, day, or day,model")
    return fields


def _part(text: str) -> float:
    """ "1%" or "0.01" as a part of the whole."""
    try:
        part = float(text.strip().removesuffix("%")) / (100 if text.strip().endswith("%") else 1)
    except ValueError:
        part = -1
    if not 0 <= part < 1:
        raise ConfigError(f"--tolerance {text}: write a part of the bill, such as 1% or 0.01")
    return part


def _write(found: Reconciled, prices: PriceBook, path: Path, *, yes: bool) -> None:
    """Put the discount that was found into a price file, once somebody says yes."""
    from ...prices.sources.edit import write_discount

    if found.factor is None or found.factor.discount is None:
        raise ConfigError("--write-discount: no discount holds for every day and model: nothing was written")
    left = prices.discounts.get(found.provider, Fraction(1))
    discount = _together(left, found.factor.discount)
    told = console(stderr=True)
    told.print(f"{path}: [discounts] {found.provider} = {discount:f}, of {found.factor.days} days", soft_wrap=True)
    if len(found.factor.models) == 1:
        told.print(f"Only {found.factor.models[0]} shows it, and it will count for every model.", soft_wrap=True)
    if left != 1:
        told.print(f"It takes the place of {float(1 - left):g}, which is in our prices by now.", soft_wrap=True)
    if yes or typer.confirm("From then on calls are held and booked at less. Write it?", err=True):
        write_discount(path, found.provider, discount)
        told.print("Written. Programs read it when they start: start those again that are running.")


def _together(left: Fraction, discount: Decimal) -> Decimal:
    """A discount on what an earlier one left, as one."""
    off = 1 - left * (1 - Fraction(discount))
    return (Decimal(off.numerator) / Decimal(off.denominator)).quantize(Decimal("0.001")).normalize()
