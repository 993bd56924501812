"""`serve`: host budgets."""

from __future__ import annotations

from typing import Annotated

import typer

from ...config import load_config
from ..common.options import SERVER, LogLevelOption, StoreOption, extra_needed


def serve(
    *,
    store: StoreOption = None,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8080,
    open_mode: Annotated[bool, typer.Option("--open", help="Ask for no keys; on loopback only.")] = False,
    project: Annotated[str | None, typer.Option(help="With --open: the project of requests that name none.")] = None,
    log_level: LogLevelOption = "info",
) -> None:
    """Host budgets: a server in front of a store, until SIGTERM.

    Example: budgetguard serve --store postgresql://budgets@db/budgets --port 8700
    """
    with extra_needed(SERVER):
        from ...server import serve as server
    server.serve(server.ServerSettings(load_config(store=store).url, host, port, open_mode, project, log_level))
