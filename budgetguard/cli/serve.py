"""`serve`: host budgets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from ..config import load_config
from ..errors import ConfigError
from .options import StoreOption

_NEEDED = {"starlette", "uvicorn", "msgspec", "prometheus_client"}


def serve(
    *,
    store: StoreOption = None,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 8080,
    open_mode: Annotated[bool, typer.Option("--open", help="Ask for no keys; on loopback only.")] = False,
    project: Annotated[str | None, typer.Option(help="With --open: the project of requests that name none.")] = None,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Host budgets: a server in front of a store, until SIGTERM."""
    if log_level not in {"debug", "info", "warning", "error"}:
        raise ConfigError(f"--log-level {log_level}: use debug, info, warning or error")
    with extra_needed():
        from ..server import serve as server
    server.serve(server.ServerSettings(load_config(store=store).url, host, port, open_mode, project, log_level))


@contextmanager
def extra_needed() -> Iterator[None]:
    """Say which extra is missing, where what a server needs is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _NEEDED:
            raise
        raise ConfigError(
            f"a server needs {error.name}: install the extra `server`, as in budgetguard-llm[server]"
        ) from error
