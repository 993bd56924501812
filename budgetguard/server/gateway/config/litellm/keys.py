"""
Keys of LiteLLM's table, from a dump of it: programs go on with the `sk-...` that they have, under the limits it has.

LiteLLM keeps the SHA-256 of a key in hexadecimal digits, which is all that is needed to know one. A row of which a part
would be lost that limits the key is left out, and said: a key that may more than it did is worse than one that is not
there.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any, NamedTuple

from .....errors import ConfigError
from .....ledger import Millis, Store
from ....keys import Grant, KeyRing
from ....keys.limits import NO_LIMITS
from ....keys.owners import Owners
from ....problems import Refused
from ...litellm.limits import limits_with, sum_of_money
from ...litellm.office import book_before
from ...litellm.rows import models_of, tags_of
from ...litellm.said import Limiting, take

_DIGEST = re.compile(r"[0-9a-f]{64}")
_LIMITS = ("max_budget", "budget_duration", "model_max_budget", "tpm_limit", "rpm_limit", "max_parallel_requests")
_WHOLE = ("tpm_limit", "rpm_limit", "max_parallel_requests")
_BINDING = (
    *("budget_id", "organization_id", "project_id", "access_group_ids"),
    *("allowed_routes", "permissions", "policies", "budget_limits", "tpd_limit"),
)
"""Columns that limit a key by what is in other tables, or in a way that there is not here."""
_BINDING_METADATA = ("model_rpm_limit", "model_tpm_limit")
"""Limits that LiteLLM keeps among what is said of a key."""
_MOST_BYTES = 500_000_000
_SHOWN = 12


class TakenKey(NamedTuple):
    """What became of a row: the prefix of its key, or why it was left out."""

    name: str
    """Its alias, or the beginning of its hash."""
    prefix: str | None
    said: str = ""


def rows_in(path: Path) -> list[Mapping[str, Any]]:
    """The rows of a dump, in CSV with a head, JSON, or a line of JSON each; raises `ConfigError`."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).decode("utf-8-sig")
        found = list(_rows(text))
    except (OSError, ValueError, csv.Error) as error:
        why = error.strerror if isinstance(error, OSError) else "it is neither JSON nor CSV"
        raise ConfigError(f"{path}: cannot be read ({why})") from None
    if not found or not all(isinstance(each, dict) and "token" in each for each in found):
        told = "a dump of LiteLLM_VerificationToken has a column token, as of SELECT * FROM"
        raise ConfigError(f'{path}: {told} "LiteLLM_VerificationToken"')
    return found


def take_over(
    ring: KeyRing, owners: Owners, store: Store, project: str, rows: Iterable[Mapping[str, Any]]
) -> Iterator[TakenKey]:
    """Let each key in, with what it spent already; one that is there stays as it is. `store` is the project's."""
    for row in rows:
        digest = str(row.get("token") or "")
        name = str(row.get("key_alias") or "") or digest[:_SHOWN]
        if not _DIGEST.fullmatch(digest):  # it may be a key in clear
            yield TakenKey(str(row.get("key_alias") or "-"), None, "its token is no SHA-256 in hexadecimal digits")
            continue
        if ring.find(digest[:16]) is not None:
            yield TakenKey(name, None, "it is there already")
            continue
        try:
            grant, spent = _granted(row, lambda team: owners.find(project, "team", team) is not None)
            book_before(store, "key", digest[:16], grant.limits, spent)  # a run that breaks off here counts it twice
            key = ring.adopt(digest, project, grant=grant)
            if _truth(row.get("blocked")):
                ring.block(key.prefix)
        except (ValueError, Refused) as error:
            yield TakenKey(name, None, str(error))
        else:
            yield TakenKey(name, key.prefix)


def _granted(row: Mapping[str, Any], has_team: Callable[[str], bool]) -> tuple[Grant, int]:
    """What a row's key may, and what it spent; raises `ConfigError` or `Refused` for what would be lost."""
    for column in _BINDING:
        if _value(row.get(column)) not in (None, "", [], {}):
            raise ConfigError(f"{column} limits it, and has no counterpart in this table: make it with keys create")
    said = {name: value for name in _LIMITS if (value := _value(row.get(name))) not in (None, "", [], {})}
    metadata = _value(row.get("metadata"))
    metadata = metadata if isinstance(metadata, dict) else {}
    for name in _BINDING_METADATA:
        if metadata.get(name):
            raise ConfigError(f"metadata.{name} limits it, and has no counterpart here: make it with keys create")
    said |= {name: int(float(said[name])) for name in _WHOLE if name in said}
    team = str(row.get("team_id") or "") or None
    models = _value(row.get("models")) or []
    if not isinstance(models, list):
        raise ConfigError("its models are no list")
    if "all-team-models" in models and (team is None or not has_team(team)):
        raise ConfigError(f"it may call the models of team {team!r}, which is not there: make the team first")
    tags = metadata.get("tags")
    grant = Grant(
        alias=str(row.get("key_alias") or ""),
        user=str(row.get("user_id") or "") or None,
        team=team,
        tags=tags_of(map(str, tags)) if isinstance(tags, list) else {},
        models=models_of(map(str, models), team=team is not None),
        expires_ms=_moment(row.get("expires")),
        limits=limits_with(NO_LIMITS, take(Limiting, said)),
    )
    return grant, sum_of_money(_value(row.get("spend")), "spend")


def _rows(text: str) -> Iterator[Any]:
    if text.lstrip().startswith("["):
        yield from json.loads(text)
    elif text.lstrip().startswith("{"):
        yield from (json.loads(line) for line in text.splitlines() if line.strip())
    else:
        yield from csv.DictReader(StringIO(text))


def _value(raw: Any) -> Any:
    """A column as it was before it was written to CSV: JSON, or an array of PostgreSQL's."""
    if not isinstance(raw, str):
        return raw
    text = raw.strip()
    if text.startswith("{") and not text.startswith('{"') and text.endswith("}"):
        return next(csv.reader([text[1:-1]]), [])
    if text[:1] in {"{", "["}:
        try:
            return json.loads(text)
        except ValueError:
            return next(csv.reader([text[1:-1]], escapechar="\\"), []) if text.startswith("{") else text
    return text


def _moment(raw: Any) -> Millis | None:
    if raw in (None, ""):
        return None
    try:
        at = datetime.fromisoformat(str(raw))
    except ValueError:
        raise ConfigError("expires is no time: write it as 2027-01-31T00:00:00") from None
    return round((at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp() * 1000)


def _truth(raw: Any) -> bool:
    return raw is True or str(raw).lower() in {"t", "true", "1"}
