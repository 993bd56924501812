"""
`prices set|alias|free`: one line for a model that the list does not have, written into the price file.

The file is read as people wrote it, and keeps their comments. It is written whole or not at all, and only what can be
read again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from ..concurrency.file_locks import LOCK_EX, flock
from ..config import load_config
from ..config.file import OWN, ConfigFile
from ..errors import ConfigError
from .options import JsonOption, PricesOption
from .show import console, print_json

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_NAME = "prices.toml"
_HEAD = "# Prices that budgetguard's list does not have, in dollars per million tokens.\n"
_PLAIN = re.compile(r"(0|[1-9]\d*)(\.\d+)?")


class PriceFile(NamedTuple):
    """The file that is written, and what leads to it."""

    path: Path
    named: bool
    """Whether programs here are told of it."""
    settings: ConfigFile
    """Where that can be said."""


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
    """Say what a model costs, in dollars per million tokens."""
    said = _stated(model, dollars_in, dollars_out, from_map)
    if max_output is not None:
        said["max_output"] = max_output

    def change(document: TOMLDocument) -> None:
        entry = _entry(document, model)
        for key in ("free", "alias_of"):
            entry.pop(key, None)
        entry.update(said)
        _drop(document, "deployments", model)

    _write(_file(file), change, model, said, as_json)


def _stated(model: str, dollars_in: str | None, dollars_out: str | None, from_map: Path | None) -> dict[str, Any]:
    """What the options say that a model costs; raises `ConfigError` for half of it, or for both ways at once."""
    if from_map is not None and dollars_in is None and dollars_out is None:
        from ..prices.sources.published.kept import entry_of

        return dict(entry_of(from_map, model))
    if from_map is not None or dollars_in is None or dollars_out is None:
        raise ConfigError(f"prices set {model}: write --input and --output in dollars per million tokens, or --from")
    return {"input": _number(dollars_in), "output": _number(dollars_out)}


def alias(
    name: Annotated[str, typer.Argument(help="The name that calls have: a deployment's, a proxy's.")],
    model: Annotated[str, typer.Argument(help="The model whose price it has: gpt-4o, anthropic/claude-opus-5, ...")],
    file: PricesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that a name is another one for a model whose price is known."""

    def change(document: TOMLDocument) -> None:
        _drop(document, "models", name)
        _drop(document, "deployments", name)
        _section(document, "deployments")[name] = model

    _write(_file(file), change, name, {"alias_of": model}, as_json)


def free(
    pattern: Annotated[str, typer.Argument(help="A model's name, or a pattern such as 'llama3*'.")],
    file: PricesOption = None,
    as_json: JsonOption = False,
) -> None:
    """Say that models cost nothing, as those on a machine of your own: their calls pass every budget in dollars."""

    def change(document: TOMLDocument) -> None:
        entry = _entry(document, pattern)
        for key in [key for key in entry if key != "name"]:
            del entry[key]
        entry["free"] = True
        _drop(document, "deployments", pattern)

    _write(_file(file), change, pattern, {"free": True}, as_json)


def _file(given: Path | None) -> PriceFile:
    """The price file that is given, else the one that programs here read, else a new one beside `budgetguard.toml`."""
    config = load_config()
    path = given or config.prices or config.file.home / _NAME
    named = config.prices is not None and config.prices.resolve() == path.resolve()
    return PriceFile(path, named, config.file)


def _write(
    file: PriceFile,
    change: Callable[[TOMLDocument], None],
    model: str,
    said: Mapping[str, Any],
    as_json: bool,
) -> None:
    """Change the file, and say what to do for it to be read."""
    _change(file.path, change, model)
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


def _change(path: Path, change: Callable[[TOMLDocument], None], model: str) -> None:
    """Change a price file, or make it; raises `ConfigError`, and leaves it as it is, where it could not be read."""
    with _alone(path):
        _change_alone(path, change, model)


def _change_alone(path: Path, change: Callable[[TOMLDocument], None], model: str) -> None:
    """The same, with the file to oneself."""
    import tomllib

    import tomlkit

    from ..prices.book import PriceBook
    from ..prices.sources.file import read_file, read_table
    from ..prices.sources.published.kept import replace

    if path.suffix == ".json":
        raise ConfigError(
            f"{path}: this is a list of prices, and stays as it is: name a TOML file by --prices or "
            f'BUDGETGUARD_PRICES, with list = "{path.as_posix()}" at its top'
        )
    made = not path.exists()
    if not made:
        read_file(path)
    document = tomlkit.parse(_HEAD if made else path.read_bytes().decode("utf-8-sig"))
    change(document)
    text = tomlkit.dumps(document)
    table = tomllib.loads(text)
    if table != {name: section for name, section in document.unwrap().items() if section or name in table}:
        raise ConfigError(f"{path}: this file cannot be changed by a program: write {model!r} into it yourself")
    read_table(table, str(path))
    PriceBook(overrides=table.get("models"), deployments=table.get("deployments")).quote(None, model)
    replace(path, text.encode(), "price file")


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """
    Nobody else changes the file meanwhile: two who read it at once would each write it without what the other said.

    The lock is a file beside it that is gone afterwards. Who waited for one that is gone asks for the next.
    """
    target = Path(os.path.realpath(path))
    beside = target.with_name(f".{target.name}.lock")
    try:
        while True:
            with beside.open("ab") as held:
                flock(held.fileno(), LOCK_EX)
                if _is(beside, held.fileno()):
                    try:
                        yield
                    finally:
                        with suppress(OSError):  # Windows deletes no open file: it stays there, empty
                            beside.unlink()
                    return
    except OSError as error:
        raise ConfigError(f"{path}: the price file cannot be written ({error.strerror}); check the path") from error


def _is(path: Path, fd: int) -> bool:
    """Whether a path still leads to an open file."""
    with suppress(OSError):
        return os.path.samestat(path.stat(), os.fstat(fd))
    return False


def _entry(document: TOMLDocument, model: str) -> Any:
    """The table of a model for every provider, which is made if there is none."""
    import tomlkit

    models = _section(document, "models")
    heading = _heading(models, model)
    if heading is not None:
        return models[heading]
    if model in models:
        raise ConfigError(f"[models] has {model!r} for one provider: give that a heading of its own, with name = ...")
    models[model] = tomlkit.table()
    return models[model]


def _section(document: TOMLDocument, name: str) -> Any:
    """A section of the file, which is made if there is none."""
    import tomlkit

    if name not in document:
        document[name] = tomlkit.table(is_super_table=name == "models")
    return document[name]


def _drop(document: TOMLDocument, section: str, model: str) -> None:
    """Take a model out of a section: the latest word counts."""
    found = document.get(section, {})
    heading = _heading(found, model)
    if heading is not None:
        del found[heading]


def _heading(section: Mapping[str, Any], model: str) -> str | None:
    """Under which heading a model stands that is meant for every provider."""
    for heading, entry in section.items():
        table = entry if isinstance(entry, Mapping) else {}
        if str(table.get("name", heading)).strip().lower() == model.strip().lower() and "provider" not in table:
            return heading
    return None


def _shown(said: Mapping[str, Any]) -> str:
    """What is said of a model, as it stands in the file."""
    import tomlkit

    return ", ".join(f"{key} = {tomlkit.item(value).as_string()}" for key, value in said.items())


def _number(text: str) -> Any:
    """An amount as it was written: 0.30 stays 0.30. What is no plain number stays a text, for the reader to judge."""
    import tomlkit

    return tomlkit.value(text) if _PLAIN.fullmatch(text) else text
