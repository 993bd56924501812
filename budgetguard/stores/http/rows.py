"""
What goes over the wire between a hosted store and its client, as plain JSON values.

The native API (`budgetguard/server`) reads and writes the same with typed structs; `tests/stores/test_http_wire.py`
holds both to one form. Amounts are whole nano-dollars, times milliseconds.

JSON text carries any character but a lone surrogate (U+D800 to U+DFFF), which file names and bad input bring. One is
written as U+001A and its four hexadecimal digits; U+001A itself is written as "\\u001a001a".
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ...ledger import (
    Account,
    Admitted,
    Balance,
    Carried,
    Conflict,
    Difference,
    Ended,
    Entry,
    Hold,
    OpenHold,
    Query,
    Refusal,
    Settled,
    Stale,
    Terms,
    Total,
)
from ..rules import dollars_only

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

_EMPTY: dict[str, Any] = {"least": None, "useful": 0, "on_expire": "release"}


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


def say_account(account: Account) -> dict[str, Any]:
    """An account with the rules that a store needs; what is as usual is left out."""
    said: dict[str, Any] = {"key": account.key, "limit": account.limit}
    if account.enforce != "hard":
        said["enforce"] = account.enforce
    if account.share != 1:
        said["share"] = account.share
    if account.start_ms is not None:
        said["start_ms"] = account.start_ms
    if account.end_ms is not None:
        said["end_ms"] = account.end_ms
    if account.window:
        said["window"] = account.window
    return said


def say_hold(hold: Hold) -> dict[str, Any]:
    """A hold; what is as usual is left out."""
    dollars_only((hold,))
    said: dict[str, Any] = {
        "id": hold.id,
        "amount": hold.amount,
        "accounts": [say_account(account) for account in hold.accounts],
        "ttl_ms": hold.ttl_ms,
    }
    for name, usual in _EMPTY.items():
        value = getattr(hold, name)
        if value != usual:
            said[name] = value
    if hold.terms:
        said["terms"] = [{"key": key, "version": version} for key, version in hold.terms]
    if hold.tags:
        said["tags"] = dict(hold.tags)
    more = {"provider": hold.provider, "model": hold.model, "leases": hold.leases}
    said.update({name: value for name, value in more.items() if value})
    return said


def say_entry(entry: Entry) -> dict[str, Any]:
    """An entry to be settled; what is empty is left out."""
    dollars_only((), entry.accounts)
    said: dict[str, Any] = {"hold_id": entry.hold_id, "cost": entry.cost}
    if entry.accounts:
        said["accounts"] = entry.accounts
    if entry.tags:
        said["tags"] = dict(entry.tags)
    if entry.provider:
        said["provider"] = entry.provider
    if entry.model:
        said["model"] = entry.model
    if entry.usage:
        said["usage"] = {name: max(-_MOST, min(count, _MOST)) for name, count in entry.usage.items()}
    if entry.flags:
        said["flags"] = sorted(entry.flags)
    return said


def say_settlement(hold: Hold, entry: Entry) -> dict[str, Any]:
    """A hold and the entry that ends it."""
    return {"hold": say_hold(hold), "entry": say_entry(entry)}


def say_query(query: Query) -> dict[str, Any]:
    """A query; what is not set is left out."""
    said = {
        "since_ms": query.since_ms,
        "until_ms": query.until_ms,
        "tags": dict(query.tags) or None,
        "model": query.model,
        "after": query.after,
        "limit": query.limit,
    }
    return {name: value for name, value in said.items() if value is not None}


# -- what a server answers -------------------------------------------------------------------------------------------


def hear_reserved(said: Mapping[str, Any], hold: Hold) -> Admitted | Refusal | Stale | Ended:
    """The answer to a reserve; a refusal names the account by its place in the hold."""
    admitted = said.get("admitted")
    if admitted is not None:
        return Admitted(admitted)
    refusal = said.get("refusal")
    if refusal is not None:
        account = hold.accounts[refusal["place"]]
        return Refusal(account, Balance(account.key, refusal["settled"], refusal["held"]), refusal["busy"])
    stale = said.get("stale")
    if stale is not None:
        return Stale(stale["now_ms"], tuple(hear_terms(terms) for terms in stale["terms"]))
    if said["ended"] is not True:
        raise ValueError("a reserve was answered by nothing")
    return Ended()


def hear_settled(said: Mapping[str, Any]) -> Settled | Conflict:
    """The answer to a settlement."""
    recorded = said.get("conflict")
    return Settled(said["settled"], said["late"]) if recorded is None else Conflict(recorded)


def hear_terms(said: Mapping[str, Any]) -> Terms:
    """Terms of a subject."""
    return Terms(said["key"], said["version"], said["body"])


def say_rows(terms: Sequence[Terms], accounts: Sequence[Carried], entries: Sequence[Entry]) -> dict[str, Any]:
    """Rows of other books."""
    dollars_only((), [each.key for each in accounts])
    return {
        "terms": [{"key": each.key, "version": each.version, "body": each.body} for each in terms],
        "accounts": [{"key": each.key, "end_ms": each.end_ms, "pruned": each.pruned} for each in accounts],
        "entries": [{"entry": say_entry(entry), "at_ms": entry.at_ms} for entry in entries],
    }


def hear_carried(said: Mapping[str, Any]) -> Carried:
    """An account with what its entries do not tell."""
    return Carried(said["key"], said["end_ms"], said["pruned"])


def hear_balance(said: Mapping[str, Any]) -> Balance:
    """What an account has taken."""
    return Balance(said["key"], said["settled"], said["held"])


def hear_entry(said: Mapping[str, Any]) -> Entry:
    """A line of the history."""
    return Entry(
        said["hold_id"],
        said["cost"],
        tuple(said["accounts"]),
        said["at_ms"],
        said["tags"],
        said["provider"],
        said["model"],
        said["usage"],
        frozenset(said["flags"]),
    )


def hear_open_hold(said: Mapping[str, Any]) -> OpenHold:
    """A hold that has not ended."""
    return OpenHold(
        said["id"],
        said["amount"],
        tuple(said["accounts"]),
        said["placed_ms"],
        said["expires_ms"],
        said["tags"],
        said["provider"],
        said["model"],
    )


def hear_total(said: Mapping[str, Any]) -> Total:
    """What a group of entries adds up to."""
    return Total(
        tuple(said["group"]),
        said["cost"],
        said["calls"],
        said["input_tokens"],
        said["output_tokens"],
        said["estimated"],
    )


def hear_difference(said: Mapping[str, Any]) -> Difference:
    """An account whose books do not add up."""
    return Difference(said["key"], said["kind"], said["booked"], said["summed"])


def hear_all(said: Sequence[Mapping[str, Any]], hear: Callable[[Mapping[str, Any]], Any]) -> list[Any]:
    """A list of any of these."""
    return [hear(item) for item in said]
