"""
The one JSON of the ledger's types, derived from their fields: for wire, journal and engines.

A value is an object of its fields; those at their defaults are left out. So a field that is added with a default needs
no line here or there: what an older writer wrote takes the default, and what a newer one adds is not looked at.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import cache, partial
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")

_Change = Callable[[Any], Any]

_line = json.JSONEncoder(separators=(",", ":")).encode
"""One for all: `json.dumps` makes one each time, which takes as long as its work."""

NEEDED: Any = object()
"""The default of a field that has none."""


class _Codec(NamedTuple):
    """How the values of one type are written as plain JSON values, and read; `None`: as they are."""

    write: _Change | None
    read: _Change | None


class Member(NamedTuple):
    """One field of a type."""

    name: str
    hint: Any
    default: Any
    codec: _Codec


def plain(value: Any) -> dict[str, Any]:
    """A value of one of the ledger's types as JSON values."""
    kind: Any = type(value)
    written: dict[str, Any] = _write(members(kind), value)
    return written


def whole(value: Any) -> dict[str, Any]:
    """The same with its fields that are at their defaults, for those who do not know these."""
    kind: Any = type(value)
    written = {}
    for name, _, _, (write, _) in members(kind):
        item = getattr(value, name)
        written[name] = item if write is None else write(item)
    return written


def text(value: Any) -> str:
    """The same as one line of ASCII."""
    return _line(plain(value))


def read(kind: type[T], data: Mapping[str, Any]) -> T:
    """A value of this type from JSON values; raises `KeyError`, `TypeError` or `ValueError` for what is none."""
    key: Any = kind
    made: T = _read(kind, members(key), data)
    return made


def _compiled(kind: Any) -> tuple[Member, ...]:
    """The fields that a value of this type is made of."""
    hints = get_type_hints(kind)
    if is_dataclass(kind):
        usual = {each.name: _default(each) for each in fields(kind) if each.init}
    else:
        row: Any = kind
        usual = {name: row._field_defaults.get(name, NEEDED) for name in row._fields}
    return tuple([Member(name, hints[name], default, _codec(hints[name])) for name, default in usual.items()])


members: Callable[[Any], tuple[Member, ...]] = cache(_compiled)
"""The fields of a type, once."""


def _default(field: Field[Any]) -> Any:
    if field.default is not MISSING:
        return field.default
    return NEEDED if field.default_factory is MISSING else field.default_factory()


def _write(members: tuple[Member, ...], value: Any) -> dict[str, Any]:
    written = {}
    for name, _, default, (write, _) in members:
        item = getattr(value, name)
        if item is not default and item != default:
            written[name] = item if write is None else write(item)
    return written


def _read(kind: type, members: tuple[Member, ...], data: Mapping[str, Any]) -> Any:
    made = {}
    for name, _, default, (_, read_) in members:
        if name in data:
            made[name] = data[name] if read_ is None else read_(data[name])
        elif default is NEEDED:
            raise KeyError(name)
    return kind(**made)


def _codec(hint: Any) -> _Codec:
    """How values of an annotated type are written and read."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in {str, int, float, bool} or origin is Literal:
        return _Codec(None, partial(_checked, type(args[0]) if args else hint))
    if origin in {Union, UnionType}:
        [some] = [_codec(each) for each in args if each is not NoneType]
        return _Codec(*[None if change is None else partial(_unless_none, change) for change in some])
    if origin is tuple and args[-1] is not ...:
        each = [_codec(arg) for arg in args]
        return _Codec(
            partial(_row, list, [one.write for one in each]), partial(_row, tuple, [one.read for one in each])
        )
    if origin in {tuple, frozenset}:
        item = _codec(args[0])
        return _Codec(
            partial(_items, list if origin is tuple else sorted, item.write), partial(_items, origin, item.read)
        )
    if origin is Mapping:
        item = _codec(args[1])
        return _Codec(partial(_values, item.write), partial(_values, item.read))
    inner = members(hint)
    return _Codec(partial(_write, inner), partial(_read, hint, inner))


def _checked(kind: type, item: Any) -> Any:
    if not isinstance(item, kind):
        raise TypeError(f"{item!r} is no {kind.__name__}")
    return item


def _unless_none(change: _Change, item: Any) -> Any:
    return None if item is None else change(item)


def _row(make: _Change, changes: Sequence[_Change | None], row: Sequence[Any]) -> Any:
    pairs = zip(changes, row, strict=True)
    return make([item if change is None else change(item) for change, item in pairs])


def _items(make: _Change, change: _Change | None, items: Iterable[Any]) -> Any:
    if isinstance(items, str):
        raise TypeError(f"{items!r} is no list")
    return make(items if change is None else [change(item) for item in items])


def _values(change: _Change | None, items: Mapping[str, Any]) -> dict[str, Any]:
    return dict(items) if change is None else {name: change(item) for name, item in dict(items).items()}
