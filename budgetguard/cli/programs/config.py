"""`config`: what holds here, and who says so."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ...config import Config, load_config
from ...config.file import looked_in
from ...config.forms import OF_PRICES
from ...config.projects import open_project
from ...errors import StoreError
from ...stores import file_of, shown
from ..common.options import JsonOption, PricesOption, ProjectOption, StoreOption
from ..common.show import console, print_json
from ..common.tables import Column, table


@dataclass(frozen=True, slots=True)
class Resolved:
    """One value, and where it is from."""

    name: str
    value: Any
    origin: str
    """ "argument", a variable, a file and the key in it, or "default"."""


def config(
    store: StoreOption = None, name: ProjectOption = None, prices: PricesOption = None, as_json: JsonOption = False
) -> None:
    """Every setting as it holds here, and where it is stated.

    Example: budgetguard config --project shop
    """
    found = load_config(store=store, project=name, prices=prices)
    values = [*places(found), *settings(found)]
    file, looked, passed_over = found.file.path, [os.path.abspath(each) for each in looked_in()], found.file.passed_over
    if as_json:
        files = {"file": _text(file), "looked_in": looked, "passed_over": _text(passed_over)}
        print_json({**files, "values": [asdict(each) for each in values]})
        return
    out = console()
    out.print(table([Column("what"), Column("value"), Column("from")], [_row(each) for each in values]))
    if file is None:
        out.print("No file: there is neither budgetguard.toml nor [tool.budgetguard] in a pyproject.toml, in any of")
        out.print(", ".join(looked))
    else:
        out.print(f"The file is {os.path.abspath(file)}.")
    if passed_over is not None:
        out.print(
            f"[tool.budgetguard] in {os.path.abspath(passed_over)} is passed over: budgetguard.toml lies beside it."
        )


def places(found: Config) -> Iterator[Resolved]:
    """Where the budgets live, and what is known of them before they are opened."""
    file, project = file_of(found.url), found.project
    there = file is None or os.path.exists(file)
    yield Resolved(
        "store", shown(found.url), found.where.get("store", "default") + ("" if there else "; not there yet")
    )
    origin = found.where.get("project", "default")
    if origin == "default" and file is not None and there:
        with suppress(StoreError):  # what is wrong with it, doctor says
            books = open_project(found)
            project = books.namespace
            books.close()
        origin = origin if project == found.project else "the only one in the store"
    yield Resolved("project", project, origin)
    yield Resolved("prices", _text(found.prices), found.where.get("prices", "default"))
    yield Resolved("budgets", [rule.name for rule in found.budgets], found.where.get("budgets", "default"))
    yield Resolved("key", None if found.key is None else "...", "default" if found.key is None else "BUDGETGUARD_KEY")


def settings(found: Config) -> Iterator[Resolved]:
    """The settings of a guard, and of its prices; raises `ConfigError` for those that cannot be used."""
    made = found.settings()
    found.price_book()
    values = {field.name: getattr(made, field.name) for field in fields(made)}
    values |= {name: found.said[name].value if name in found.said else None for name in sorted(OF_PRICES)}
    for name, value in values.items():
        plain = sorted(value) if isinstance(value, frozenset) else value
        yield Resolved(name, plain, found.said[name].where if name in found.said else "default")


def _row(each: Resolved) -> list[str]:
    value = ", ".join(map(str, each.value)) if isinstance(each.value, list) else each.value
    return [each.name, "-" if value in {None, ""} else str(value), each.origin]


def _text(path: Path | None) -> str | None:
    return None if path is None else os.path.abspath(path)
