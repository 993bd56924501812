"""
A program as `__main__`: it is what the interpreter would have there, and stays so until the interpreter ends.

What it leaves behind (threads, finalizers, functions for the end of the process) finds its module as it left it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, SourceFileLoader, SourcelessFileLoader
from importlib.util import find_spec
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

from ...errors import ConfigError


def run_file(program: str, arguments: Sequence[str]) -> None:
    """As `python program.py` does."""
    path = str(Path(program).absolute())
    source = SourceFileLoader("__main__", path)
    loader: Any = SourcelessFileLoader("__main__", path) if path.endswith(".pyc") else source
    code = source.source_to_code(source.get_data(path), path) if loader is source else loader.get_code("__main__")
    sys.argv = [program, *arguments]
    _look_first_in(str(Path(program).resolve().parent))
    _execute(code, loader, path)


def run_module(name: str, arguments: Sequence[str]) -> None:
    """As `python -m name` does."""
    sys.argv = ["-m", *arguments]
    _look_first_in(os.getcwd())
    spec = _spec_of(name)
    code = spec.loader.get_code(spec.name)  # type: ignore[union-attr]
    path = spec.origin or name
    sys.argv[0] = path
    _execute(code, spec.loader, path, spec)


def _spec_of(name: str) -> ModuleSpec:
    spec = find_spec(name)
    if spec is not None and spec.submodule_search_locations is not None:
        spec = find_spec(f"{name}.__main__")
    if spec is None or not hasattr(spec.loader, "get_code"):
        raise ConfigError(f"--module {name}: there is no such module, or it is a package without a __main__")
    return spec


def _look_first_in(folder: str) -> None:
    """Have modules be found there, in the place of where our own command is."""
    if not sys.flags.safe_path:
        sys.path[0] = folder


def _execute(code: CodeType | None, loader: Any, path: str, spec: ModuleSpec | None = None) -> None:
    main = ModuleType("__main__")
    main.__dict__.update(
        __builtins__=sys.modules["builtins"],
        __cached__=None if spec is None else spec.cached,
        __file__=path,
        __loader__=loader,
        __package__=None if spec is None else spec.parent,
        __spec__=spec,
    )
    sys.modules["__main__"] = main
    assert code is not None
    exec(code, main.__dict__)
