"""Where a run keeps what it spends: in the store that is named, else in the default one, by the name of its program."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ...config import Config, load_config
from ...config.file import beside
from ...config.forms import variable
from ...errors import ConfigError, StoreError
from ...ledger import Query
from ...stores import file_of, shown
from ..common.options import read

RUN = "run"
"""The tag that all calls of a program have."""

_SKEW_MS = 5_000
"""By how much a server's clock may differ from ours."""


@dataclass(frozen=True, slots=True)
class KeptRun:
    """Where the spend of a run is kept, and by which name."""

    name: str
    where: str
    options: str
    """What the command line has to be told to find it there."""
    began_ms: int
    config: Config
    """What held when it began: the program may go elsewhere, where another file lies."""
    keeps: bool = True

    @property
    def tags(self) -> Mapping[str, str]:
        """Those of all calls of the program."""
        return {RUN: self.name}

    @classmethod
    def of(cls, store: str | None, project: str | None, program: str, *, no_store: bool, quiet: bool) -> KeptRun:
        """
        Decide it, and have it hold wherever the program goes.

        The default store is made if it is not there. Where it cannot be, that is said, and the run goes on: its
        limit is the process's own.
        """
        name, config = Path(program).name, load_config()
        if no_store and store is not None:
            raise ConfigError(f"--no-store, --store {store}: one says to keep nothing, the other where: leave one out")
        keeps = not no_store
        if keeps and config.store is None:
            why = _cannot_be_made(Path(file_of(config.url) or ""))
            keeps = not why
            if why and not quiet:
                print(f"budgetguard: what it spends is not kept: {why}; --store names another place", file=sys.stderr)
        os.environ[variable("store")] = beside(config.url, Path.cwd()) if keeps else "memory://"
        said = "" if store is None else f" --store {shlex.quote(shown(store))}"
        said += "" if project is None else f" --project {shlex.quote(project)}"
        where = shown(store if store is not None else config.url)
        return cls(name, where, said, int(time.time() * 1000) - _SKEW_MS, load_config(), keeps)

    def said(self) -> list[str]:
        """What is to be said of it at the end: nothing, where the program has booked elsewhere, or spent nothing."""
        if not self.keeps:
            return []
        try:
            with read(self.config) as (store, _):
                found = store.totals((RUN,), Query(since_ms=self.began_ms, tags=self.tags))
        except (StoreError, ConfigError):  # not there, as nobody has spent; or away, and the journal has it
            return []
        return [f"budgetguard: kept in {self.where}; budgetguard spend --by run{self.options}"] if found else []


def _cannot_be_made(path: Path) -> str:
    """Why a file cannot be made; "" if it can, or is there."""
    if path.exists():
        return ""
    try:
        with tempfile.TemporaryFile(dir=path.absolute().parent):
            return ""
    except OSError as error:
        return f"{path.absolute()} cannot be made ({error.strerror})"
