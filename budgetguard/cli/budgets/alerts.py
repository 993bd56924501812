"""`alerts`: what was told of budgets, and whether those who are to be told can be reached."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from ...alerts.alert import KIND, Alert
from ...alerts.sinks.base import Sink
from ...config import load_config
from ...errors import ConfigError
from ...ledger import RecordQuery
from ..common.options import JsonOption, ProjectOption, StoreOption, opened
from ..common.show import console, moment, print_json
from ..common.tables import Column, table

MOST = 100

alerts_app = typer.Typer(rich_markup_mode=None)


@alerts_app.callback(invoke_without_command=True)
def alerts(
    context: typer.Context,
    *,
    limit: Annotated[int, typer.Option(min=1, help="How many, the last ones.")] = MOST,
    store: StoreOption = None,
    name: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """
    What was told of budgets: the parts of limits that were reached, refusals that began, and the rest.

    Example: budgetguard alerts --limit 10
    """
    if context.invoked_subcommand is not None:
        return
    with opened(store, name) as (books, _):
        records = list(books.noted(RecordQuery(KIND)))
    found = sorted(map(Alert.from_record, records), key=lambda alert: alert.at_ms)[-limit:]
    if as_json:
        print_json([alert.in_json() for alert in found])
        return
    if not found:
        console().print("nothing was told yet")
        return
    rows = [(moment(alert.at_ms), alert.what, alert.text) for alert in reversed(found)]
    console().print(table([Column("when"), Column("what"), Column("told")], rows))


@alerts_app.command("test")
def try_sinks(*, as_json: JsonOption = False) -> None:
    """
    Send one alert to every sink that `budgetguard.toml` names, and print what became of it.

    It ends with 1 if one of them did not take it.

    Example: budgetguard alerts test
    """
    sinks: Sequence[Sink] = load_config().alerts().sinks
    if not sinks:
        raise ConfigError("no sink is configured: write one below [alerts] in budgetguard.toml (docs/alerts.md)")
    outcomes = [(sink.name, _sent(sink)) for sink in sinks]
    if as_json:
        print_json([{"sink": sink, "ok": not error, "error": error or None} for sink, error in outcomes])
    else:
        rows = [(sink, error or "took it") for sink, error in outcomes]
        console().print(table([Column("sink"), Column("outcome")], rows))
    if any(error for _, error in outcomes):
        raise typer.Exit(1)


def _sent(sink: Sink) -> str:
    """What went wrong with telling a sink; "": nothing."""
    try:
        sink.send(Alert("test", "a test of budgetguard's alerts: nothing is wrong", "test", int(time.time() * 1000)))
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    return ""
