"""The reference of the command line: what `--help` of each command says, as a page."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click
import typer.main

from budgetguard.cli.app import app

MARK = "<!-- the commands -->"


def filled(text: str) -> str:
    """A page with the commands in place of the comment that asks for them."""
    return text.replace(MARK, "\n".join(_all())) if MARK in text else text


def _all() -> Iterator[str]:
    root: Any = typer.main.get_command(app)
    yield from _described(root, ["budgetguard"], None)


def _described(command: Any, path: list[str], parent: Any) -> Iterator[str]:
    context = click.Context(command, info_name=path[-1], parent=parent)
    if len(path) > 1:
        yield f"\n{'#' * len(path)} `{' '.join(path)}`\n"
        yield f"```console\n$ {' '.join(path)} {' '.join(command.collect_usage_pieces(context))}\n```\n"
        yield _prose(command.help or "")
        yield from _options(command, context)
    for name in getattr(command, "commands", {}):
        yield from _described(command.commands[name], [*path, name], context)


def _prose(text: str) -> str:
    """The paragraphs of a help text, its examples as lines that can be copied."""
    return "\n\n".join(part for each in text.strip().split("\n\n") for part in _paragraph(each) if part) + "\n"


def _paragraph(text: str) -> Iterator[str]:
    kept = text.startswith("\b\n")  # so typer is told to leave the lines of a paragraph as they are
    before, _, example = ("", "", text.removeprefix("\b\n")) if kept else text.partition("Example: ")
    yield before.strip().replace("<", "\\<")
    lines = [line.strip().removeprefix("Example: ") for line in example.splitlines()]
    yield "```console\n{}\n```".format("\n".join(f"$ {line}" for line in lines)) if lines else ""


def _options(command: Any, context: Any) -> Iterator[str]:
    rows = [record for each in command.get_params(context) if (record := _row(each, context))]
    if rows:
        yield "| | |\n|---|---|"
        yield from (f"| `{name}` | {said} |" for name, said in rows)
        yield ""


def _row(parameter: Any, context: Any) -> tuple[str, str] | None:
    record = parameter.get_help_record(context)
    if record is None or "--help" in record[0]:
        return None
    name, said = ("".join(part.splitlines()) for part in record)
    return name.replace("|", "\\|"), said.replace("|", "\\|").replace("<", "\\<").replace("*", "\\*")
