"""HTML of what a view has shown: templates that escape all that they are given."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from .links import HOME
from .look.filters import FILTERS

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
    made.filters.update(FILTERS)
    return made


def draw(template: str, data: Mapping[str, Any]) -> str:
    """A template with its data."""
    return _environment().get_template(template).render(data)


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
