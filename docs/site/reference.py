"""
The reference: signatures and docstrings of the public names, which are Markdown already.

A page asks for a name, or for all of a module, in a comment of its own line: `<!-- budgetguard.alerts.Webhook -->`.
"""

from __future__ import annotations

import ast
import dataclasses
import importlib
import inspect
import itertools
import re
import textwrap
from collections.abc import Iterator
from types import ModuleType
from typing import Any

_ASKED = re.compile(r"^<!-- (budgetguard[\w.]*) -->$", re.MULTILINE)
_PAGE = re.compile(r"docs/([\w/.-]+\.md)")
_FENCE = "`" * 3


def filled(text: str) -> str:
    """A page with every name that it asks for."""
    return _ASKED.sub(lambda found: "\n".join(_asked(found[1])), text)


def _asked(path: str) -> Iterator[str]:
    thing = _named(path)
    if not isinstance(thing, ModuleType):
        yield from _described(path, thing)
        return
    for name in getattr(thing, "__all__", None) or _names(thing):
        yield from _described(f"{path}.{name}", getattr(thing, name))


def _named(path: str) -> Any:
    try:
        return importlib.import_module(path)
    except ModuleNotFoundError:
        module, _, name = path.rpartition(".")
        return getattr(importlib.import_module(module), name)


def _names(module: ModuleType) -> list[str]:
    """What a module hands on, in its order, where no `__all__` says so; else the classes that it has."""
    tree = ast.parse(inspect.getsource(module))
    imported = [alias.asname for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names]
    own = [node.name for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")]
    return [name for name in imported if name] or own


def _described(path: str, thing: Any) -> Iterator[str]:
    if inspect.isclass(thing):
        members = list(_fields(path, thing))
        members += [line for name in _members(thing) for line in _member(f"{path}.{name}", thing, name)]
        kind = "exception" if issubclass(thing, Exception) else "class"
        yield from _directive(kind, path + _call(thing), _said(thing), members, depth=2)
    elif callable(thing):
        yield from _directive(_function(thing), path + _call(thing), _said(thing), [], depth=2)
    else:
        yield from _directive("data", path, "", [], depth=2)


def _function(thing: Any) -> str:
    return "function" if not inspect.iscoroutinefunction(thing) else "function\n:async:"


def _fields(path: str, thing: type) -> Iterator[str]:
    """What a class says below its fields; those of which it says nothing there are in its signature."""
    [tree] = ast.parse(textwrap.dedent(inspect.getsource(thing))).body
    assert isinstance(tree, ast.ClassDef)
    for node, after in itertools.pairwise(tree.body):
        if not isinstance(node, ast.AnnAssign) or not isinstance(after, ast.Expr):
            continue
        said = inspect.cleandoc(ast.literal_eval(after.value))
        name = ast.unparse(node.target)
        if not name.startswith("_"):
            yield from _directive(
                f"attribute\n:type: {ast.unparse(node.annotation)}", f"{path}.{name}", said, [], depth=1
            )


def _members(thing: type) -> list[str]:
    """The public methods and properties of a class, in their order; then those of classes beside it that it is of."""
    room = thing.__module__.rpartition(".")[0]
    beside = [each for each in thing.__mro__[1:] if each.__module__ != thing.__module__]
    parts = [thing, *[each for each in beside if each.__module__.rpartition(".")[0] == room]]
    found = {
        name: None
        for part in parts
        for name, value in vars(part).items()
        if not name.startswith("_") and (isinstance(value, property | classmethod | staticmethod) or callable(value))
    }
    return list(found)


def _member(path: str, owner: type, name: str) -> Iterator[str]:
    value = inspect.getattr_static(owner, name)
    said = _said(value.__func__ if isinstance(value, classmethod | staticmethod) else value)
    if not said:
        return
    if isinstance(value, property):
        returns = str(getattr(value.fget, "__annotations__", {}).get("return", ""))
        yield from _directive(f"property\n:type: {returns}" if returns else "property", path, said, [], depth=1)
        return
    kind = "method"
    if isinstance(value, classmethod | staticmethod):
        kind += f"\n:{type(value).__name__}:"
    yield from _directive(kind, path + _call(getattr(owner, name), bound=True), said, [], depth=1)


def _directive(kind: str, signature: str, said: str, inner: list[str], *, depth: int) -> Iterator[str]:
    """One object as Sphinx knows it, so that search and index have it; what is in it is Markdown."""
    name, _, options = kind.partition("\n")
    fence = _FENCE + "`" * depth
    yield f"{fence}{{py:{name}}} {signature}"
    yield f"{options}\n" if options else ""
    yield said
    yield from inner
    yield f"{fence}\n"


def _said(thing: Any) -> str:
    """A docstring, its example as code."""
    text = inspect.cleandoc(getattr(thing, "__doc__", None) or "")
    if dataclasses.is_dataclass(thing) and text.startswith(f"{getattr(thing, '__name__', '')}("):
        return ""
    return _with_code(_PAGE.sub(r"[\1](/docs/\1)", text))


def _with_code(text: str) -> str:
    """Markdown, in which four spaces begin a block of code: it is named as Python, else as it was."""
    blocks = re.split(r"((?:^    .*\n?|^\n(?=    ))+)", text, flags=re.MULTILINE)
    return "".join(
        f"\n{_FENCE}python\n{textwrap.dedent(each).strip()}\n{_FENCE}\n" if each.startswith("    ") else each
        for each in blocks
    )


def _call(thing: Any, *, bound: bool = False) -> str:
    """The signature as it is written in the code: annotations are texts there."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return ""
    parameters = [each for each in signature.parameters.values() if not each.name.startswith("_")]
    if bound and parameters and parameters[0].name in {"self", "cls"}:
        parameters = parameters[1:]
    text = ", ".join(_written(parameters))
    returns = signature.return_annotation
    plain = inspect.isclass(thing) or returns in {inspect.Signature.empty, "None"}
    return f"({text})" + ("" if plain else f" -> {_annotation(returns)}")


def _written(parameters: list[inspect.Parameter]) -> Iterator[str]:
    starred = False
    for each in parameters:
        if each.kind is each.KEYWORD_ONLY and not starred:
            yield "*"
        starred = starred or each.kind in {each.KEYWORD_ONLY, each.VAR_POSITIONAL}
        stars = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        said = "" if each.annotation is each.empty else f": {_annotation(each.annotation)}"
        yield f"{stars}{each.name}{said}{_default(each)}"


def _annotation(said: Any) -> str:
    return said.replace("EllipsisType", "...") if isinstance(said, str) else getattr(said, "__name__", str(said))


def _default(parameter: inspect.Parameter) -> str:
    if parameter.default is parameter.empty:
        return ""
    if parameter.default is ...:
        return " = ..."
    shown = repr(parameter.default)
    return f" = {shown}" if re.fullmatch(r"[\w.,'\"() -]{1,40}", shown) else " = ..."
