"""`ui`: budgets in a browser."""

from __future__ import annotations

from typing import Annotated

import typer

from ...config import load_config
from ..common.options import SERVER, ProjectOption, StoreOption, extra_needed, require_there


def ui(
    *,
    store: StoreOption = None,
    project: ProjectOption = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 0,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open it in a browser.")] = True,
) -> None:
    """Open budgets in a browser: the page of a store, on this machine and for you only, until Ctrl-C.

    Example: budgetguard ui --store sqlite:///budgets.db
    """
    with extra_needed(SERVER):
        from ...server.page.local import UiSettings, serve_ui
    config = load_config(store=store, project=project)
    require_there(config)
    serve_ui(UiSettings(config.url, config.project, port, browser), lambda told: print(told, flush=True))
