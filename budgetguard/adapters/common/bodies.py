"""
The fields of a request's JSON, as an API would read them.

A field of the wrong type counts as absent, since the API will refuse it; so does one of the SDK's sentinels for "not
given". Nothing here raises.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from ...calls import UNKNOWN_HOST, Amend, Host

MOST = 10_000_000
"""Above every number of tokens, answers or tool calls that an API takes; keeps costs within 64 bits."""

_JSON = (str, dict, list, int, float, tuple, Mapping)
_PLAIN = frozenset({str, dict, list, int, float, bool, tuple})


def items(value: object) -> list[Any] | tuple[Any, ...]:
    """A list as it is, one text or mapping as a list of it, nothing otherwise."""
    if isinstance(value, (list, tuple)):
        return value
    return [value] if isinstance(value, str | Mapping) else ()


def is_json(value: object) -> bool:
    """Whether a value is one that JSON can hold; the SDK's sentinels for "not given" are not."""
    return type(value) in _PLAIN or value is None or isinstance(value, _JSON) or hasattr(value, "model_dump")


def given(body: Mapping[str, Any], name: str) -> Any:
    """A field of the body, `None` where it is absent or a sentinel for "not given"."""
    value = body.get(name)
    return value if is_json(value) else None


def text(body: Mapping[str, Any], name: str) -> str | None:
    """A field that is a text with something in it, else `None`."""
    value = body.get(name)
    if type(value) is str:
        return value or None
    return value if value is not None and isinstance(value, str) and value else None


def whole(body: Mapping[str, Any], name: str) -> int | None:
    """
    A field that is a whole number of at least 0, else `None`; what is above `MOST` is as good as that.

    A number in a text counts: many servers read it as one.
    """
    value = body.get(name)
    if type(value) is not int:
        if isinstance(value, str):
            value = _number(value)
        if not isinstance(value, float) or not value.is_integer():
            return None
        value = int(value)
    if value < 0:
        return None
    return value if value < MOST else MOST


def _number(value: str) -> float | None:
    try:
        return float(value)
    except ValueError:
        return None


def is_body(body: object) -> bool:
    """Whether a body can be read: a mapping."""
    return type(body) is dict or isinstance(body, Mapping)


def fields(body: object) -> Mapping[str, Any]:
    """The body, or nothing where it is no mapping."""
    return body if type(body) is dict or isinstance(body, Mapping) else {}


def plain(value: Any) -> Any:
    """An SDK object as plain data; what JSON cannot hold (a sentinel) as nothing."""
    if value is None or isinstance(value, _JSON):
        return dict(value) if isinstance(value, Mapping) else value
    try:
        return value.model_dump(mode="json", exclude_unset=True)
    except Exception:  # no SDK object, or one that cannot be shown
        return None


compact = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), default=plain).encode


def lowering(amend: Amend) -> Callable[[Mapping[str, Any], int], dict[str, Any]]:
    """The `lower` of an operation whose cap has one name at every host: where one is added, one is lowered, too."""

    def lower(body: Mapping[str, Any], cap: int) -> dict[str, Any]:
        amended = amend(body, cap, False, UNKNOWN_HOST)
        return {name: value for name, value in amended.items() if value is not body.get(name)}

    return lower


def instead_unless(*names: str) -> Callable[[Mapping[str, Any], str, Host], dict[str, Any] | None]:
    """The `instead` of an operation whose body names the model, unless it has one of these fields."""

    def instead(body: Mapping[str, Any], model: str, host: Host) -> dict[str, Any] | None:
        if any(body.get(name) for name in names):
            return None
        return {**body, "model": model}

    return instead
