"""
Jupyter and IPython: a scope for a notebook, and one for a cell.

    %load_ext budgetguard
    %budget 5 --user ann          the notebook: it holds in every cell from here on, `await` and tasks included
    %%budget 0.50                 this cell
    %budget                       what was spent; `%budget off` ends it

A cell runs in a context of its own, which may be another one each time. So the notebook's scope is not entered and
left: it is made once, and put into the context of each cell before that runs.
"""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from types import TracebackType
from typing import Any, cast

from IPython.core.error import UsageError
from IPython.core.magic_arguments import MagicArgumentParser
from IPython.display import display

from ..budgets.bars import Bar
from ..errors import BudgetExceededError, ConfigError
from ..guards.scope import Scope, current, not_left
from ..ledger import Unit
from ..scopes.context import budget

_CELL = "%%budget"
_IN_CELL = "--this-cell"
_ATTRIBUTE = "budgetguard_notebook"
"""Where an IPython shell has ours."""


def load_ipython_extension(shell: Any) -> None:
    """What `%load_ext` calls."""
    unload_ipython_extension(shell)
    ours = Notebook(shell)
    setattr(shell, _ATTRIBUTE, ours)
    shell.events.register("pre_run_cell", ours.before_cell)
    shell.events.register("post_run_cell", ours.after_cell)
    shell.input_transformers_cleanup.append(_cell_to_line)
    shell.register_magic_function(ours.budget, "line", "budget")
    shell.set_custom_exc((BudgetExceededError,), _show_refusal)


def unload_ipython_extension(shell: Any) -> None:
    """What `%unload_ext` calls. The notebook's scope ends."""
    ours = getattr(shell, _ATTRIBUTE, None)
    if ours is None:
        return
    ours.close()
    delattr(shell, _ATTRIBUTE)
    shell.events.unregister("pre_run_cell", ours.before_cell)
    shell.events.unregister("post_run_cell", ours.after_cell)
    shell.input_transformers_cleanup.remove(_cell_to_line)
    shell.magics_manager.magics["line"].pop("budget", None)
    shell.set_custom_exc((), None)


@dataclass(slots=True)
class _Open:
    """A scope that is open, and by which cell it was opened."""

    budget: budget
    scope: Scope
    cell: str | None


class Notebook:
    """The scopes of one notebook."""

    def __init__(self, shell: Any) -> None:
        self._shell = shell
        self._whole: _Open | None = None
        self._one: _Open | None = None
        """That of the cell which is running."""
        self._running: str | None = None
        self._words: Any = MagicArgumentParser("%budget")  # type: ignore[no-untyped-call]
        self._words.add_argument("limit", nargs="?", help="dollars; 'off' ends the notebook's scope; none shows it")
        self._words.add_argument("--user", help="whose budget the calls count on")
        self._words.add_argument("--tag", action="append", default=[], metavar="NAME=VALUE", help="may be repeated")
        self._words.add_argument(_IN_CELL, action="store_true", help="what %%%%budget becomes")

    def before_cell(self, info: Any) -> None:
        """A cell begins, in whatever context."""
        self._running = info.raw_cell
        around = not_left(current.get())  # one may have been closed from another context
        if self._whole is not None and not _inside(around, self._whole.scope):
            around = self._whole.scope
        if around is not current.get():
            current.set(around)

    def after_cell(self, result: Any) -> None:
        """A cell has ended, perhaps one that another cell has run."""
        raw = getattr(getattr(result, "info", None), "raw_cell", None)
        if self._one is not None and (raw is None or self._one.cell in {None, raw}):
            ended, self._one = self._one, None
            _close(ended.scope)
            display(ended.budget)  # type: ignore[no-untyped-call]

    def budget(self, line: str) -> None:
        """Open, show or end the scope of this notebook, or of the cell that runs."""
        try:
            given = shlex.split(line)  # IPython's own way leaves quotes around a name, which then is another one
        except ValueError as error:
            raise UsageError(f"%budget {line}: {error}") from error
        words = self._words.parse_args(given)
        if words.this_cell:
            if self._one is not None:
                _close(self._one.scope)
            self._one = self._open(words)
            return
        if self._one is not None and words.limit is not None:
            raise UsageError("%budget: the notebook's scope cannot begin or end within a cell that has one of its own")
        shown = None if self._whole is None else self._whole.budget
        if words.limit == "off":
            self.close()
        elif words.limit is not None or words.user or words.tag:
            self.close()
            self._whole = self._open(words)
            shown = self._whole.budget
        if shown is None:
            raise UsageError("this notebook has no budget: %budget 5 gives it one of $5, %%budget 0.50 a cell")
        display(shown)  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """End the notebook's scope, if it has one."""
        if self._whole is not None:
            _close(self._whole.scope)
            self._whole = None

    def _open(self, words: Any) -> _Open:
        try:
            tags = dict(each.split("=", 1) for each in words.tag)
        except ValueError:
            raise UsageError("--tag NAME=VALUE, such as --tag feature=search, is needed") from None
        try:
            made = budget(user=words.user, limit=words.limit, tags=tags, reraise=False).__enter__()
        except ConfigError as error:
            raise UsageError(str(error)) from error
        scope = current.get()
        assert scope is not None  # it was just entered
        return _Open(made, scope, self._running)


def _cell_to_line(lines: list[str]) -> list[str]:
    """A cell below `%%budget` is an ordinary one that opens a scope in its first line: `await` works in it."""
    if lines and lines[0].startswith(_CELL) and lines[0][len(_CELL) :][:1].isspace():
        return [f"{_CELL[1:]} {_IN_CELL}{lines[0][len(_CELL) :]}", *lines[1:]]
    return lines


def _close(scope: Scope) -> None:
    """End a scope here, and in other contexts when a cell begins there."""
    scope.passed = True
    current.set(not_left(current.get()))


def _inside(scope: Scope | None, outer: Scope) -> bool:
    while scope is not None and scope is not outer:
        scope = scope.parent
    return scope is not None


def _show_refusal(
    shell: Any,
    kind: type[BaseException],
    refusal: BudgetExceededError,
    traceback: TracebackType | None,
    tb_offset: int | None = None,
) -> list[str]:
    """A refusal is an answer, not a crash: its text and a bar, and `%tb` for the rest."""
    sys.last_type, sys.last_value, sys.last_traceback = kind, refusal, traceback
    lines = [f"{kind.__name__}: {refusal}"]
    if refusal.limit is not None:
        amounts: list[Any] = [refusal.spent, refusal.held, refusal.limit]
        spent, held, limit = (getattr(each, "nano", each) or 0 for each in amounts)
        lines.append(str(Bar(refusal.budget, spent, held, limit, cast(Unit, refusal.unit))))
    shell._showtraceback(kind, refusal, lines)
    return lines
