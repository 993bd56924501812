"""
The ledger's types on the wire, derived from their fields: what is read is bounded, what is answered is spelt out.

A field that is added to one of them needs no line here: it is read within the bounds of its type, and answered.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from ...ledger import Admitted, Conflict, Ended, Entry, Hold, Refusal, Settled, Stale
from ...ledger.as_json import NEEDED, members, plain, read, whole

T = TypeVar("T")

MOST_ACCOUNTS = 1_000
"""Of anything that a hold or an entry has several of."""
MOST_INT = 2**63 - 1
Whole = Annotated[int, Meta(ge=-MOST_INT, le=MOST_INT)]
"""Any integer that every store can keep; an amount that is out of bounds is told so by name."""
Text = Annotated[str, Meta(max_length=100_000)]

_SIMPLE = {int: Whole, str: Text, bool: bool}

# What is made of types here is no type to a type checker.
_annotated: Any = Annotated
_tuple: Any = tuple
_list: Any = list
_dict: Any = dict
_union: Any = Union

# -- types -----------------------------------------------------------------------------------------------------------


def body(name: str, doc: str, kind: Any = None, /, without: Sequence[str] = (), **bounds: Any) -> Any:
    """
    The struct that a body is read into: the fields of a type of the ledger's, but for some, and others.

    Each is bounded as its type is, if `bounds` does not say how; one with a default may be left out.
    """
    fields: dict[str, Any] = {}
    for field, hint, default, _ in () if kind is None else members(kind):
        if field not in without:
            bound = bounds.pop(field, None) or _bounded(hint)
            fields[field] = bound if default is NEEDED else (bound, _usual(default))
    return _struct(name, doc, {**fields, **bounds}, forbid_unknown_fields=True, kw_only=True, omit_defaults=True)


def answer(name: str, doc: str, kind: Any = None, **more: Any) -> Any:
    """The struct that describes an answer: what `whole` makes of a type of the ledger's, and more."""
    fields = {} if kind is None else {field.name: _answered(field.hint) for field in members(kind)}
    return _struct(name, doc, {**fields, **more})


def _struct(name: str, doc: str, fields: Mapping[str, Any], **options: Any) -> Any:
    """A struct of fields by name: a type, or one and the default."""
    made = [(field, *hint) if isinstance(hint, tuple) else (field, hint) for field, hint in fields.items()]
    return msgspec.defstruct(name, made, frozen=True, namespace={"__doc__": doc}, **options)


def several(kind: Any, most: int) -> Any:
    """So many of a kind at most."""
    return _annotated[_tuple[kind, ...], Meta(max_length=most)]


def listed(kind: Any) -> Any:
    """Any number of a kind."""
    return _list[kind]


def _bounded(hint: Any) -> Any:
    """A type as it is read."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in {Union, UnionType}:
        return _union[tuple([each if each is NoneType else _bounded(each) for each in args])]
    if origin in {tuple, frozenset}:
        return several(_bounded(args[0]), MOST_ACCOUNTS)
    if origin is Mapping:
        return _dict[tuple([_bounded(each) for each in args])]
    if hint in _SIMPLE or origin is Literal:
        return _SIMPLE.get(hint, hint)
    return body(f"{hint.__name__}In", hint.__doc__, hint)


def _answered(hint: Any) -> Any:
    """A type as it is written."""
    origin, args = get_origin(hint), get_args(hint)
    if origin in {tuple, frozenset}:
        return _list[args[0]]
    return _dict[args] if origin is Mapping else hint


def _usual(default: Any) -> Any:
    """A default as a struct has it: nothing that could be changed."""
    if isinstance(default, Mapping):
        return msgspec.field(default_factory=dict)
    return () if isinstance(default, frozenset) else default


# -- values ----------------------------------------------------------------------------------------------------------


def taken(kind: type[T], said: Any) -> T:
    """The value of a type of the ledger's that a struct of its fields says."""
    return read(kind, msgspec.to_builtins(said))


def hold(said: Any) -> Hold:
    """A hold, whose terms have names on the wire."""
    data = msgspec.to_builtins(said)
    if said.terms:
        data["terms"] = [(known.key, known.version) for known in said.terms]
    return read(Hold, data)


def all_of(found: Any) -> list[dict[str, Any]]:
    """Values of the ledger's types."""
    return [whole(each) for each in found]


def reserved(outcome: Admitted | Refusal | Stale | Ended, held: Hold) -> dict[str, Any]:
    """The answer to a reserve; a refusal names the account by its place in the hold."""
    if isinstance(outcome, Admitted):
        said = plain(outcome)
        return {"admitted": said.pop("amount"), **said, **_balances(outcome)}
    if isinstance(outcome, Refusal):
        told, place = outcome.account, held.accounts.index(outcome.account)
        return {"refusal": {"place": place, "limit": told.limit, **whole(outcome.balance), "busy": outcome.busy}}
    return {"stale": whole(outcome)} if isinstance(outcome, Stale) else {"ended": True}


def settled(outcome: Settled | Conflict) -> dict[str, Any]:
    """The answer to a settlement."""
    said = plain(outcome)
    if isinstance(outcome, Conflict):
        return {"conflict": said.pop("recorded"), **said}
    return {"settled": said.pop("cost"), "late": outcome.late, **said, **_balances(outcome)}


def _balances(outcome: Admitted | Settled) -> dict[str, Any]:
    """Its balances, each spelt out."""
    return {"balances": all_of(outcome.balances)} if outcome.balances else {}


def entry(said: Any, at_ms: int = 0) -> Entry:
    """An entry to be settled, or one of other books with its time."""
    return taken(Entry, said)._replace(at_ms=at_ms)
