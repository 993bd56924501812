"""HTML of what a view has shown: templates that escape all that they are given."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context

from ...ledger import Millis
from .view import HOME

_HERE = Path(__file__).parent
_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.globals["static"] = _static_url
    made.filters |= {"moment": moment, "day": day, "age": age, "tojson_text": _json}
    return made


def add_filters(filters: Mapping[str, Any]) -> None:
    """Let templates know these, such as those of amounts."""
    _environment().filters.update(filters)


def draw(template: str, data: Mapping[str, Any]) -> str:
    """A template with its data."""
    return _environment().get_template(template).render(data)


@pass_context
def moment(context: Context, at_ms: Millis | None) -> str:
    """A time in the zone of the view: "2026-11-29 14:03:05"."""
    return "–" if at_ms is None else f"{_local(context, at_ms):%Y-%m-%d %H:%M:%S}"


@pass_context
def day(context: Context, at_ms: Millis | None) -> str:
    """A day in the zone of the view."""
    return "–" if at_ms is None else f"{_local(context, at_ms):%Y-%m-%d}"


def age(span_ms: Millis | None) -> str:
    """How long something lasts: "3 s", "5 min", "2 h", "4 days"."""
    if span_ms is None:
        return "–"
    seconds = max(0, span_ms) // 1000
    for size, name in ((86_400, "day"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            count = seconds // size
            return f"{count} {name}{'s' if name == 'day' and count != 1 else ''}"
    return f"{seconds} s"


def _local(context: Context, at_ms: Millis) -> datetime:
    zone = context.get("zone")
    return datetime.fromtimestamp(at_ms / 1000, zone if isinstance(zone, ZoneInfo) else ZoneInfo("UTC"))


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


# -- files that browsers keep -------------------------------------------------------------------------------------


def static_file(name: str) -> tuple[str, bytes] | None:
    """A file of ours, by its name: its type and its bytes; `None` if there is none."""
    return _statics().get(name)


@cache
def _statics() -> dict[str, tuple[str, bytes]]:
    """All of them, so that no path of a request is ever one of the disk."""
    return {
        path.name: (_TYPES[path.suffix], path.read_bytes())
        for path in (_HERE / "static").iterdir()
        if path.suffix in _TYPES
    }


@cache
def _static_url(name: str) -> str:
    """Where a file is: its address changes when it does, so that browsers may keep it."""
    mark = hashlib.sha256(_statics()[name][1]).hexdigest()[:12]
    return f"{HOME}/static/{name}?v={mark}"
