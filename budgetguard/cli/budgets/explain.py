"""`explain`: which budgets a call touches, and what each would say."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ...errors import ConfigError
from ...reports.amounts import readable_in
from ...reports.written import plain
from .. import REFUSED
from ..common.options import JsonOption, ProjectOption, StoreOption, parse_tags, project, readable
from ..common.show import console, iso, print_json
from ..common.tables import Column, table

if TYPE_CHECKING:
    from ...manager.explained.explanation import Explanation
    from ...manager.explained.shown import BudgetSays

COLUMNS = (
    Column("budget"),
    Column("limit", number=True, drop=1),
    Column("spent", number=True, drop=3),
    Column("held", number=True, drop=4),
    Column("left", number=True),
    Column("needs", number=True, drop=2),
    Column("per", drop=5),
    Column("says"),
)


UserOption = Annotated[str | None, typer.Option("--user", help="Whose call it is.", callback=readable)]
TagOption = Annotated[list[str] | None, typer.Option("--tag", metavar="NAME=VALUE", help="A tag; may be repeated.")]
ModelOption = Annotated[str | None, typer.Option("--model", help="Such as gpt-4o-mini, or anthropic/claude-haiku-4-5.")]
InputOption = Annotated[int | None, typer.Option("--input", metavar="TOKENS", help="How long its input is.")]
OutputOption = Annotated[int | None, typer.Option("--output", metavar="TOKENS", help="The output cap that it states.")]
FileOption = Annotated[Path | None, typer.Option("--file", help="What it sends, in place of --input; - is stdin.")]
ProviderOption = Annotated[str | None, typer.Option("--provider", help="Whose model it is, if its name does not say.")]
AllOption = Annotated[bool, typer.Option("--all", help="Also the budgets that it does not touch, and why.")]


def explain(
    *,
    user: UserOption = None,
    tag: TagOption = None,
    model: ModelOption = None,
    input_tokens: InputOption = None,
    output_tokens: OutputOption = None,
    file: FileOption = None,
    provider: ProviderOption = None,
    everything: AllOption = False,
    store: StoreOption = None,
    name: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    Which budgets a call touches, in their order, and what each would say; exit code 3 if it would be refused.

    The guard itself decides, on a copy of the books: nothing is held, and nothing is written.

    Example: budgetguard explain --user ann --tag feature=search --model gpt-4o-mini --input 2000 --output 500
    """
    tags = parse_tags(tag or [])
    if file is not None and input_tokens is not None:
        raise ConfigError("--file, --input: one of them says how long the input is")
    text = None if file is None else _read(file)
    with project(store, name) as manager:
        asked = {"input_tokens": input_tokens, "output_tokens": output_tokens}
        found = manager.explain(user, tags, model=model, text=text, provider=provider, **asked)
    if as_json:
        print_json({**plain(found), "budgets": [_as_json(each) for each in found.budgets]})
    else:
        _print(found, everything=everything)
    if not found.fits:
        raise typer.Exit(REFUSED)


def _read(file: Path) -> str:
    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--file {file}: cannot be read as text ({error})") from error


def _print(found: Explanation, *, everything: bool) -> None:
    from ...manager.explained.explanation import headline
    from ...manager.explained.text import details, told_of_call, told_of_others

    out = console()
    out.print(headline(found))
    for line in told_of_call(found.projected):
        out.print(line)
    if found.budgets:
        out.print(table(COLUMNS, [_row(each, found) for each in found.budgets]))
    for each in found.budgets:
        for line in details(each, found.told):
            out.print(f"{each.name}: {line}")
    for line in (*told_of_others(found.instead), *found.notes):
        out.print(line)
    if everything:
        for other in found.untouched:
            out.print(f"not touched: {other.budget}: {other.why}")
    elif found.untouched:
        many = len(found.untouched)
        out.print(f"{many} other{'s are' if many > 1 else ' is'} not touched: --all says why.")


def _as_json(each: BudgetSays) -> dict[str, Any]:
    said = plain(each)
    times = {"room_at": iso(said.pop("room_at_ms")), "resets_at": iso(said.pop("resets_ms"))}
    return {**said, **times}


def _row(each: BudgetSays, found: Explanation) -> list[str]:
    from ...manager.explained.text import figure, needs_of

    amounts = [
        readable_in(each.limit, each.unit),
        *[figure(amount, each.unit) for amount in (each.spent, each.held, each.left)],
    ]
    needs = "-" if found.projected is None else needs_of(each)
    says = "yes" if each.fits else "paused" if each.paused else "NO"
    return [each.name, *amounts, needs, each.period, says]
