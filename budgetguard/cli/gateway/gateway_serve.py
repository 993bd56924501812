"""`gateway`: calls of models for programs in any language, under hard budgets, until SIGTERM."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ...budgets.rules import Budget
from ...config import load_config
from ..common.options import GATEWAY, LogLevelOption, StoreOption, extra_needed
from ..common.show import console

if TYPE_CHECKING:
    from ...server.gateway.config.resolve import Configuration

USUAL_FILE = "gateway.toml"
DEMO_DOLLARS = 1
"""What everybody together may spend a day at the demo provider."""

ConfigOption = Annotated[
    Path | None, typer.Option("--config", help=f"The configuration; by default {USUAL_FILE}, if it is there.")
]


def serve_gateway(
    *,
    config: ConfigOption = None,
    store: StoreOption = None,
    host: Annotated[str, typer.Option(help="Where to listen.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0: any that is free.")] = 4000,
    open_mode: Annotated[bool, typer.Option("--open", help="Ask for no keys; on loopback only.")] = False,
    project: Annotated[str | None, typer.Option(help="With --open: whose budgets hold.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=256, help="Processes on the port.")] = 1,
    drain_s: Annotated[int, typer.Option(min=1, help="Seconds that calls under way have when it ends.")] = 600,
    log_level: LogLevelOption = "info",
) -> None:
    """Serve calls of models under hard budgets, until SIGTERM; SIGHUP reads the configuration again.

    Example: budgetguard gateway --config gateway.toml --store sqlite:///budgets.db
    """
    with extra_needed(GATEWAY):
        from ...server.gateway.process.serve import serve_gateway as serve
        from ...server.gateway.process.settings import GatewaySettings
    with _demo_if_nothing_else(config) as demo:
        load = partial(load_gateway, None if config is None else str(config), demo)
        url = load_config(store=store).url
        serve(GatewaySettings(load, url, host, port, open_mode, project, workers, drain_s, log_level))


def load_gateway(path: str | None, demo: str | None = None) -> Configuration:
    """The configuration of a file, else of the environment's keys, else of a demo provider at a URL."""
    from ...server.gateway.config.file import load
    from ...server.gateway.config.model import GatewayOptions
    from ...server.gateway.config.resolve import Configuration

    if path is not None or Path(USUAL_FILE).exists():
        return load(Path(path or USUAL_FILE))
    if demo is not None:
        everybody = Budget("everybody", DEMO_DOLLARS, "daily")
        return Configuration(Configuration.demo(demo).upstreams.values(), options=GatewayOptions(budgets=(everybody,)))
    return Configuration.of_environment(os.environ)


@contextmanager
def _demo_if_nothing_else(config: Path | None) -> Iterator[str | None]:
    """A provider that answers at no cost, where no configuration and no key of a real one is there; its URL."""
    if config is not None or Path(USUAL_FILE).exists() or load_gateway(None).upstreams:
        yield None
        return
    from ...testing import FakeProvider

    with FakeProvider(tokens=20) as provider:
        console(stderr=True).print(
            f"No {USUAL_FILE}, and no key of a provider in the environment: a demo provider answers, which makes up "
            f"its words and charges nobody. Everybody together has ${DEMO_DOLLARS} a day, at the models' real prices."
        )
        yield provider.root_url
