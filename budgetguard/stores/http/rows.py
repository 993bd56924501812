"""
What goes over the wire between a hosted store and its client: the ledger's types as `ledger.as_json` has them, but for
what a client and a server of different versions need to understand each other, or to say that they do not.

The native API (`budgetguard/server`) reads and writes the same: `tests/stores/test_http_wire.py` holds both to one
form, and `test_http_versions.py` to what the version before said.

JSON text carries any character but a lone surrogate (U+D800 to U+DFFF), which file names and bad input bring. One is
written as U+001A and its four hexadecimal digits; U+001A itself is written as "\\u001a001a".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from ...ledger import (
    USUAL,
    Admitted,
    Balance,
    Carried,
    Conflict,
    Ended,
    Entry,
    Hold,
    Refusal,
    Settled,
    Stale,
    Terms,
    unit_of,
)
from ...ledger.as_json import plain, read

T = TypeVar("T")

PROJECT_HEADER = "budgetguard-project"
"""Names the project, percent-encoded; it may be left out with a key, which belongs to one."""

API_HEADER = "budgetguard-api"
"""Every answer of a server has it: what comes without it is another server's, or a proxy's in front of it."""

_MARK = "\x1a"
_RAW_MARK = "\\u001a"
_RAW_MARKS = (b"\\u001a", b"\\u001A")
_SPECIAL = re.compile("[\x1a\ud800-\udfff]")
_WRITTEN = re.compile("\x1a([0-9a-f]{4})")

_MOST = 2**63 - 1
"""Of a count: the integers of the server's store."""


# -- text ------------------------------------------------------------------------------------------------------------


def dump(value: Any) -> bytes:
    """JSON, in which any text can be read again."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    if _SPECIAL.search(text) is None and _RAW_MARK not in text:
        return text.encode()
    return json.dumps(escaped(value), separators=(",", ":")).encode()


def load(data: bytes) -> Any:
    """What `dump` made JSON of; raises `ValueError` for anything else."""
    value = json.loads(data)
    return unescaped(value) if has_marks(data) else value


def has_marks(data: bytes) -> bool:
    """Whether there may be a text in this JSON that has to be read with `unescaped`."""
    return _RAW_MARKS[0] in data or _RAW_MARKS[1] in data


def escaped(value: Any) -> Any:
    """Every text in a JSON value written so that JSON can carry it."""
    return _texts(value, escape_text)


def unescaped(value: Any) -> Any:
    """The inverse of `escaped`."""
    return _texts(value, unescape_text)


def escape_text(text: str) -> str:
    """A text without lone surrogates that can be turned back."""
    return _SPECIAL.sub(lambda found: f"{_MARK}{ord(found[0]):04x}", text)


def unescape_text(text: str) -> str:
    """The inverse of `escape_text`; a mark that stands for nothing stays."""
    return _WRITTEN.sub(lambda found: _meant(found[0], int(found[1], 16)), text)


def _meant(written: str, code: int) -> str:
    return chr(code) if code == ord(_MARK) or 0xD800 <= code <= 0xDFFF else written


def _texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {change(key): _texts(item, change) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(item, change) for item in value]
    return value


# -- what a client says ----------------------------------------------------------------------------------------------
#
# As the version before could say it, which names the terms of a hold. It refuses fields that it does not know: so what
# is asked of an account in another unit than dollars says units in every case, and never counts as dollars there.


def say_hold(hold: Hold) -> dict[str, Any]:
    """A hold. Raises `AmountError` if an account counts a unit of which it says nothing."""
    for unit in {account.unit for account in hold.accounts} - {"dollars", *hold.units}:
        hold = hold._replace(units={**hold.units, unit: hold.wanted(unit)})
    return _said(hold)


def say_settlement(hold: Hold, entry: Entry) -> dict[str, Any]:
    """An entry, and of the hold that it ends what counts then."""
    in_units = any(account.unit != "dollars" for account in hold.accounts)
    ended = Hold(hold.id, hold.accounts, 0, leases=hold.leases)
    return {"hold": _said(ended), "entry": say_entry(entry, in_units)}


def _said(hold: Hold) -> dict[str, Any]:
    said = plain(hold)
    for account in said["accounts"]:
        account.pop("lease", None)  # the client's own affair
    if hold.terms:
        said["terms"] = [{"key": key, "version": version} for key, version in hold.terms]
    return said


def say_entry(entry: Entry, in_units: bool = False) -> dict[str, Any]:
    """An entry, without its time; `in_units`: its hold is on an account in another unit than dollars."""
    said = plain(entry)
    said.pop("at_ms", None)
    if entry.usage:
        said["usage"] = {name: max(-_MOST, min(count, _MOST)) for name, count in entry.usage.items()}
    if in_units or any(unit_of(key) != "dollars" for key in entry.accounts):
        said["units"] = {**USUAL, **entry.units}
    return said


def say_rows(terms: Sequence[Terms], accounts: Sequence[Carried], entries: Sequence[Entry]) -> dict[str, Any]:
    """Rows of other books."""
    return {
        "terms": [plain(each) for each in terms],
        "accounts": [_say_carried(each) for each in accounts],
        "entries": [{"entry": say_entry(each), "at_ms": each.at_ms} for each in entries],
    }


def _say_carried(account: Carried) -> dict[str, Any]:
    unit = unit_of(account.key)
    return plain(account) if unit == "dollars" else {**plain(account), "unit": unit}


# -- what a server answers -------------------------------------------------------------------------------------------


def hear_reserved(said: Mapping[str, Any], hold: Hold) -> Admitted | Refusal | Stale | Ended:
    """The answer to a reserve; a refusal names the account by its place in the hold."""
    if "admitted" in said:
        return read(Admitted, {**said, "amount": said["admitted"]})
    if "refusal" in said:
        refusal = said["refusal"]
        account = hold.accounts[refusal["place"]]
        return Refusal(account, read(Balance, {**refusal, "key": account.key}), refusal["busy"])
    if "stale" in said:
        return read(Stale, said["stale"])
    if said["ended"] is not True:
        raise ValueError("a reserve was answered by nothing")
    return Ended()


def hear_settled(said: Mapping[str, Any]) -> Settled | Conflict:
    """The answer to a settlement."""
    if "conflict" in said:
        return read(Conflict, {**said, "recorded": said["conflict"]})
    return read(Settled, {**said, "cost": said["settled"]})


def hear_all(said: Sequence[Mapping[str, Any]], kind: type[T]) -> list[T]:
    """A list of values of one of the ledger's types."""
    return [read(kind, item) for item in said]
