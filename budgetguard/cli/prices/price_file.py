"""
`prices set|alias|free`: one line for a model that the list does not have, written into the price file.

How it is written is in `prices/sources/edit.py`.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import typer

from ...config import load_config
from ...config.file import OWN
from ...config.written import PriceFile, price_file_of
from ...errors import ConfigError
from ...prices.sources.edit import number_of, write_alias, write_free, write_price
from ..common.options import JsonOption, PricesOption
from ..common.show import console, print_json


def set_(
    model: Annotated[str, typer.Argument(help="A model's name, or a pattern such as 'my-model*'.")],
    dollars_in: Annotated[str | None, typer.Option("--input", help="Dollars per million input tokens.")] = None,
    dollars_out: Annotated[str | None, typer.Option("--output", help="Dollars per million output tokens.")] = None,
    max_output: Annotated[int | None, typer.Option(help="The most tokens of one answer.")] = None,
    *,
    from_map: Annotated[
        Path | None, typer.Option("--from", metavar="JSON", help="LiteLLM's map: as it prices the model there.")
    ] = None,
    file: PricesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say what a model costs, in dollars per million tokens.

    Example: budgetguard prices set my-model --input 0.50 --output 1.50
    """
    said = _stated(model, dollars_in, dollars_out, from_map)
    if max_output is not None:
        said["max_output"] = max_output
    found = _file(file)
    write_price(found.path, model, said)
    _tell(found, model, said, as_json)


def _stated(model: str, dollars_in: str | None, dollars_out: str | None, from_map: Path | None) -> dict[str, Any]:
    """What the options say that a model costs; raises `ConfigError` for half of it, or for both ways at once."""
    if from_map is not None and dollars_in is None and dollars_out is None:
        from ...prices.sources.published.kept import entry_of

        return dict(entry_of(from_map, model))
    if from_map is not None or dollars_in is None or dollars_out is None:
        raise ConfigError(f"prices set {model}: write --input and --output in dollars per million tokens, or --from")
    return {"input": number_of(dollars_in), "output": number_of(dollars_out)}


def alias(
    name: Annotated[str, typer.Argument(help="The name that calls have: a deployment's, a proxy's.")],
    model: Annotated[str, typer.Argument(help="The model whose price it has: gpt-4o, anthropic/claude-opus-5, ...")],
    file: PricesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that a name is another one for a model whose price is known.

    Example: budgetguard prices alias our-deployment gpt-4o
    """
    found = _file(file)
    write_alias(found.path, name, model)
    _tell(found, name, {"alias_of": model}, as_json)


def free(
    pattern: Annotated[str, typer.Argument(help="A model's name, or a pattern such as 'llama3*'.")],
    file: PricesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that models cost nothing, as those on a machine of your own: their calls pass every budget in dollars.

    Example: budgetguard prices free 'llama3*'
    """
    found = _file(file)
    write_free(found.path, pattern)
    _tell(found, pattern, {"free": True}, as_json)


def _file(given: Path | None) -> PriceFile:
    return price_file_of(load_config(), given)


def _tell(file: PriceFile, model: str, said: Mapping[str, Any], as_json: bool) -> None:
    """Say what was written, and what to do for it to be read."""
    if as_json:
        print_json({"file": str(file.path), "model": model, "declared": dict(said), "named": file.named})
        return
    told = console()
    told.print(f"{file.path}: {model}: {_shown(said)}", soft_wrap=True)
    if not file.named:
        with suppress(ValueError):
            file = file._replace(path=file.path.resolve().relative_to(file.settings.home.resolve()))
        told.print(
            f'No program reads this file yet: write prices = "{file.path.as_posix()}" into '
            f"{file.settings.at.removesuffix(':') or OWN}, or set BUDGETGUARD_PRICES.",
            soft_wrap=True,
        )
    told.print("Programs read it when they start: start those again that are running.")


def _shown(said: Mapping[str, Any]) -> str:
    """What is said of a model, as it stands in the file."""
    import tomlkit

    return ", ".join(f"{key} = {tomlkit.item(value).as_string()}" for key, value in said.items())
