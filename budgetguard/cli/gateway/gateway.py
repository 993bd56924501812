"""`gateway`, and before it `gateway check|models`: what its file means."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text
from typer.core import TyperGroup

from ...config.file import find_file
from ..common.options import JsonOption
from ..common.show import console, print_json
from ..common.tables import Column, table
from .gateway_import import import_config, import_keys
from .gateway_serve import USUAL_FILE, ConfigOption, load_gateway, serve_gateway
from .upstreams import Answered, ask

if TYPE_CHECKING:
    from ...server.gateway.config.check import Row
    from ...server.gateway.config.file import Reading
    from ...server.gateway.config.resolve import Configuration

_SERVE = "serve"


class ServeOrVerb(TyperGroup):
    """`gateway --store URL` is `gateway serve --store URL`: without a verb, it serves."""

    def parse_args(self, ctx: typer.Context, args: list[str]) -> list[str]:  # type: ignore[override]
        """Put the verb before options that stand alone."""
        if not args or args[0] not in {*self.commands, *ctx.help_option_names}:
            args = [_SERVE, *args]
        return super().parse_args(ctx, args)


gateway_app = typer.Typer(
    cls=ServeOrVerb,
    help="Calls of models for programs in any language: gateway [serve]. Before it: check, models, import.",
)
gateway_app.command(_SERVE)(serve_gateway)
gateway_app.command("import")(import_config)
gateway_app.command("import-keys")(import_keys)


@gateway_app.command("check")
def check(
    config: ConfigOption = None,
    *,
    live: Annotated[bool, typer.Option("--live", help="Ask each upstream for its models, with its key.")] = False,
    secrets: Annotated[bool, typer.Option(help="Whether keys have to be there, or only named.")] = True,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 for a warning, too.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Say what is wrong with a configuration, and where its models are asked; exit code 1 if it cannot be used.

    Example: budgetguard gateway check --config gateway.toml --live
    """
    from ...server.gateway.config.check import rows

    found = read(config, os.environ, secrets=secrets)
    made = found.configuration
    shown = list(rows(made)) if made else []
    answers = list(ask(made.upstreams.values())) if made and live else []
    doubts = [str(each) for each in found.remarks if not each.wrong] + list(_beside(made))
    mistakes = [str(each) for each in found.mistakes]
    if as_json:
        print_json(_as_json(made, shown, mistakes, doubts, answers))
    else:
        _print(made, shown, mistakes, doubts, answers)
    if mistakes or any(not each.ok for each in answers) or (strict and doubts):
        raise typer.Exit(1)


@gateway_app.command("models")
def models(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Every model that can be asked for by a name, and who is asked.

    Example: budgetguard gateway models
    """
    made = load_gateway(None if config is None else str(config))
    if as_json:
        cards = made.models()
        print_json([{"id": each.id, "upstream": each.owner or None, "apis": sorted(each.apis)} for each in cards])
        return
    columns = [Column("model"), Column("upstream"), Column("by the API of")]
    lines = [[card.id, card.owner or "several", ", ".join(sorted(card.apis))] for card in made.models()]
    console().print(table(columns, lines))


def read(config: Path | None, environ: Mapping[str, str], *, secrets: bool) -> Reading:
    """The same, with everything that is to be said of it."""
    from ...server.gateway.config.check import remarks
    from ...server.gateway.config.file import Reading, read
    from ...server.gateway.config.resolve import Configuration
    from ...server.gateway.config.stanzas import Remark

    path = _file(config)
    if path is not None:
        return read(path, environ, secrets=secrets)
    made = Configuration.of_environment(environ)
    passed = [Remark("the environment", each, wrong=False) for each in made.passed_over]
    if not made.upstreams:
        told = f"no provider's key is set, and there is no {USUAL_FILE}: set one, or write the file"
        return Reading(None, (Remark("the environment", told), *passed))
    return Reading(made, (*passed, *remarks(made)))


def _file(config: Path | None) -> Path | None:
    usual = Path(USUAL_FILE)
    return usual if config is None and usual.is_file() else config


def _beside(made: Configuration | None) -> Sequence[str]:
    """Budgets that are written down, and hold for programs alone."""
    file = find_file(os.environ.get("BUDGETGUARD_CONFIG"))
    rules = file.data.get("budgets")
    if not rules or made is None:
        return ()
    return [f"{file.path} has [[budgets]]: they are of programs, and hold for no call here; write them as [[budget]]"]


def _print(
    made: Configuration | None,
    shown: Sequence[Row],
    mistakes: Sequence[str],
    doubts: Sequence[str],
    answers: Sequence[Answered],
) -> None:
    out = console()
    for style, word, texts in (("bold red", "wrong", mistakes), ("yellow", "warning", doubts)):
        for each in texts:
            out.print(Text.assemble((word, style), f" {each}"))
    if made is None:
        return
    columns = [
        Column("upstream"),
        Column("provider", drop=2),
        Column("prices", drop=1),
        Column("speaks"),
        Column("key"),
    ]
    lines = [
        [each.name, each.provider or "-", _prices(each), ", ".join(each.bases), "sent" if _keyed(each) else "none"]
        for each in made.upstreams.values()
    ]
    out.print(table(columns, lines))
    if shown:
        columns = [Column("model"), Column("strategy", drop=3), Column("upstreams"), Column("by the API of", drop=2)]
        columns += [Column("fallbacks", drop=1)]
        out.print(table(columns, [[row.model, row.strategy, *map(_list, row[2:5])] for row in shown]))
    for answer in answers:
        mark = ("ok", "green") if answer.ok else ("fail", "bold red")
        out.print(Text.assemble(mark, f" {answer.upstream} by the API of {answer.api}: {answer.said}"))
    count = sum(1 for _ in made.models())
    out.print(f"{count:,} models can be asked for by a name: budgetguard gateway models")


def _prices(upstream: Any) -> str:
    return "free" if upstream.free else upstream.prices or "unknown"


def _keyed(upstream: Any) -> bool:
    from ...server.gateway.config.upstreams import CREDENTIALS

    return any(name in CREDENTIALS for sent in upstream.headers.values() for name, _ in sent)


def _list(texts: Sequence[str]) -> str:
    return ", ".join(texts) or "-"


def _as_json(
    made: Configuration | None,
    shown: Sequence[Row],
    mistakes: Sequence[str],
    doubts: Sequence[str],
    answers: Sequence[Answered],
) -> dict[str, Any]:
    upstreams = [] if made is None else made.upstreams.values()
    return {
        "usable": made is not None,
        "mistakes": mistakes,
        "warnings": doubts,
        "upstreams": [
            {
                "name": each.name,
                "provider": each.provider or None,
                "prices": each.prices,
                "free": each.free,
                "bases": dict(each.bases),
                "key": _keyed(each),
            }
            for each in upstreams
        ],
        "models": [row._asdict() for row in shown],
        "live": [each._asdict() for each in answers],
    }
