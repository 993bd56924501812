"""
A price file is changed: one line for a model that the list does not have.

The file is read as people wrote it, and keeps their comments. It is written whole or not at all, and only what can be
read again.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...concurrency.file_locks import LOCK_EX, flock
from ...errors import ConfigError

if TYPE_CHECKING:
    from tomlkit import TOMLDocument

_HEAD = "# Prices that budgetguard's list does not have, in dollars per million tokens.\n"
_PLAIN = re.compile(r"(0|[1-9]\d*)(\.\d+)?")


def write_price(path: Path, model: str, said: Mapping[str, Any]) -> None:
    """Say what a model costs; raises `ConfigError`, and leaves the file as it is, for what cannot be read again."""

    def change(document: TOMLDocument) -> None:
        entry = _entry(document, model)
        for key in ("free", "alias_of"):
            entry.pop(key, None)
        entry.update(said)
        _drop(document, "deployments", model)

    _change(path, change, model)


def write_alias(path: Path, name: str, model: str) -> None:
    """Say that a name is another one for a model whose price is known; raises `ConfigError`."""

    def change(document: TOMLDocument) -> None:
        _drop(document, "models", name)
        _drop(document, "deployments", name)
        _section(document, "deployments")[name] = model

    _change(path, change, name)


def write_free(path: Path, pattern: str) -> None:
    """Say that models cost nothing; raises `ConfigError`."""

    def change(document: TOMLDocument) -> None:
        entry = _entry(document, pattern)
        for key in [key for key in entry if key != "name"]:
            del entry[key]
        entry["free"] = True
        _drop(document, "deployments", pattern)

    _change(path, change, pattern)


def write_discount(path: Path, provider: str, discount: Decimal) -> None:
    """Say which part of a provider's list prices is not billed; raises `ConfigError`."""

    def change(document: TOMLDocument) -> None:
        _section(document, "discounts")[provider] = number_of(f"{discount:f}")

    _change(path, change)


def number_of(text: str) -> Any:
    """An amount as it was written: 0.30 stays 0.30. What is no plain number stays a text, for the reader to judge."""
    import tomlkit

    return tomlkit.value(text) if _PLAIN.fullmatch(text) else text


def _change(path: Path, change: Callable[[TOMLDocument], None], model: str = "") -> None:
    """Change a price file, or make it; raises `ConfigError`, and leaves it as it is, where it could not be read."""
    with _alone(path):
        _change_alone(path, change, model)


def _change_alone(path: Path, change: Callable[[TOMLDocument], None], model: str) -> None:
    """The same, with the file to oneself."""
    import tomllib

    import tomlkit

    from ..book import PriceBook
    from .file import read_file, read_table
    from .published.kept import replace

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
        named = repr(model) if model else "the discount"
        raise ConfigError(f"{path}: this file cannot be changed by a program: write {named} into it yourself")

    read_table(table, str(path))
    book = PriceBook(
        overrides=table.get("models"), deployments=table.get("deployments"), discounts=table.get("discounts")
    )
    if model:
        book.quote(None, model)
    else:
        next(book.names(""), None)  # raises for a discount at nobody
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
