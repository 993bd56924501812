"""The help of every command ends with an example that can be typed; the list of commands says what each is for."""

from __future__ import annotations

import contextlib
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from budgetguard import BudgetManager
from budgetguard.cli.app import app
from budgetguard.cli.common.rooms import TITLES, room_of
from tests.support import ROOT as ROOT_DIRECTORY
from tests.support.commands import exit_code

ROOT: Any = get_command(app)
EXAMPLE = "Example: budgetguard "


def tree(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command that does something by itself, and where it is."""
    below = {} if not hasattr(command, "commands") else command.commands
    if path and (not below or command.invoke_without_command):
        yield path, command
    for name, each in below.items():
        yield from tree(each, (*path, name))


COMMANDS = dict(tree(ROOT))


def meant_by(arguments: list[str]) -> Any:
    """The command that these arguments name, once all of them are understood; it is not run."""
    command, context, left = ROOT, None, arguments
    while True:
        context = command.make_context(command.name, list(left), parent=context)
        rest = [*context._protected_args, *context.args] if hasattr(command, "commands") else []
        if not rest:
            return command
        _, command, left = command.resolve_command(context, rest)


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_the_help_ends_with_an_example_that_is_understood(path: tuple[str, ...]) -> None:
    """It is what is read first, copied, and changed: one with an option that is gone sends its reader away."""
    command = COMMANDS[path]
    *_, last = (command.help or "").strip().split("\n\n")
    assert last.startswith(EXAMPLE), f"budgetguard {' '.join(path)}: its help ends with {last!r}"
    assert meant_by(shlex.split(last.removeprefix(EXAMPLE))) is command


def test_every_command_has_its_sentence_and_its_room(capsys: pytest.CaptureFixture[str]) -> None:
    """Thirty commands in one list are read by nobody."""
    assert {room_of(command) for command in ROOT.commands.values()} <= set(TITLES)
    assert [path for path, command in COMMANDS.items() if not (command.get_short_help_str() or "").strip()] == []
    assert exit_code("--help") == 0
    shown = capsys.readouterr().out
    listed = [line.split()[0] for line in shown.partition("To begin with:")[2].splitlines() if line.startswith("  ")]
    assert sorted(listed) == sorted(ROOT.commands)
    assert shown.index("What was spent:") < shown.index("Budgets:") < shown.index("The gateway:")


def test_the_page_of_commands_names_them_all_and_its_examples_are_understood() -> None:
    """What is copied from it works, and what it leaves out is found by nobody."""
    page = (ROOT_DIRECTORY / "docs/commands.md").read_text("utf-8")
    typed = re.findall(r"^\$ budgetguard (.*)$", page, re.MULTILINE)
    assert len(typed) > 10
    for line in typed:
        assert meant_by(shlex.split(line)) in COMMANDS.values()
    assert {name for name in ROOT.commands if f"`budgetguard {name}`" not in page} == set()


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("spend --csv --json", "--csv, --json: one of them"),
        ("users --json --csv", "--csv, --json: one of them"),
        ("budgets --csv --json", "--csv, --json: one of them"),
        ("log --json --csv", "--csv, --json: one of them"),
        ("projects --csv --json", "--csv, --json: one of them"),
        ("spend --since 2026-11-02 --until 2026-11-01", "nothing is between them"),
        ("log --since 24h --until 7d", "nothing is between them"),
        ("explain --model gpt-4o --input 5 --file budgets.csv", "--file, --input: one of them"),
    ],
)
def test_options_that_cannot_both_hold_are_refused(
    said: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is left out in silence, and an answer about nothing, are taken for what was asked."""
    where = f"sqlite:///{tmp_path}/budgets.db"
    with contextlib.closing(BudgetManager("shop", store=where)) as manager:
        manager.create_budget(1, "ann")
    assert exit_code(*said.split(), "--store", where) == 2
    assert told in capsys.readouterr().err
