"""`gateway import` and `gateway import-keys`: what LiteLLM Proxy had becomes a gateway's file, and keys of its own."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from ...config import load_config
from ...errors import ConfigError
from ...stores import open_store
from ..common.options import GATEWAY, JsonOption, ProjectOption, StoreOption, extra_needed
from ..common.show import console, print_json
from ..servers.keys import hearing, own_store

OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="Where to write; by default to stdout.")]


def import_config(
    file: Annotated[Path, typer.Argument(help="LiteLLM Proxy's config.yaml.")], output: OutputOption = None
) -> None:
    """Make a gateway's file of LiteLLM Proxy's; what has no counterpart is a comment in it, and no secret is.

    Example: budgetguard gateway import config.yaml --output gateway.toml
    """
    with extra_needed(GATEWAY):
        from ...server.gateway.config.litellm.reading import imported

    text = imported(file)
    if output is None:
        print(text, end="")
        return
    try:
        with output.open("x", encoding="utf-8") as written:
            written.write(text)
    except OSError as error:
        raise ConfigError(f"--output {output}: cannot be written ({error.strerror}); name a new file") from error
    told = "what its comments say has no counterpart; then: budgetguard gateway check --config"
    console(stderr=True).print(f"{output} is written. Read {told} {output}")


def import_keys(
    file: Annotated[Path, typer.Argument(help="A dump of LiteLLM_VerificationToken: CSV with a head, or JSON.")],
    *,
    store: StoreOption = None,
    project: ProjectOption = None,
    as_json: JsonOption = False,
) -> None:
    """Let in the keys of a LiteLLM Proxy as they are, with limits and spend; exit code 1 if any had to be left out.

    Example: budgetguard gateway import-keys keys.csv --project shop
    """
    with extra_needed(GATEWAY):
        from ...server.gateway.config.litellm.keys import rows_in, take_over
        from ...server.keys import KeyRing
        from ...server.keys.owners import Owners

    hear = hearing(store)
    rows, config = rows_in(file), load_config(store=store, project=project)
    with own_store(store, new=True) as own, closing(open_store(config.url, namespace=config.project)) as books:
        found = list(take_over(KeyRing(own, hear=hear), Owners(own, hear=hear), books, config.project, rows))
    left = [each for each in found if each.prefix is None]
    if as_json:
        print_json([each._asdict() for each in found])
    else:
        for each in left:
            console().print(f"left out: {each.name}: {each.said}")
        console().print(f"{len(found) - len(left):,} keys of project {config.project!r} are let in, as they are.")
        if teams := sorted({str(row["team_id"]) for row in rows if row.get("team_id")}):
            told = "what a team may is in another table of LiteLLM's: budgetguard limits set team"
            console().print(f"{len(teams):,} teams are named ({', '.join(teams[:5])}); {told}")
    if left:
        raise typer.Exit(1)
